"""The values that cross packages. Frozen, typed; dictionaries exist only on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from kinema.card import prompt


class KinemaError(Exception):
    """A fault the user can act on. The message names the thing, the value and the choices."""


def check_instruction(instruction: object) -> str:
    """The instruction as every policy reads it, without outer blanks and without a final full stop.

    The one check for recording, training, serving and acting: what it lets through can be recorded, trained
    on and asked. (How many tokens a sentence makes is known to a policy's tokenizer alone, which refuses
    what is too long for it with the same kind of error.) Raises KinemaError for what is not text, empty,
    longer than `kinema.card.prompt.MAX_INSTRUCTION_CHARS`, or holds control characters or special tokens.
    """
    try:
        return prompt.check_instruction(instruction)
    except ValueError as error:
        raise KinemaError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a body senses at one instant.

    images:  uint8 (H, W, 3) by camera name, RGB, row 0 at the top
    state:   float32 (S,) native values in the order of the card's `states`
    """

    images: Mapping[str, np.ndarray]
    state: np.ndarray
    instruction: str
    time_s: float
    sensors: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a chunk may be executed, judged before it is.

    risk, limit: by hazard, the judged probability in [0, 1] and the value from which it is refused
    horizon_s:   how far ahead was looked
    reason:      a sentence when it is refused, empty when it is allowed
    """

    allowed: bool
    risk: Mapping[str, float]
    limit: Mapping[str, float]
    horizon_s: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ActionChunk:
    """Native actions and when each is due.

    values:  float64 (T, D) in the order of the card's `actions`
    times_s: float64 (T,) on the clock of the observation that was answered
    verdict: what a gate said of it; None where no gate was asked
    """

    values: np.ndarray
    times_s: np.ndarray
    card: str
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.times_s.shape != (len(self.values),):
            raise KinemaError(
                "a chunk needs values (T, D) and times (T,); "
                f"got {self.values.shape} and {self.times_s.shape}"
            )

    @property
    def allowed(self) -> bool:
        """Whether it may be played: no gate was asked, or it let the chunk through."""
        return self.verdict is None or self.verdict.allowed


class Result(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"  # a crash is never a failure


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one episode ended. `cause` is a sentence; `measures` are named numbers (steps, seconds, ...)."""

    result: Result
    cause: str
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One thing a policy is asked: what to do from here.

    committed:  the actions that will be played whatever the answer is, because they are due before it can
                arrive; the answer begins with them
    noise_seed: what alone decides the randomness of the answer
    session:    whose question it is; what may be remembered from one question to the next, such as an earlier
                picture, is remembered by session; empty where there is none
    """

    observation: Observation
    card: str
    noise_seed: int
    committed: ActionChunk | None = None
    session: str = ""


def noise_seed(episode_seed: int, asked: int) -> int:
    """What decides the noise of an episode's question number `asked`, here and at any server."""
    return int(np.random.SeedSequence([episode_seed, asked]).generate_state(1, np.uint64)[0] >> 1)


class Policy(Protocol):
    """Anything that answers an observation with a chunk: a network, a remote server, a scripted expert."""

    def reset(self, seed: int) -> None: ...

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk: ...


@dataclass(frozen=True, kw_only=True)
class Film:
    """What was, or would be, seen: synchronised views at equal intervals.

    frames:  uint8 (F, V, H, W, 3), RGB, row 0 at the top; the first one is the present
    cameras: the V names, in the card's order
    """

    frames: np.ndarray
    cameras: tuple[str, ...]
    fps: float
    card: str
    instruction: str

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if self.frames.dtype != np.uint8 or len(shape) != 5 or shape[1] != len(self.cameras) or shape[4] != 3:
            raise KinemaError(
                f"a film of {len(self.cameras)} cameras needs uint8 frames (F, V, H, W, 3); "
                f"got {self.frames.dtype} {shape}"
            )
        if not self.fps > 0:
            raise KinemaError(f"a film's fps must be above 0; got {self.fps}")


class Imagines(Protocol):
    """Anything that tells what would be seen if an instruction were carried out: a model, a simulator."""

    def imagine(
        self, images: Mapping[str, np.ndarray], instruction: str, card_name: str, *, seed: int = 0
    ) -> Film: ...


@dataclass(frozen=True, kw_only=True)
class Captions:
    """One clip in words: five layers, and where it stands on the four axes of the data.

    goal:          what is to be done
    action:        how the body moves, stretch by stretch, and from where that is seen
    feedback:      what the things did
    comprehensive: all of it, in 50 to 100 words
    concise:       the gist of it, in 15 to 30 words
    """

    goal: str
    action: str
    feedback: str
    comprehensive: str
    concise: str
    embodiment: str
    task: str
    scenario: str
    view: str
