"""What latency costs: the tabletop with an injected delay between question and answer, on a simulated clock.

The simulation waits for nobody: while an answer is under way the world goes on. Every strategy of the runtime
is played with every latency on the same scenes, those of `kinema eval tabletop` with the same seed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from kinema.bench.benchmark import Privileged, TaskSpec
from kinema.bench.episode import EpisodeJob, EpisodeRecord, episode_seed
from kinema.bench.metrics.intervals import wilson95
from kinema.bench.tabletop import TabletopBenchmark
from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import tool_pose
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.inference import SimulatedInference
from kinema.runtime.loop import ControlLoop
from kinema.runtime.record import Log, Step
from kinema.runtime.robot import Body
from kinema.runtime.strategy import STRATEGIES, strategy
from kinema.runtime.watchdog import Mode
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


def motion_measures(card: EmbodimentCard, steps: Sequence[Step]) -> dict[str, float]:
    """How an episode moved.

    jerk_m_s3: root mean square of the third difference of the measured tool positions, all arms
    idle:      share of control steps in which nothing fresh was played
    age_s:     from the observation behind an action to the time it is due, mean: how late the body reacts
    changed:   share of control steps in which the guard changed a fresh action
    """
    tools_m = np.stack([tool_positions(card, step.observation.state) for step in steps])  # (N, arms, 3)
    jerk = np.diff(tools_m, n=3, axis=0) * card.control_hz**3
    ages = [step.age_s for step in steps if step.age_s is not None]
    running = [step for step in steps if step.mode == Mode.RUNNING]
    return {
        "jerk_m_s3": float(np.sqrt((jerk**2).sum(-1).mean())) if len(jerk) else 0.0,
        "idle": 1.0 - len(running) / len(steps),
        "age_s": fmean(ages) if ages else 0.0,
        "changed": sum(bool(step.changes) for step in running) / len(steps),
    }


def tool_positions(card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
    """Measured tool positions (arms, 3) [m] in the robot's frame, from the native state (S,)."""
    values = {channel.slot: float(value) for channel, value in zip(card.states, state)}
    positions = []
    for arm in card.arms:
        if f"{arm.side}.ee.x" in values:
            positions.append([values[f"{arm.side}.ee.{axis}"] for axis in "xyz"])
        else:
            joints = [values[f"{arm.side}.joint.{i}"] for i in range(len(arm.joints))]
            positions.append(list(tool_pose(arm, joints)[:3, 3]))
    return np.array(positions)


def settings_table(records: Iterable[EpisodeRecord]) -> list[dict[str, Any]]:
    """One row for each strategy and latency: success, means of the measures, and `of_reference`.

    That is its successes against those of `synchronous` without latency, on the scenes that both have played.
    """
    by_setting: dict[tuple[str, int], list[EpisodeRecord]] = {}
    for record in records:
        _, how, delay = record.task.rsplit("/", 2)
        by_setting.setdefault((how, int(delay.removesuffix("ms"))), []).append(record)
    reference = _won_by_scene(by_setting.get((STRATEGIES[0], 0), []))
    order = {how: i for i, how in enumerate(STRATEGIES)}
    rows = []
    for how, latency_ms in sorted(by_setting, key=lambda key: (order[key[0]], key[1])):
        played = by_setting[how, latency_ms]
        rows.append(
            _row(how, latency_ms, played) | {"of_reference": _share(_won_by_scene(played), reference)}
        )
    return rows


def _won_by_scene(records: Sequence[EpisodeRecord]) -> dict[tuple[str, int], bool]:
    """An episode that crashed was not won."""
    return {(r.task.rsplit("/", 2)[0], r.index): r.result == Result.SUCCESS for r in records}


def _share(won: Mapping[tuple[str, int], bool], reference: Mapping[tuple[str, int], bool]) -> float | None:
    common = won.keys() & reference.keys()
    best = sum(reference[scene] for scene in common)
    return round(sum(won[scene] for scene in common) / best, 4) if best else None


def _row(how: str, latency_ms: int, records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    judged = [record for record in records if record.result != Result.ERROR]
    won = [record for record in judged if record.result == Result.SUCCESS]
    return {
        "strategy": how,
        "latency_ms": latency_ms,
        "episodes": len(records),
        "errors": len(records) - len(judged),
        "successes": len(won),
        "published_rate": round(len(won) / len(records), 4) if judged else None,
        "published_ci95": _interval(len(won), len(records) if judged else 0),
        "success_rate": round(len(won) / len(judged), 4) if judged else None,
        "ci95": _interval(len(won), len(judged)),
        "steps_of_successes": _mean([record.steps for record in won]),
        **{
            name: _mean([r.measures[name] for r in judged])
            for name in ("jerk_m_s3", "idle", "age_s", "changed")
        },
    }


def _interval(successes: int, episodes: int) -> list[float]:
    return [round(end, 4) for end in wilson95(successes, episodes)]


def _mean(values: Sequence[float]) -> float | None:
    return round(math.fsum(values) / len(values), 4) if values else None


def save_table(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `out/latency.json` whole or not at all; returns its path."""
    path, partial = out / "latency.json", out / "latency.partial"
    partial.write_text(json.dumps(list(rows), indent=1) + "\n")
    partial.replace(path)
    return path
