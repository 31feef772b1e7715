"""One tabletop episode in which everything is kept: pictures of every step, actions, states, latencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

import numpy as np
from tqdm import tqdm

from kinema.bench.benchmark import Environment, Factory, Privileged
from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.card.prompt import prompt
from kinema.commands.long_tasks import check_factory
from kinema.commands.policies import gate_folder, policy_factory, tabletop_bodies, trained_bodies
from kinema.runtime.chunk import ChunkPlayer
from kinema.runtime.long_task import LongReport, LongTaskPolicy
from kinema.runtime.report import RunTrace
from kinema.schema import KinemaError, Outcome, Policy, Result
from kinema.worlds.cameras import PLAIN, Cameras, Effects
from kinema.worlds.tabletop.env import TabletopEnv, playable
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.long.env import LongEnv
from kinema.worlds.tabletop.long.family import NAME as LONG
from kinema.worlds.tabletop.long.tasks import LongTask
from kinema.worlds.tabletop.long.words import TabletopLanguage, scene_of
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.sentence import Request
from kinema.worlds.variation import Variation

if TYPE_CHECKING:
    from kinema.model.policy.loading import Loading

FILM_PX = 384
_USUAL_BODIES = ("panda", "aloha")
_AFTER_SUCCESS_S = 0.5  # keep filming, so that the end can be seen


@dataclass(frozen=True, kw_only=True)
class Session:
    """A scene with a policy in front of it, not yet begun. acts: the policy, without a planner before it."""

    world: TabletopEnv
    card: EmbodimentCard
    policy: Policy
    acts: Policy
    policy_name: str
    request: Request
    seed: int
    prompt: str
    effects: Effects
    task: LongTask | None = None

    def begin(self) -> None:
        """Set the scene."""
        if isinstance(self.world, LongEnv):
            self.world.begin(self.seed, self.task)
        else:
            self.world.reset(self.seed, self.request)


@dataclass(frozen=True, kw_only=True)
class Film:
    """What a run leaves behind. frames: uint8 (N, H, W, 3) by camera name, one per control step."""

    trace: RunTrace
    frames: Mapping[str, np.ndarray]
    interrupted: bool

    def side_by_side(self) -> np.ndarray:
        """All cameras in one picture, uint8 (N, H, V * W, 3)."""
        return np.concatenate(list(self.frames.values()), axis=2)


def prepare(
    instruction: str, *, robot: str | None, scene: str, seed: int, policy_name: str, gate: bool = False,
    loading: Loading | None = None, effects: Effects = PLAIN, planner: Factory | None = None,
) -> Session:  # fmt: skip
    """Understand the sentence, build its scene and the policy. Raises KinemaError or ValueError.

    gate: put the shipped gate before the policy, where it knows the body. effects: of the film alone.
    planner: makes steps of the sentence; None: the policy is told the sentence itself
    """
    variation = Variation.named(scene)
    task = scene_of(instruction) if planner else None
    if task:
        request = Request(family=LONG, text=instruction)
    else:
        request = parse_instruction(instruction, variation.look)
    card = load_card(robot or _first_body(request.family))
    if not task and request.family not in playable(card):
        able = [name for name in tabletop_bodies() if request.family in playable(name)]
        raise KinemaError(
            f"{card.name} has not learnt {request.family!r}; bodies that have: {', '.join(able)}"
        )
    bodies = trained_bodies(policy_name, (card.name,))
    if bodies and card.name not in bodies:
        raise KinemaError(f"{policy_name} was not trained on {card.name}; it knows {', '.join(bodies)}")
    policy = policy_factory(policy_name, (card.name,), loading=loading).build()
    if gate:
        policy = _gated(policy, card)
    world: TabletopEnv
    if task:
        world = LongEnv(card=card, variation=variation, meshes=effects.meshes)
    else:
        world = TabletopEnv(card=card, family=request.family, variation=variation, meshes=effects.meshes)
    return Session(
        world=world,
        card=card,
        policy=_planned(policy, planner, card, world) if planner else policy,
        acts=policy,
        policy_name=policy_name,
        request=request,
        seed=seed,
        prompt=prompt(card, instruction, card.chunk),
        effects=effects,
        task=task,
    )


def _planned(policy: Policy, planner: Factory, card: EmbodimentCard, world: TabletopEnv) -> LongTaskPolicy:
    """The policy behind a planner and the shipped success check. Raises KinemaError for another body."""
    check = check_factory().build()
    if card.name != check.card:
        raise KinemaError(f"the success check knows {check.card} alone; got {card.name}")
    assert isinstance(world, LongEnv)
    return LongTaskPolicy(policy, planner.build(), check, TabletopLanguage(), see=check.sees, tell=world.tell)


def _gated(policy: Policy, card: EmbodimentCard) -> Policy:
    """The policy behind the shipped gate; as it is when it draws no candidates or the body is unknown."""
    folder = gate_folder()
    if folder is None or not hasattr(policy, "propose"):
        return policy
    from kinema.model.gate.gate import Gate, GatedPolicy

    shipped = Gate(folder)
    return GatedPolicy(policy, shipped) if card.name in shipped.bodies else policy  # type: ignore[arg-type]


def _first_body(family: str) -> str:
    return next((name for name in _USUAL_BODIES if family in playable(name)), _USUAL_BODIES[0])


def play(session: Session, *, replan_steps: int) -> Film:
    """Act until the goal holds, the steps are used up or Ctrl-C is pressed, and keep everything."""
    world, card = session.world, session.card
    session.begin()
    policy, acts = session.policy, session.acts
    sees_simulator = isinstance(policy, Privileged)
    if isinstance(acts, Privileged):
        acts.attach(cast(Environment, _WithExpert(world)))
    player = ChunkPlayer(policy, card.name, replan_steps)
    player.reset(session.seed)
    camera = _FilmCamera(world, session.effects)
    actions, states, times_s = [], [], []
    left, interrupted = world.max_steps, False
    try:
        with tqdm(total=world.max_steps, unit="step", leave=False) as bar:
            while left > 0:
                state, time_s = world.state(), float(world.scene.data.time)
                action = player.act(lambda: world.observe(render=not sees_simulator))
                camera.shoot()
                world.step(action)
                states.append(state)
                times_s.append(time_s)
                actions.append(action)
                bar.update()
                left -= 1
                if policy.report.is_over if isinstance(policy, LongTaskPolicy) else world.success():
                    left = min(left, round(_AFTER_SUCCESS_S * card.control_hz))
    except KeyboardInterrupt:
        interrupted = True
    report = policy.report if isinstance(policy, LongTaskPolicy) else None
    outcome = _outcome(world, len(actions), interrupted, report)
    camera.close()
    world.close()
    trace = RunTrace(
        card=card,
        instruction=session.request.text,
        prompt=session.prompt,
        policy=session.policy_name,
        seed=session.seed,
        outcome=outcome,
        times_s=np.array(times_s),
        actions=np.array(actions).reshape(-1, len(card.actions)),
        states=np.array(states).reshape(-1, len(card.states)),
        latency_ms=1e3 * np.array(player.latency_s),
        facts=_facts(session),
        verdicts=player.verdicts,
        long=report,
    )
    return Film(trace=trace, frames=camera.frames(len(actions)), interrupted=interrupted)


def _outcome(world: TabletopEnv, steps: int, interrupted: bool, report: LongReport | None) -> Outcome:
    if report is not None and report.error:
        return Outcome(result=Result.ERROR, cause=report.error, measures=world.measures())
    holds = world.success()
    when = f"after {steps} steps ({steps / world.card.control_hz:.1f} s)"
    cause = f"the goal {'holds' if holds else 'does not hold'} {when}{', stopped with Ctrl-C' * interrupted}"
    if report is not None:
        cause += f"; {len(report.tried)} tries, {report.retries} of them again: {report.cause}"
    return Outcome(result=Result.SUCCESS if holds else Result.FAILURE, cause=cause, measures=world.measures())


def _facts(session: Session) -> dict[str, str]:
    facts = {name: version(name) for name in ("kinema", "mujoco", "numpy")}
    world = session.world
    return facts | {
        "world": f"tabletop/{world.family}, scene {world.variation.name}, seed {session.seed}",
        "pictures for the policy": f"{world.image_size} px, cameras {', '.join(session.card.camera_names)}",
    }


class _WithExpert:
    """The world with its scripted expert, as the benchmark's ExpertPolicy wants to see it."""

    def __init__(self, world: TabletopEnv) -> None:
        self._expert = Expert(world)

    def expert_action(self) -> np.ndarray:
        return self._expert.act()


class _FilmCamera:
    """Larger pictures than the policy gets, from the same cameras."""

    def __init__(self, world: TabletopEnv, effects: Effects) -> None:
        self._scene = world.scene
        self._cameras = Cameras(world.scene.model, world.card.camera_names, FILM_PX, effects)
        self._shots: dict[str, list[np.ndarray]] = {name: [] for name in world.card.camera_names}

    def shoot(self) -> None:
        for shots, picture in zip(self._shots.values(), self._cameras.pictures(self._scene.data)):
            shots.append(picture)

    def frames(self, steps: int) -> dict[str, np.ndarray]:
        """The pictures of the first `steps` steps."""
        empty = np.empty((0, FILM_PX, FILM_PX, 3), np.uint8)
        return {name: np.stack(shots[:steps]) if steps else empty for name, shots in self._shots.items()}

    def close(self) -> None:
        self._cameras.close()
