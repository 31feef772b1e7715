"""From what a client sent to a question for the policy: every part checked, every fault named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.prompt import check_instruction
from kinema.runtime.messages import Asked, Committed, Observed
from kinema.schema import ActionChunk, KinemaError, Observation, Question
from kinema.serve.limits import Limits
from kinema.serve.pictures import pictures
from kinema.serve.refusal import Refusal
from kinema.serve.service import Served

_LONGEST_COMMITTED = 256
_LARGEST_NUMBER = float(np.finfo(np.float32).max)  # what the policy reads


def question_of(asked: Asked, served: Served, limits: Limits, session: str = "") -> Question:
    """The question in an `infer` message or a request body. Raises Refusal."""
    card = card_of(asked.card, served.cards)
    return Question(
        observation=checked_observation(asked.observation, card, served, limits),
        card=card.name,
        noise_seed=asked.noise_seed,
        committed=_committed(asked.committed, card),
        session=session,
    )


def card_of(name: Any, cards: Mapping[str, EmbodimentCard]) -> EmbodimentCard:
    if not isinstance(name, str) or name not in cards:
        raise Refusal("bad_request", f"card {str(name)[:40]!r} is not served; choices: {', '.join(cards)}")
    return cards[name]


def checked_observation(seen: Observed, card: EmbodimentCard, served: Served, limits: Limits) -> Observation:
    """An observation of the card's channels. Raises Refusal naming what is missing or wrong."""
    try:
        served.check_instruction(card.name, check_instruction(seen.instruction))
    except (ValueError, KinemaError) as error:
        raise Refusal("bad_request", str(error)) from None
    if not math.isfinite(seen.time_s):
        raise Refusal("bad_request", "time_s must be a finite number of seconds")
    values = numbers(seen.state, f"state of {card.name}")
    if values.shape != (len(card.states),):
        wanted = ", ".join(f"{channel.name} [{channel.unit}]" for channel in card.states)
        raise Refusal(
            "bad_request",
            f"state of {card.name} must have shape ({len(card.states)},), got {values.shape}: {wanted}",
        )
    return Observation(
        images=pictures(seen.images, card.camera_names, limits),
        state=values.astype(np.float32),
        instruction=seen.instruction,
        time_s=float(seen.time_s),
    )


def numbers(found: np.ndarray, what: str) -> np.ndarray:
    """An array of finite numbers as float64."""
    values = np.asarray(found, np.float64)
    if not (np.abs(values) <= _LARGEST_NUMBER).all():  # NaN is not <= anything
        raise Refusal("bad_request", f"{what} must be finite numbers")
    return values


def _committed(found: Committed | None, card: EmbodimentCard) -> ActionChunk | None:
    if found is None:
        return None
    values, times_s = (numbers(getattr(found, name), f"committed {name}") for name in ("values", "times_s"))
    steps = len(times_s) if times_s.ndim == 1 else -1
    if steps == 0 and values.size == 0:
        return None
    if not 0 < steps <= _LONGEST_COMMITTED or values.shape != (steps, len(card.actions)):
        raise Refusal(
            "bad_request",
            f"committed actions of {card.name} have shapes (T, {len(card.actions)}) and (T,) with T up to "
            f"{_LONGEST_COMMITTED}; got {values.shape} and {times_s.shape}",
        )
    return ActionChunk(values=values, times_s=times_s, card=card.name)
