"""Does it help to imagine sub-instructions before one is given to the policy? The same scenes, both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.bench.benchmark import Factory, Privileged, TaskSpec
from kinema.bench.episode import EpisodeJob, EpisodeRecord, episode_seed, play_episode
from kinema.bench.metrics.geometry import Pinhole, fixed_camera
from kinema.bench.metrics.tracks import SEEN_FROM, Eyes
from kinema.bench.tabletop import TabletopBenchmark
from kinema.card.card import EmbodimentCard
from kinema.runtime.chunk import ChunkPlayer
from kinema.runtime.planner import PlanningPolicy
from kinema.schema import Film, Imagines, KinemaError, Observation, Policy

WAYS = ("plain", "planned")
_BOX_HALF_M, _BLOCK_Z_M, _FAR_M = 0.085, 0.03, 0.5
_LOOK_BACK = 3  # pictures at the end in which a thing behind the arm is still looked for


class PlanningBenchmark:
    """Tidying up, "body/tidy/plain" and "body/tidy/planned"; the scenes are the same."""

    name = "planning"

    def __init__(self, bodies: Iterable[str] = ("panda",)) -> None:
        self._tabletop = TabletopBenchmark(bodies=bodies, families=("tidy",))

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(
                name=f"{spec.name}/{way}", card=spec.card, control_hz=spec.control_hz,
                groups={"way": way, "body": spec.card},
            )
            for spec in self._tabletop.tasks()
            for way in WAYS
        )  # fmt: skip

    def make(self, task: str) -> Any:
        return self._tabletop.make(task.rsplit("/", 1)[0])

    def provenance(self) -> dict[str, Any]:
        return {**self._tabletop.provenance(), "scenes": "those of the tabletop's task of the same name"}


@dataclass(frozen=True, kw_only=True)
class PlanningPlayer:
    """Plays one episode. `seed` is the run's.

    imagines: builds a world model; None: the true simulator, in which the policy itself obeys each candidate
    eyes:     builds the detector that judges a world model's films
    """

    seed: int
    imagines: Mapping[str, Any] | None = None
    eyes: Mapping[str, Any] | None = None
    every_s: float = 3.6

    def __call__(
        self, environment: Any, policy: Policy, spec: TaskSpec, job: EpisodeJob, replan_steps: int
    ) -> EpisodeRecord:
        if isinstance(policy, Privileged):
            raise KinemaError("an expert is not told sub-instructions; choose a policy that listens")
        base, way = job.task.rsplit("/", 1)
        scene = EpisodeJob(
            task=job.task, index=job.index, seed=episode_seed(self.seed, base, job.index), video=job.video
        )
        if way == "planned":
            policy = self.planner(environment, policy, replan_steps)
        record = play_episode(environment, policy, spec, scene, replan_steps)
        if isinstance(policy, PlanningPolicy):
            counts = {"plans": float(len(policy.plans)), "others": float(_others(policy))}
            record = EpisodeRecord(**{**record.as_dict(), "measures": {**record.measures, **counts}})
        return record

    def planner(self, environment: Any, policy: Policy, replan_steps: int) -> PlanningPolicy:
        """The policy behind a planner that imagines in this environment or in the given world model."""
        steps = round(self.every_s * environment.card.control_hz)
        if self.imagines is None:
            imagines, score = true_imagination(environment, policy, steps, replan_steps)
        else:
            if self.eyes is None:
                raise KinemaError("the films of a world model are judged by eyes; none were given")
            imagines, score = Factory(**self.imagines).build(), tidiness(_eyes(self.eyes), environment.card)

        def propose(now: Observation) -> tuple[str, ...]:
            from kinema.worlds.tabletop.subgoals import sub_instructions

            left = [
                b.color for b in environment.task.used if not environment.task.inside(environment.scene, b)
            ]
            return sub_instructions(now.instruction, left)[: len(left) + 2]

        return PlanningPolicy(policy, imagines, propose, score, every_s=self.every_s)


def true_imagination(
    environment: Any, policy: Policy, steps: int, replan_steps: int
) -> tuple[Imagines, Callable[[Film, str], float]]:
    """Perfect imagination: the policy obeys in the true simulator, which is then put back; and its score.

    Of two ends with as many blocks in the box, the one is better whose next block is nearer to it.
    """
    from kinema.worlds.tabletop.true_future import TrueFuture

    def obey(instruction: str, seed: int) -> Callable[[], np.ndarray]:
        player = ChunkPlayer(policy, environment.card.name, replan_steps)
        player.reset(seed)
        return lambda: player.act(environment.observe)

    world = getattr(environment, "_environment", environment)
    future = TrueFuture(world, frames=2, stride=steps, actor=obey)

    def score(film: Film, goal: str) -> float:
        outcome = future.outcome
        return 10 * outcome["success"] + outcome["inside"] - min(outcome["distance_m"], 1.0)

    return future, score


def tidiness(eyes: Eyes, card: EmbodimentCard) -> Callable[[Film, str], float]:
    """Scores a film by how far from the box the blocks end that were seen at first [m], negated."""
    name, pinhole = fixed_camera(card)

    def score(film: Film, goal: str) -> float:
        view = film.cameras.index(name)
        points = eyes.locate(film.frames[:, view])
        things = list(eyes.things)
        box = _on_table(points[:, things.index("box")], pinhole, last=False)
        blocks = [i for i, thing in enumerate(things) if thing.endswith(" block")]
        seen = [i for i in blocks if points[0, i, 2] >= SEEN_FROM]
        if box is None or not seen:
            return -_FAR_M
        ends = [_on_table(points[-_LOOK_BACK:, i], pinhole, last=True) for i in seen]
        away = [_FAR_M if end is None else float(np.linalg.norm(end - box)) for end in ends]
        return -float(np.mean([0.0 if distance < _BOX_HALF_M else distance for distance in away]))

    return score


def _on_table(path: np.ndarray, pinhole: Pinhole, *, last: bool) -> np.ndarray | None:
    """Where on the table a thing is seen in the first or the last picture that shows it (2,)."""
    shown = path[path[:, 2] >= SEEN_FROM]
    if not len(shown):
        return None
    return pinhole.at_height(shown[-1 if last else 0, :2], _BLOCK_Z_M)[:2]


def _others(policy: PlanningPolicy) -> int:
    """How many plans chose other words than the goal's own."""
    return sum(plan.chosen != plan.scores[0][0] for plan in policy.plans)


def _eyes(factory: Mapping[str, Any]) -> Eyes:
    return Factory(**factory).build()
