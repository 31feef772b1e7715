"""From what a client sent to a question for the policy: every part checked, every fault named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import ActionChunk, Observation, Question
from kinema.serve.limits import Limits, pictures
from kinema.serve.refusal import Refusal

_LARGEST_SEED = 2**63
_LONGEST_COMMITTED = 256
_LARGEST_NUMBER = float(np.finfo(np.float32).max)  # what the policy reads


def question_of(
    message: Mapping[str, Any], cards: Mapping[str, EmbodimentCard], limits: Limits, session: str = ""
) -> Question:
    """The question in an `infer` message or a request body. Raises Refusal."""
    card = card_of(message.get("card"), cards)
    return Question(
        observation=observation_of(message.get("observation"), card, limits),
        card=card.name,
        noise_seed=seed_of(message.get("noise_seed", 0)),
        committed=_committed(message.get("committed"), card),
        session=session,
    )


def card_of(name: Any, cards: Mapping[str, EmbodimentCard]) -> EmbodimentCard:
    if not isinstance(name, str) or name not in cards:
        raise Refusal("bad_request", f"card {str(name)[:40]!r} is not served; choices: {', '.join(cards)}")
    return cards[name]


def seed_of(found: Any) -> int:
    if type(found) is not int or not 0 <= found < _LARGEST_SEED:
        raise Refusal("bad_request", "noise_seed must be a whole number from 0 to 2^63 - 1")
    return found


def observation_of(found: Any, card: EmbodimentCard, limits: Limits) -> Observation:
    if not isinstance(found, Mapping):
        raise Refusal("bad_request", "observation must be a map with images, state, instruction and time_s")
    return checked_observation(
        images=pictures(found.get("images"), card.camera_names, limits),
        state=found.get("state"),
        instruction=found.get("instruction"),
        time_s=found.get("time_s", 0.0),
        card=card,
        limits=limits,
    )


def checked_observation(
    *, images: dict[str, np.ndarray], state: Any, instruction: Any, time_s: Any, card: EmbodimentCard,
    limits: Limits,
) -> Observation:  # fmt: skip
    """An observation of the card's channels. Raises Refusal naming what is missing or wrong."""
    if not isinstance(instruction, str) or not instruction.strip():
        raise Refusal("bad_request", "instruction must be a sentence")
    if len(instruction) > limits.instruction_chars:
        raise Refusal("too_large", f"the instruction is longer than {limits.instruction_chars} characters")
    if isinstance(time_s, bool) or not isinstance(time_s, int | float) or not math.isfinite(time_s):
        raise Refusal("bad_request", "time_s must be a finite number of seconds")
    values = vector(state, len(card.states), f"state of {card.name}").astype(np.float32)
    return Observation(
        images=images,
        state=values,
        instruction=instruction,
        time_s=float(time_s),
    )


def vector(found: Any, size: int, what: str) -> np.ndarray:
    """Finite numbers, float64 (size,)."""
    values = numbers(found, what)
    if values.shape != (size,):
        raise Refusal("bad_request", f"{what} must have shape ({size},), got {values.shape}")
    return values


def numbers(found: Any, what: str) -> np.ndarray:
    """An array or list of finite numbers as float64."""
    if isinstance(found, list) and not all(type(item) in (int, float) for item in found):
        raise Refusal("bad_request", f"{what} must be a list of numbers or an array")
    if not isinstance(found, list | np.ndarray):
        raise Refusal("bad_request", f"{what} must be an array, got {type(found).__name__}")
    try:
        values = np.asarray(found, np.float64)
    except (OverflowError, ValueError):
        raise Refusal("bad_request", f"{what} holds a number that is too large") from None
    if not (np.abs(values) <= _LARGEST_NUMBER).all():  # NaN is not <= anything
        raise Refusal("bad_request", f"{what} must be finite numbers")
    return values


def _committed(found: Any, card: EmbodimentCard) -> ActionChunk | None:
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise Refusal("bad_request", "committed must be a map with values and times_s")
    values, times_s = (numbers(found.get(name), f"committed {name}") for name in ("values", "times_s"))
    steps = len(times_s) if times_s.ndim == 1 else -1
    if not 0 <= steps <= _LONGEST_COMMITTED or values.shape != (steps, len(card.actions)):
        raise Refusal(
            "bad_request",
            f"committed actions of {card.name} have shapes (T, {len(card.actions)}) and (T,) with T up to "
            f"{_LONGEST_COMMITTED}; got {values.shape} and {times_s.shape}",
        )
    return ActionChunk(values=values, times_s=times_s, card=card.name) if steps else None
