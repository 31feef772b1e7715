"""What a robot and a server say to each other on `/v1/stream`: one type for each message.

    server  hello   protocol, server, model, cards, limits          once, when the connection opens
    client  infer   id, card, observation, noise_seed [, committed] [, deadline_s] [, mode]
    server  chunk   id, card, values, times_s [, verdict], timing
    client  reset   id            questions asked before it are dropped
    server  reset   id
    client  ping    id
    server  pong    id
    server  error   id or None, code, message [, retry_after_s]

Every answer carries the id of its question, so a late one cannot be taken for the answer to a newer one. The
types are what is read; what is sent is made by the functions below as maps for `wire.pack`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, structs

from kinema.card.card import Channel, EmbodimentCard
from kinema.runtime.wire import WireError, convert, unmarked
from kinema.schema import ActionChunk, KinemaError, Question, Verdict

PROTOCOL = 1
PATH = "/v1/stream"

NUMBERS = {"type": "array", "items": {"type": "number"}, "maxItems": 256}  # as JSON Schema says an array
_PICTURES = {
    "description": "base64 of PNG or JPEG, by camera name",
    "maxProperties": 8,
    "additionalProperties": {"type": "string", "format": "byte"},
}

Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Observed(Struct, forbid_unknown_fields=True, kw_only=True):
    """images: by camera name, arrays or the bytes of a PNG or JPEG (base64 of them in JSON)."""

    images: Annotated[dict[str, Any], Meta(extra_json_schema=_PICTURES)]
    state: Annotated[np.ndarray, Meta(description="native values, in the order of the card's states")]
    instruction: str
    time_s: float = 0.0

    def __post_init__(self) -> None:
        self.images = unmarked(self.images)


class Committed(Struct, forbid_unknown_fields=True, kw_only=True):
    values: Annotated[np.ndarray, Meta(extra_json_schema={"items": NUMBERS})]
    times_s: np.ndarray


class Asked(Struct, forbid_unknown_fields=True, kw_only=True):
    """One question, as it also is the body of a request to /v1/act. mode: what the body does meanwhile."""

    card: str = ""
    observation: Observed
    noise_seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    committed: Committed | None = None
    deadline_s: Annotated[float, Meta(gt=0)] | None = None
    mode: Annotated[str, Meta(max_length=20)] | None = None


class Packed(Asked, forbid_unknown_fields=True, kw_only=True):
    """A question in a request of its own, which may also be written as an `infer` message."""

    type: str = "infer"
    id: Id = 0


class Infer(Asked, tag_field="type", tag="infer", forbid_unknown_fields=True, kw_only=True):
    id: Id


class Reset(Struct, tag_field="type", tag="reset", forbid_unknown_fields=True, kw_only=True):
    id: Id


class Ping(Struct, tag_field="type", tag="ping", forbid_unknown_fields=True, kw_only=True):
    id: Id


class Numbered(Struct, kw_only=True):
    """What every message of a client has, whatever else is wrong with it."""

    id: Id
    type: str = ""


FromClient = Infer | Reset | Ping


class Hello(Struct, tag_field="type", tag="hello", kw_only=True):
    protocol: int
    server: str = ""
    model: str = ""
    cards: dict[str, dict[str, Any]] = {}
    limits: dict[str, float | None] = {}


class ToldVerdict(Struct, kw_only=True):
    allowed: bool
    risk: dict[str, float]
    limit: dict[str, float]
    horizon_s: float
    reason: str


class Chunk(Struct, tag_field="type", tag="chunk", kw_only=True):
    id: int
    card: str
    values: np.ndarray
    times_s: np.ndarray
    timing: dict[str, float] = {}
    verdict: ToldVerdict | None = None


class Error(Struct, tag_field="type", tag="error", kw_only=True):
    code: str
    message: str
    id: int | None = None
    retry_after_s: float | None = None


class ResetDone(Struct, tag_field="type", tag="reset", kw_only=True):
    id: int


class Pong(Struct, tag_field="type", tag="pong", kw_only=True):
    id: int


FromServer = Hello | Chunk | Error | ResetDone | Pong


def infer_message(
    number: int, question: Question, deadline_s: float | None, mode: str | None = None
) -> dict[str, Any]:
    """A question as it travels."""
    observation = question.observation
    message: dict[str, Any] = {
        "type": "infer",
        "id": number,
        "card": question.card,
        "noise_seed": question.noise_seed,
        "observation": {
            "images": dict(observation.images),
            "state": np.asarray(observation.state, np.float32),
            "instruction": observation.instruction,
            "time_s": float(observation.time_s),
        },
    }
    if question.committed is not None:
        message["committed"] = {"values": question.committed.values, "times_s": question.committed.times_s}
    if deadline_s is not None:
        message["deadline_s"] = float(deadline_s)
    if mode is not None:
        message["mode"] = mode
    return message


def chunk_message(number: int, chunk: ActionChunk, timing: Mapping[str, float]) -> dict[str, Any]:
    """An answer as it travels."""
    message: dict[str, Any] = {
        "type": "chunk",
        "id": number,
        "card": chunk.card,
        "values": np.asarray(chunk.values, np.float64),
        "times_s": np.asarray(chunk.times_s, np.float64),
        "timing": dict(timing),
    }
    if chunk.verdict is not None:
        message["verdict"] = verdict_to_wire(chunk.verdict)
    return message


def chunk_of(message: Chunk | Mapping[str, Any]) -> ActionChunk:
    """The chunk in an answer. Raises WireError where it is not one."""
    told = message if isinstance(message, Chunk) else convert({"type": "chunk", "id": 0, **message}, Chunk)
    verdict = told.verdict
    try:
        return ActionChunk(
            values=np.array(told.values, np.float64),
            times_s=np.array(told.times_s, np.float64),
            card=told.card,
            verdict=None if verdict is None else Verdict(**structs.asdict(verdict)),
        )
    except KinemaError as error:
        raise WireError(f"the server's answer is no chunk: {error}") from None


def card_to_wire(card: EmbodimentCard) -> dict[str, Any]:
    """A card as a client needs it: what to send, what comes back, how fast."""
    return {
        "robot": card.robot_tag,
        "control": card.control,
        "control_hz": card.control_hz,
        "chunk": card.chunk,
        "cameras": list(card.camera_names),
        "states": [_channel_to_wire(channel) for channel in card.states],
        "actions": [_channel_to_wire(channel) for channel in card.actions],
        "hold": {"action": card.hold.action, "stop_after_s": card.hold.stop_after_s},
    }


def _channel_to_wire(channel: Channel) -> dict[str, Any]:
    return {"name": channel.name, "unit": channel.unit, "low": channel.range[0], "high": channel.range[1]}


def verdict_to_wire(verdict: Verdict) -> dict[str, Any]:
    return {
        "allowed": bool(verdict.allowed),
        "risk": {name: float(value) for name, value in verdict.risk.items()},
        "limit": {name: float(value) for name, value in verdict.limit.items()},
        "horizon_s": float(verdict.horizon_s),
        "reason": verdict.reason,
    }
