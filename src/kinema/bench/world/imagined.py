"""Judging policies inside a world model whose interface is language.

The world model imagines how a sentence is obeyed; what the body does in that film is read from it by inverse
dynamics. At every picture the policy is asked as if it stood there, and its whole chunk is compared with what
the film then does. No policy acts in the film, so one film judges any number of them, and errors do not pile
up: what is measured is whether the policy would go the way that leads to the goal. The whole chunk, and not
only what is played of it before the next one: a path read from pictures is some millimetres wrong, which is
much of what happens in 0.3 s and little of what happens in 1.6 s.

A policy that was trained on films of this very imagination agrees with it better than it deserves.

A policy's skill is the share of the film's motion that it foretells: 1 says every picture's next actions
exactly, 0 is no better than holding still.

Axes: F pictures, N control steps between two pictures, D native action channels, T steps of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_exc
from typing import Protocol

import numpy as np

from kinema.bench.benchmark import Privileged
from kinema.bench.episode import EpisodeJob, error_record
from kinema.bench.metrics.intervals import bootstrap95
from kinema.card.card import EmbodimentCard
from kinema.runtime.policy import hold_action
from kinema.schema import ActionChunk, Film, Imagines, KinemaError, Observation, Policy
from kinema.space.motion import Motion, intervals_of_motion

# what counts as one unit of error: a hand's breadth of motion, or the whole stroke of a gripper
_SCALES = {"m": 0.05, "rad": 0.25, "fraction": 1.0}


class ReadsFilms(Protocol):
    """Inverse dynamics: what was done in a film. first_state: where it begins, if that is known."""

    def read(self, film: Film, first_state: np.ndarray | None = None) -> Motion: ...


@dataclass(frozen=True, kw_only=True)
class ImaginedScene:
    """One film of an obeyed sentence, and what is done in it."""

    task: str
    seed: int
    film: Film
    motion: Motion


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a policy's answers lie from the film's actions in one scene, and how far holding still does.

    cause: of an error, after which the policy's answers count as holding still; empty where there was none
    """

    task: str
    seed: int
    policy: float
    still: float
    cause: str = ""


def imagine_scene(
    imagines: Imagines, reader: ReadsFilms, now: Observation, card_name: str, *, task: str, seed: int
) -> ImaginedScene:
    """Imagine how the present's sentence is obeyed, and read what is done."""
    film = imagines.imagine(now.images, now.instruction, card_name, seed=seed)
    return ImaginedScene(task=task, seed=seed, film=film, motion=reader.read(film, now.state))


def judge(policy: Policy, scene: ImaginedScene, card: EmbodimentCard) -> Agreement:
    """Ask the policy at every picture, until nothing moves any more.

    Raises KinemaError for a policy that needs the simulator, and for an answer that is none.
    """
    require_blind(policy)
    film, motion, N = scene.film, scene.motion, scene.motion.steps
    scale = np.array([_SCALES.get(channel.unit, 1.0) for channel in card.actions])
    policy.reset(scene.seed)
    answered = stayed = 0.0
    for i in range(intervals_of_motion(film.frames)):
        state = motion.states[i].astype(np.float32)
        now = Observation(
            images=dict(zip(film.cameras, film.frames[i])),
            state=state,
            instruction=film.instruction,
            time_s=i / film.fps,
        )
        answer = policy.infer(now, card.name).values  # (T, D)
        if len(answer) < N or not np.isfinite(answer).all():
            raise KinemaError(f"a chunk of at least {N} finite actions is needed; got {answer.shape}")
        done = motion.actions[i * N : i * N + len(answer)]  # the film may end before the chunk does
        answered += float((np.abs(answer[: len(done)] - done) / scale).sum())
        stayed += float((np.abs(hold_action(card, state) - done) / scale).sum())
    return Agreement(task=scene.task, seed=scene.seed, policy=answered, still=stayed)


def require_blind(policy: Policy) -> None:
    """Raises KinemaError for a policy that needs the simulator."""
    if isinstance(policy, Privileged):
        raise KinemaError("a policy that looks at the simulator cannot act in an imagined world")


class _Still:
    """Holding still for a whole chunk: what a policy that crashed is worth."""

    def __init__(self, card: EmbodimentCard) -> None:
        self._card = card

    def reset(self, seed: int) -> None: ...

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        held = np.repeat(hold_action(self._card, observation.state)[None], self._card.chunk, 0)
        times_s = observation.time_s + (1 + np.arange(len(held))) / self._card.control_hz
        return ActionChunk(values=held, times_s=times_s, card=card_name)


def try_scene(
    policy: Policy, scene: ImaginedScene, card: EmbodimentCard, index: int, errors_dir: Path
) -> Agreement:
    """As `judge`, but what a policy raises is this scene's error, its traceback a file in `errors_dir`.

    index: of the scene among those of its task
    """
    require_blind(policy)
    try:
        return judge(policy, scene, card)
    except Exception as error:  # whatever a policy does: a skill without this scene would flatter it
        job = EpisodeJob(task=scene.task, index=index, seed=scene.seed)
        record = error_record(job, f"{type(error).__name__}: {error}", format_exc(), errors_dir)
        return replace(judge(_Still(card), scene, card), cause=record.cause)


def skill(agreements: Iterable[Agreement]) -> float:
    """1 - error / error of holding still, over all scenes together."""
    found = list(agreements)
    still = sum(one.still for one in found)
    if not still > 0:
        raise KinemaError("nothing moves in these films, so nothing can be judged by them")
    return 1.0 - sum(one.policy for one in found) / still


def skill_interval(agreements: Sequence[Agreement]) -> tuple[float, float]:
    """95 % bootstrap interval over scenes, each weighing as much as it moves."""
    mean_still = sum(one.still for one in agreements) / len(agreements)
    return bootstrap95([(one.still - one.policy) / mean_still for one in agreements])


def by_task(agreements: Iterable[Agreement]) -> Mapping[str, float]:
    """The skill in every task."""
    groups: dict[str, list[Agreement]] = {}
    for one in agreements:
        groups.setdefault(one.task, []).append(one)
    return {task: skill(found) for task, found in groups.items()}
