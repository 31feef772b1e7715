"""What a robot and a server say to each other on `/v1/stream`, as maps for `wire.pack`.

    server  hello   protocol, server, model, cards, limits          once, when the connection opens
    client  infer   id, card, observation, noise_seed [, committed] [, deadline_s]
    server  chunk   id, card, values, times_s [, verdict], timing
    client  reset   id            questions asked before it are dropped
    server  reset   id
    client  ping    id
    server  pong    id
    server  error   id or None, code, message [, retry_after_s]

Every answer carries the id of its question, so a late one cannot be taken for the answer to a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kinema.runtime.wire import WireError
from kinema.schema import ActionChunk, KinemaError, Question, Verdict

PROTOCOL = 1
PATH = "/v1/stream"


def infer_message(number: int, question: Question, deadline_s: float | None) -> dict[str, Any]:
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


def chunk_of(message: Mapping[str, Any]) -> ActionChunk:
    """The chunk in an answer. Raises WireError where it is not one."""
    try:
        verdict = message.get("verdict")
        return ActionChunk(
            values=np.array(message["values"], np.float64),
            times_s=np.array(message["times_s"], np.float64),
            card=str(message["card"]),
            verdict=None if verdict is None else verdict_of(verdict),
        )
    except (KeyError, TypeError, ValueError, AttributeError, KinemaError) as error:
        raise WireError(f"the server's answer is no chunk: {error!r}") from None


def verdict_to_wire(verdict: Verdict) -> dict[str, Any]:
    return {
        "allowed": bool(verdict.allowed),
        "risk": {name: float(value) for name, value in verdict.risk.items()},
        "limit": {name: float(value) for name, value in verdict.limit.items()},
        "horizon_s": float(verdict.horizon_s),
        "reason": verdict.reason,
    }


def verdict_of(found: Mapping[str, Any]) -> Verdict:
    if not isinstance(found["allowed"], bool):  # anything else must not be read as a permission
        raise TypeError("a verdict's `allowed` must be true or false")
    return Verdict(
        allowed=found["allowed"],
        risk={str(name): float(value) for name, value in found["risk"].items()},
        limit={str(name): float(value) for name, value in found["limit"].items()},
        horizon_s=float(found["horizon_s"]),
        reason=str(found["reason"]),
    )
