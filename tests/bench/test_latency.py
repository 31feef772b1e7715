"""Latency is injected, the world goes on, and without latency it is the tabletop's own runner."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")

from kinema.bench.benchmark import Factory
from kinema.bench.episode import EpisodeJob, EpisodeRecord, episode_seed, play_episode
from kinema.bench.expert import ExpertPolicy
from kinema.bench.latency import LatencyBenchmark, LatencyPlayer
from kinema.bench.latency_table import settings_table
from kinema.bench.metrics.motion import motion_measures
from kinema.bench.run import RunSettings, run
from kinema.bench.tabletop import TabletopBenchmark
from kinema.card.load import load_card
from kinema.runtime.record import Step
from kinema.runtime.watchdog import Mode
from kinema.schema import ActionChunk, KinemaError, Observation


class OpenLoop:
    """The expert's next step, repeated: a chunk that does not know better."""

    def __init__(self) -> None:
        self.expert = ExpertPolicy()

    def attach(self, environment: object) -> None:
        self.expert.attach(environment)  # type: ignore[arg-type]

    def reset(self, seed: int) -> None: ...

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        one = self.expert.infer(observation, card_name)
        times_s = observation.time_s + 0.1 * (1 + np.arange(16))
        return ActionChunk(values=np.repeat(one.values, 16, axis=0), times_s=times_s, card=card_name)


def played(task: str, index: int = 0) -> EpisodeRecord:
    benchmark = LatencyBenchmark(bodies=("panda",), families=("button",))
    spec = next(spec for spec in benchmark.tasks() if spec.name == task)
    environment = benchmark.make(task)
    job = EpisodeJob(task=task, index=index, seed=1)
    record = LatencyPlayer(seed=0)(environment, OpenLoop(), spec, job, 4)
    environment.close()
    return record


def test_without_latency_it_is_the_tabletops_own_episode() -> None:
    tabletop = TabletopBenchmark(bodies=("panda",), families=("button",))
    spec = tabletop.tasks()[0]
    environment = tabletop.make(spec.name)
    seed = episode_seed(0, spec.name, 0)
    plain = play_episode(environment, OpenLoop(), spec, EpisodeJob(task=spec.name, index=0, seed=seed), 4)
    environment.close()
    record = played("panda/button/synchronous/0ms")
    assert (record.seed, record.result, record.steps) == (seed, plain.result, plain.steps)
    assert record.measures["idle"] == 0.0


def test_a_waiting_body_is_idle_for_the_latency_and_a_splicing_one_only_at_first() -> None:
    waiting, splicing = played("panda/button/synchronous/200ms"), played("panda/button/in_painting/200ms")
    assert waiting.measures["idle"] == pytest.approx(2 / 6, abs=0.1)
    assert splicing.measures["idle"] == pytest.approx(2 / splicing.steps)
    assert waiting.steps > played("panda/button/synchronous/0ms").steps


def test_jerk_is_the_third_difference_of_the_tool() -> None:
    card = load_card("panda")

    def at(k: int) -> Step:
        state = np.array([0.4 + 1e-3 * k**3, 0, 0.3, 0, 0, 0, 1.0])
        observation = Observation(images={}, state=state, instruction="go", time_s=k / 10)
        mode = Mode.RUNNING if k % 2 else Mode.HOLDING
        return Step(
            time_s=k / 10, observation=observation, asked=None, sent=None, mode=mode, verdict=None,
            latency_s=None, age_s=None,
        )  # fmt: skip

    measures = motion_measures(card, [at(k) for k in range(6)])
    assert measures["jerk_m_s3"] == pytest.approx(6e-3 * 1e3)
    assert measures["idle"] == 0.5


def test_the_table_compares_with_no_latency() -> None:
    def record(how: str, latency_ms: int, index: int, success: bool) -> EpisodeRecord:
        measures = {"jerk_m_s3": 1.0, "idle": 0.1, "age_s": 0.2, "changed": 0.0}
        return EpisodeRecord(
            task=f"panda/button/{how}/{latency_ms}ms", index=index, seed=index, cause="",
            result="success" if success else "failure", steps=10, measures=measures,
        )  # fmt: skip

    records = [record("synchronous", 0, i, i < 8) for i in range(10)]
    records += [record("in_painting", 200, i, i < 6) for i in range(10)]
    rows = settings_table(records)
    assert [(r["strategy"], r["latency_ms"], r["of_reference"]) for r in rows] == [
        ("synchronous", 0, 1.0),
        ("in_painting", 200, 0.75),
    ]


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(KinemaError, match="unknown strategies"):
        LatencyBenchmark(bodies=("panda",), strategies=("wait",))
    with pytest.raises(KinemaError, match="milliseconds"):
        LatencyBenchmark(bodies=("panda",), latencies_ms=(-1,))


@pytest.mark.slow
def test_it_runs_in_worker_processes_and_resumes(tmp_path: Path) -> None:
    settings = RunSettings(
        benchmark=Factory(
            target="kinema.bench.latency:LatencyBenchmark",
            arguments={"bodies": ["panda"], "families": ["button"], "latencies_ms": [0, 200]},
        ),
        policy=Factory(target="kinema.runtime.policy:HoldPolicy"),
        play=Factory(target="kinema.bench.latency:LatencyPlayer", arguments={"seed": 0}),
        episodes=1,
        replan_steps=4,
    )
    results = run(settings, tmp_path, quiet=True)
    assert results.complete
    assert results.overall["errors"] == 0
    assert results.overall["episodes"] == 6
    first = json.loads((tmp_path / "episodes.jsonl").read_text().splitlines()[0])
    assert first["settings"]["play"]["target"].endswith("LatencyPlayer")
    assert run(settings, tmp_path, quiet=True).overall == results.overall
