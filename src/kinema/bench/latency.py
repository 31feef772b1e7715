"""What latency costs: the tabletop with an injected delay between question and answer, on a simulated clock.

The simulation waits for nobody: while an answer is under way the world goes on. Every strategy of the runtime
is played with every latency on the same scenes, those of `kinema eval tabletop` with the same seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kinema.bench.benchmark import Privileged, TaskSpec
from kinema.bench.episode import EpisodeJob, EpisodeRecord, episode_seed
from kinema.bench.metrics.motion import motion_measures
from kinema.bench.tabletop import TabletopBenchmark
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.inference import SimulatedInference
from kinema.runtime.loop import ControlLoop
from kinema.runtime.record import Log
from kinema.runtime.robot import Body
from kinema.runtime.strategy import STRATEGIES, strategy
from kinema.schema import KinemaError, Policy, Result

LATENCIES_MS = (0, 100, 200, 300)
# What the shipped policy can do without latency; a task it fails anyway says nothing about latency.
FAMILIES = ("pick_place", "stack", "drawer", "button", "tidy")


class LatencyBenchmark:
    """Tasks are "body/family/strategy/NNNms"; the environment is the tabletop's for "body/family"."""

    name = "latency"

    def __init__(
        self,
        bodies: Iterable[str] = ("panda", "ur5e"),
        families: Iterable[str] = FAMILIES,
        strategies: Iterable[str] = STRATEGIES,
        latencies_ms: Iterable[int] = LATENCIES_MS,
    ) -> None:
        self._tabletop = TabletopBenchmark(bodies=bodies, families=families)
        self._strategies, self._latencies_ms = tuple(strategies), tuple(latencies_ms)
        if unknown := [name for name in self._strategies if name not in STRATEGIES]:
            raise KinemaError(f"unknown strategies {unknown}; choices: {', '.join(STRATEGIES)}")
        if min(self._latencies_ms, default=-1) < 0:
            raise KinemaError(f"latencies are milliseconds from 0 on; got {list(self._latencies_ms)}")

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(
                name=f"{spec.name}/{how}/{latency_ms}ms",
                card=spec.card,
                control_hz=spec.control_hz,
                groups={
                    "setting": f"{how} {latency_ms} ms",
                    "strategy": how,
                    "family": spec.groups["family"],
                },
            )
            for spec in self._tabletop.tasks()
            for how in self._strategies
            for latency_ms in self._latencies_ms
        )

    def make(self, task: str) -> Any:
        return self._tabletop.make(task.rsplit("/", 2)[0])

    def provenance(self) -> dict[str, Any]:
        return {
            **self._tabletop.provenance(),
            "clock": "simulated; physics goes on while an answer is under way",
            "scenes": "those of the tabletop's task of the same name, the same in every setting",
        }


@dataclass(frozen=True, kw_only=True)
class LatencyPlayer:
    """Plays one episode through the runtime's control loop. `seed` is the run's."""

    seed: int

    def __call__(
        self, environment: Any, policy: Policy, spec: TaskSpec, job: EpisodeJob, replan_steps: int
    ) -> EpisodeRecord:
        from kinema.worlds.tabletop.simulated_robot import SimulatedRobot

        base, how, delay = job.task.rsplit("/", 2)
        scene = episode_seed(self.seed, base, job.index)
        environment.reset(scene)
        policy.reset(scene)
        if isinstance(policy, Privileged):
            policy.attach(environment)
        clock, log = SimulatedClock(), Log()
        robot = SimulatedRobot(environment, clock.now_s)
        latency_s = float(delay.removesuffix("ms")) / 1000
        with Body(environment.card, robot) as body:
            loop = ControlLoop(
                body,
                SimulatedInference(policy, lambda _: latency_s),
                clock,
                strategy(how, environment.card, replan_steps),
                recorder=log,
            )
            loop.run(environment.instruction, max_steps=environment.max_steps, done=robot.success)
            succeeded = robot.success()
        return EpisodeRecord(
            task=job.task,
            index=job.index,
            seed=scene,
            result=Result.SUCCESS if succeeded else Result.FAILURE,
            cause="success"
            if succeeded
            else loop.reason or f"no success within {environment.max_steps} steps",
            steps=len(log.steps),
            measures=motion_measures(environment.card, log.steps),
        )
