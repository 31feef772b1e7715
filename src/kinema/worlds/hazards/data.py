"""Labelled chunks: from states along an episode, several chunks each, and what each of them leads to.

The episode is played by the expert with a disturbance; an intruder may be about, of which the expert knows
nothing. At some of its states the simulation is asked "what if" for the expert's next second, for a policy's
proposals where one is given, and for spoilt motion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kinema.schema import Observation
from kinema.worlds.hazards.bad_motion import BadMotion, aimed
from kinema.worlds.hazards.env import Course, HazardEnv
from kinema.worlds.hazards.intruders import KINDS as INTRUDERS
from kinema.worlds.tabletop.demonstrate import Disturbance, Noise
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.variation import AXES, SEEN, Variation

STEPS = 10  # one second at 10 Hz
CHUNKS = 8
EARLIER = 2  # control steps between the earlier picture and the present one
KINDS = ("expert", "policy", *BadMotion.KINDS)
_LONGER = 6  # further steps of the expert, for chunks played from the middle
_RUINED = {"intruder": 30.0, "table": 150.0}  # [N] beyond which an episode's further states teach nothing

Propose = Callable[[Observation, int], np.ndarray]  # an observation and a seed to chunks (N, T, D)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One state and what chunks from it lead to. V cameras, K chunks, T steps, D channels, A arms.

    images: uint8 (V, H, W, 3); earlier: uint8 (H, W, 3), the first camera EARLIER steps before
    heights: float32 (2, C, C) of things and of intruders; actions (K, T, D); severity (K, T, E), worst so far
    tool_m (K, T, A, 3); thing_m (K, T, 3); progress (K,); kind (K,) index into KINDS
    thing_now_m (3,): where the thing is before anything is done
    visible_px: how much of the intruder is seen in the pictures
    """

    images: np.ndarray
    earlier: np.ndarray
    state: np.ndarray
    heights: np.ndarray
    actions: np.ndarray
    severity: np.ndarray
    tool_m: np.ndarray
    thing_m: np.ndarray
    thing_now_m: np.ndarray
    progress: np.ndarray
    kind: np.ndarray
    seed: int
    step: int
    intruder: int
    visible_px: int
    instruction: str


def vary(env: HazardEnv, seed: int) -> None:
    """Half of the episodes look as the policy's training did, half differ along one axis."""
    rng = np.random.default_rng([seed, 0x766172])
    axis = str(rng.choice([a for a in AXES if a != "instruction"]))
    env.env.variation = Variation.named(axis) if rng.random() < 0.5 else SEEN


def samples(
    env: HazardEnv, bad: BadMotion, seed: int, *, most: int = 100, propose: Propose | None = None
) -> Iterator[Sample]:
    """Up to `most` states of the episode of this seed, each with CHUNKS labelled chunks."""
    vary(env, seed)
    env.reset(seed)
    expert = Expert(env.env)
    rng = np.random.default_rng([seed, 0x6261])
    noise = Noise(scale=float(rng.choice([0.0, 0.5, 1.0])), share=0.4)
    disturbance = Disturbance(env.card, noise, rng)
    first = 0 if most > 4 else int(rng.integers(0, 12))
    due, given, lingering = first + EARLIER, 0, 0
    earlier = _first_picture(env)
    for step in range(env.env.max_steps):
        if step == due - EARLIER:
            earlier = _first_picture(env)
        if step == due:
            yield _sample(env, expert, bad, rng, propose, earlier, seed, step)
            given += 1
            due += int(rng.integers(EARLIER + 2, 10)) * (1 if most > 4 else 2)
            if given == most:
                return
        severity = env.step(env.env.scene.controller.clamp(disturbance.apply(expert.act())))
        lingering += env.env.success()
        if severity[3] > _RUINED["intruder"] or severity[0] > _RUINED["table"] or lingering > 4:
            return


def _first_picture(env: HazardEnv) -> np.ndarray:
    return next(iter(env.observe().images.values()))


def _sample(
    env: HazardEnv, expert: Expert, bad: BadMotion, rng: np.random.Generator, propose: Propose | None,
    earlier: np.ndarray, seed: int, step: int,
) -> Sample:  # fmt: skip
    observation = env.observe()
    state = observation.state.astype(np.float64)
    thing_now = env.env.task.focus(env.env.scene)[0]
    longer, _ = env.what_would(expert.act, STEPS + _LONGER)
    chunks, kinds = _chunks(env, bad, rng, propose, observation, longer, state, seed + step)
    bad.remember(longer[:STEPS], state)
    courses = [env.what_if(chunk) for chunk in chunks]
    return Sample(
        images=np.stack(list(observation.images.values())),
        earlier=earlier,
        state=observation.state,
        heights=env.heights(),
        actions=np.array(chunks, np.float32),
        thing_now_m=thing_now.astype(np.float32),
        kind=np.array([KINDS.index(kind) for kind in kinds], np.uint8),
        seed=seed,
        step=step,
        intruder=INTRUDERS.index(env.intruders.kind),
        visible_px=env.visible_px(),
        instruction=observation.instruction,
        **_stacked(courses),
    )


def _stacked(courses: list[Course]) -> dict[str, np.ndarray]:
    return {
        name: np.stack([getattr(course, name) for course in courses])
        for name in ("severity", "tool_m", "thing_m")
    } | {"progress": np.array([course.progress for course in courses], np.float32)}


def _chunks(
    env: HazardEnv, bad: BadMotion, rng: np.random.Generator, propose: Propose | None,
    observation: Observation, longer: np.ndarray, state: np.ndarray, seed: int,
) -> tuple[list[np.ndarray], list[str]]:  # fmt: skip
    chunks, kinds = [longer[:STEPS]], ["expert"]
    if propose is not None:
        for chunk in propose(observation, seed):
            chunks.append(chunk[:STEPS])
            kinds.append("policy")
    while len(chunks) < CHUNKS:
        kind = "aimed" if rng.random() < 0.3 else str(rng.choice(bad.KINDS[:-1]))
        kinds.append(kind)
        chunks.append(
            _aimed(env, rng, state, longer) if kind == "aimed" else bad.make(kind, longer, state, rng)
        )
    return chunks, kinds


def _aimed(env: HazardEnv, rng: np.random.Generator, state: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """At the intruder, at the thing, or anywhere, and past it."""
    scene = env.env.scene
    ends = np.array(env.card.workspace_m)
    goal = rng.uniform(ends[:, 0], ends[:, 1])
    goal[2] = rng.uniform(-0.02, 0.3)
    choice = rng.random()
    if env.intruders.kind != "none" and choice < 0.6:
        goal = env.intruders.script.at(float(scene.data.time)) + rng.normal(0.0, 0.04, 3)
    elif choice < 0.75:
        goal = env.env.task.focus(scene)[0] + rng.normal(0.0, 0.03, 3)
    side = str(rng.choice([handle.side for handle in scene.robot.arms]))
    opening = float(longer[0, -1])
    return aimed(scene.controller, side, state, goal, float(rng.uniform(0.1, 0.5)), opening, STEPS)


_LOOKS = 3  # pictures of an episode in which nothing is tried
_SHOWN = (0.1, 0.35, 0.25, 0.3)  # shares of the intruders there: most are shown one


def looks(env: HazardEnv, seed: int) -> Iterator[dict[str, np.ndarray | str]]:
    """A few moments of the episode of this seed, only to be looked at: pictures, and what stands where.

    A picture costs a hundredth of a labelled state; these teach to see what is in the way.
    """
    rng = np.random.default_rng([seed, 0x6C6F6F])
    vary(env, seed)
    env.reset(seed, str(rng.choice(INTRUDERS, p=_SHOWN)))
    expert, scene = Expert(env.env), env.env.scene
    for _ in range(_LOOKS):
        scene.data.time += rng.uniform(0.0, 3.0)  # the intruder has gone on meanwhile
        env.intruders.move(scene.model, scene.data)
        for _ in range(int(rng.integers(0, 5))):
            env.step(expert.act())
        earlier = _first_picture(env)
        for _ in range(EARLIER):
            env.step(expert.act())
        observation = env.observe()
        yield {
            "images": np.stack(list(observation.images.values())),
            "earlier": earlier,
            "state": observation.state,
            "heights": env.heights(),
            "instruction": observation.instruction,
        }
