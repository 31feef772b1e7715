"""Long tasks, each in the same scenes with a planner and without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from kinema.bench.benchmark import Factory, Privileged, TaskSpec
from kinema.bench.episode import EpisodeJob, EpisodeRecord, episode_seed, play_episode
from kinema.bench.gl import prefer_egl
from kinema.bench.tabletop import IMAGE_SIZE_PX
from kinema.card.load import load_card
from kinema.runtime.long_task import Budget, Check, LongTaskPolicy, Planner
from kinema.schema import KinemaError, Observation, Policy
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.long.env import LongEnv
from kinema.worlds.tabletop.long.tasks import KINDS
from kinema.worlds.tabletop.long.words import TabletopLanguage

WAYS = {
    "planned": "planner and trained check",
    "true_check": "planner and the world's own check: the bound of a better check",
    "open_loop": "the planner's steps, each for a fixed time, unchecked",
    "whole": "the whole sentence to the policy",
}
BUDGET = Budget()
OPEN_LOOP_S = 6.0  # of a step that nothing checks
WHOLE_S = 8.0  # for each step of a sentence that is given as a whole


class LongBenchmark:
    """Tasks are "body/kind/way". ways: of `WAYS`, all when empty."""

    name = "long"

    def __init__(self, bodies: Iterable[str] = ("panda",), ways: Iterable[str] = ()) -> None:
        prefer_egl()
        self._bodies, self._ways = tuple(bodies), tuple(ways) or tuple(WAYS)

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(
                name=f"{body}/{kind}/{way}", card=body, control_hz=load_card(body).control_hz,
                groups={"way": way, "kind and way": f"{kind}/{way}"}, expert=True,
            )
            for body in self._bodies
            for kind in KINDS
            for way in self._ways
        )  # fmt: skip

    def make(self, task: str) -> _World:
        body, kind, _ = task.split("/")
        return _World(LongEnv(card=load_card(body), kind=kind, image_size=IMAGE_SIZE_PX))

    def provenance(self) -> dict[str, Any]:
        return {
            "protocol": "with steps, an episode ends when they are over, and all that should last must hold "
            "then; the whole sentence ends at its first success or when its time is up",
            "ways": {way: WAYS[way] for way in self._ways},
            "budget": asdict(BUDGET),
            "open_loop_s": OPEN_LOOP_S,
            "whole_s_for_each_step": WHOLE_S,
            "image_size_px": IMAGE_SIZE_PX,
        }


class _World:
    """A long task's environment with its expert."""

    def __init__(self, environment: LongEnv) -> None:
        self._environment, self._expert = environment, Expert(environment)

    def expert_action(self) -> Any:
        return self._expert.act()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


class _TrueCheck:
    """The world's own word for whether a step is done."""

    limit = 0.5

    def __init__(self, environment: Any) -> None:
        self._environment, self._now = environment, ""

    def tell(self, step: str) -> None:
        self._now = step
        self._environment.tell(step)

    def chance(self, observation: Observation, step: str) -> float:
        env = self._environment
        return float(env.told_holds() if step == self._now else env.task.step_of(step).holds(env.scene))


class _UntilOver:
    """An environment whose episode is over when the steps are, and is judged then."""

    judged_at_the_end: Literal[True] = True

    def __init__(self, environment: Any, policy: LongTaskPolicy) -> None:
        self._environment, self._policy = environment, policy

    def over(self) -> bool:
        return self._policy.report.is_over

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


class _Limited:
    """An environment with so many steps for each step of its sentence."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment

    @property
    def max_steps(self) -> int:
        env = self._environment
        return round(WHOLE_S * len(env.task.steps) * env.card.control_hz)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


@dataclass(frozen=True)
class LongPlayer:
    """Plays one episode. seed: the run's. planner, check: build them; the check also names what is seen."""

    seed: int
    planner: Mapping[str, Any]
    check: Mapping[str, Any]

    @cached_property
    def _planner(self) -> Planner:
        return Factory(**self.planner).build()  # type: ignore[no-any-return]

    @cached_property
    def _check(self) -> Any:
        return Factory(**self.check).build()

    def __call__(
        self, environment: Any, policy: Policy, spec: TaskSpec, job: EpisodeJob, replan_steps: int
    ) -> EpisodeRecord:
        base, way = job.task.rsplit("/", 1)
        scene = EpisodeJob(
            task=job.task, index=job.index, seed=episode_seed(self.seed, base, job.index), video=job.video
        )
        if isinstance(policy, Privileged):
            policy.attach(environment)
        if way == "whole":
            if isinstance(policy, Privileged):
                raise KinemaError("an expert does steps and reads no sentence: leave out the way `whole`")
            limited: Any = _Limited(environment)
            return play_episode(limited, policy, spec, scene, replan_steps)
        steered = self.steered(environment, policy, way)
        record = play_episode(_UntilOver(environment, steered), steered, spec, scene, replan_steps)
        report = steered.report
        if report.error:
            raise KinemaError(report.error)
        told = {
            "tries": float(len(report.tried)), "retries": float(report.retries),
            "plans": float(len(report.plans)), "claims_success": float(report.claims_success),
        }  # fmt: skip
        cause = record.cause if record.result == "success" else f"{report.cause}; {_missing(environment)}"
        return EpisodeRecord(**{**record.as_dict(), "cause": cause, "measures": {**record.measures, **told}})

    def steered(self, environment: Any, policy: Policy, way: str) -> LongTaskPolicy:
        """The policy behind the planner."""
        true_check = _TrueCheck(environment)
        check: Check | None = {"planned": self._check, "true_check": true_check}.get(way)
        budget = BUDGET if check else Budget(try_s=OPEN_LOOP_S, tries=1)
        return LongTaskPolicy(
            policy, self._planner, check, TabletopLanguage(), see=self._check.sees, budget=budget,
            tell=true_check.tell,
        )  # fmt: skip


def _missing(environment: Any) -> str:
    """What is not done, for an episode that failed."""
    task = environment.task
    lacking = [text for text, done in zip(task.task.steps, task.done) if not done]
    return f"not done: {', '.join(lacking)}" if lacking else "all was done, and not all of it lasted"
