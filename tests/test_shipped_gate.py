"""The gate that ships: whole, small, says what it promises, and stops what it should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.commands.policies import gate_folder
from kinema.model.gate.gate import Gate
from kinema.schema import ActionChunk
from kinema.worlds.hazards.bad_motion import aimed
from kinema.worlds.hazards.env import HazardEnv
from kinema.worlds.tabletop.experts.expert import Expert


@pytest.fixture(scope="module")
def folder() -> Path:
    found = gate_folder()
    if found is None:
        pytest.skip("no gate is shipped in this checkout")
    return found


@pytest.fixture(scope="module")
def gate(folder: Path) -> Gate:
    return Gate(folder)


@pytest.fixture(scope="module", params=["panda", "ur5e", "aloha"])
def env(request: pytest.FixtureRequest, gate: Gate) -> Iterator[HazardEnv]:
    found = HazardEnv(card=gate.artifact.cards[request.param], family="pick_place")
    yield found
    found.close()


def test_small_and_with_its_promise(folder: Path, gate: Gate) -> None:
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
    assert {"collision", "intruder", "torque", "drop"} == set(gate.artifact.thresholds)
    for threshold in gate.artifact.thresholds.values():
        assert 0 < threshold.limit < 1
        assert threshold.bound <= threshold.miss_rate
        assert threshold.chunks > 100
    calibration = gate.artifact.provenance["calibration"]
    assert calibration["episodes"] > 1000
    assert calibration["date"]
    trained = list(_trained_on(gate.artifact.provenance))
    first, last = calibration["seeds"]
    assert all(last < low or high < first for low, high in trained)
    assert first >= 1_000_000


def _trained_on(provenance: Mapping[str, Any] | None) -> Iterator[Sequence[int]]:
    """First and last seed of whatever its weights have learnt from, those it started from included."""
    while provenance:
        yield from (body["seeds"] for body in provenance["data"])
        provenance = provenance.get("started_from")


def _judge(env: HazardEnv, gate: Gate, actions: np.ndarray) -> tuple[bool, str]:
    observation = env.observe()
    times_s = observation.time_s + 0.1 * (1 + np.arange(len(actions)))
    chunk = ActionChunk(values=actions, times_s=times_s, card=env.card.name)
    (verdict,) = gate.judge(observation, [chunk])
    return verdict.allowed, verdict.reason


def test_a_plunge_into_the_table_is_stopped_and_the_expert_is_not(env: HazardEnv, gate: Gate) -> None:
    stopped, let_through = [], []
    for seed in range(710_000, 710_006):
        env.reset(seed, "none")
        state = env.env.state().astype(float)
        tool = env.env.scene.tool()
        down = aimed(
            env.env.scene.controller, "right", state, np.array([tool[0], tool[1], -0.2]), 0.9, 1.0, 10
        )
        assert env.what_if(down[:5]).severity[-1, 0] >= 15.0
        allowed, reason = _judge(env, gate, down)
        stopped.append(not allowed and "table" in reason)
        expert, _ = env.what_would(Expert(env.env).act, 10)
        let_through.append(_judge(env, gate, expert)[0])
    assert np.mean(stopped) >= 5 / 6
    assert np.mean(let_through) >= 4 / 6
