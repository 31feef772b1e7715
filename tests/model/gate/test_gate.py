"""The gate fails closed, chooses the safest that makes progress, and comes back whole from disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.card.load import load_card
from kinema.model.gate import artifact as gate_artifact
from kinema.model.gate.conformal import Threshold
from kinema.model.gate.gate import Assessment, Gate, GatedPolicy, choose
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.latent_dynamics import DynamicsConfig, LatentDynamics
from kinema.schema import ActionChunk, KinemaError, Observation, Question, Verdict

CONFIG = DynamicsConfig(members=2, steps=6, image_size=32, channels=8, cells=6, latent=16, path_width=16)


def _threshold(limit: float) -> Threshold:
    return Threshold(limit=limit, miss_rate=0.003, confidence=0.9, chunks=1000, misses=0, bound=0.0023)


def _observation(time_s: float = 0.0) -> Observation:
    card, rng = load_card("panda"), np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (32, 32, 3), np.uint8) for name in card.camera_names}
    low, high = np.array([channel.range for channel in card.states]).T
    state = ((low + high) / 2).astype(np.float32)
    return Observation(images=images, state=state, instruction="push it", time_s=time_s)


def _chunk(steps: int = 16, card: str = "panda", seed: int = 0) -> ActionChunk:
    low, high = np.array([channel.range for channel in load_card("panda").actions]).T
    values = np.random.default_rng(seed).uniform(low, high, (steps, len(low)))
    return ActionChunk(values=values, times_s=0.1 * (1 + np.arange(steps)), card=card)


def _save(folder: Path, limit: float = 0.5) -> Path:
    torch.manual_seed(0)
    card = load_card("panda")
    gate = gate_artifact.GateArtifact(
        model=LatentDynamics(CONFIG).eval(),
        cards={"panda": card},
        thresholds={"collision": _threshold(limit), "torque": _threshold(2.0)},
        judged_steps=4,
        caution=1.0,
        provenance={"calibration": {"date": "2026-01-01"}},
    )
    reader = SceneReader(card, CONFIG)
    scenes = reader.observed(_observation())
    path = torch.from_numpy(reader.paths.path(_chunk(6).values[None, None], _observation().state[None, None]))
    gate_artifact.save(folder, gate, scenes, path)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("gate"))


def test_an_artifact_comes_back_whole(folder: Path, tmp_path: Path) -> None:
    first = gate_artifact.load(folder)
    assert first.thresholds["collision"] == _threshold(0.5)
    assert first.provenance["calibration"]["date"] == "2026-01-01"
    verdicts = Gate(folder).judge(_observation(), [_chunk()])
    again = Gate(folder).judge(_observation(), [_chunk()])
    assert verdicts == again


def test_damage_is_found_at_load(tmp_path: Path) -> None:
    folder = _save(tmp_path / "gate")
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    half = len(data) // 8 * 4
    data[half:] = np.full((len(data) - half) // 4 + 1, 0.5, np.float32).tobytes()[: len(data) - half]
    weights.write_bytes(bytes(data))
    with pytest.raises(KinemaError, match="answers its own example"):
        gate_artifact.load(folder)
    weights.write_bytes(bytes(data[:100]))
    with pytest.raises(KinemaError, match="damaged"):
        gate_artifact.load(folder)
    weights.unlink()
    with pytest.raises(KinemaError, match="incomplete"):
        gate_artifact.load(folder)


def test_a_limit_of_zero_refuses_and_one_above_one_allows(tmp_path: Path) -> None:
    chunks = [_chunk(seed=i) for i in range(3)]
    strict = Gate(_save(tmp_path / "strict", 0.0)).judge(_observation(), chunks)
    assert not any(verdict.allowed for verdict in strict)
    assert all("it would" in verdict.reason for verdict in strict)
    assert {verdict.horizon_s for verdict in strict} == {0.4}
    free = Gate(_save(tmp_path / "free", 1.1)).judge(_observation(), chunks)
    assert all(verdict.allowed and not verdict.reason for verdict in free)
    for verdict in free:
        assert all(0 <= risk <= 1 for risk in verdict.risk.values())


@pytest.mark.parametrize(
    ("observation", "chunk", "why"),
    [
        (_observation(), replace(_chunk(), values=np.full((16, 7), np.nan)), "not finite"),
        (_observation(), replace(_chunk(), values=np.zeros((0, 7)), times_s=np.zeros(0)), "empty"),
        (_observation(), replace(_chunk(), card="ur5e"), "does not know"),
        (replace(_observation(), images={}), _chunk(), "needs camera"),
        (replace(_observation(), state=np.full(7, np.nan, np.float32)), _chunk(), "finite"),
        (replace(_observation(), state=np.zeros(3, np.float32)), _chunk(), "finite"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    folder: Path, observation: Observation, chunk: ActionChunk, why: str
) -> None:
    (verdict,) = Gate(folder).judge(observation, [chunk])
    assert not verdict.allowed
    assert why in verdict.reason
    assert set(verdict.risk.values()) == {1.0}


def test_a_gate_that_breaks_refuses_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(folder)

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gate.artifact.model, "see", broken)
    verdicts = gate.judge(_observation(), [_chunk(), _chunk(seed=1)])
    assert [verdict.allowed for verdict in verdicts] == [False, False]
    assert "out of memory" in verdicts[0].reason


def test_a_network_that_answers_nan_is_not_trusted(folder: Path) -> None:
    gate = Gate(folder)
    with torch.no_grad():
        gate.artifact.model.head.bias.fill_(float("nan"))
    assert not gate.judge(_observation(), [_chunk()])[0].allowed


def _assessed(allowed: bool, risk: float, progress_m: float) -> Assessment:
    verdict = Verdict(
        allowed=allowed, risk={"collision": risk}, limit={"collision": 0.5}, horizon_s=1.0, reason=""
    )
    return Assessment(verdict=verdict, progress_m=progress_m, tool_m=np.zeros((1, 2, 3)))


def test_the_safest_that_still_makes_progress_is_taken() -> None:
    safest_but_idle, safe, riskier, refused = (
        _assessed(True, 0.01, -0.2),
        _assessed(True, 0.10, 0.19),
        _assessed(True, 0.30, 0.20),
        _assessed(False, 0.60, 0.90),
    )
    assert choose([refused, riskier, safest_but_idle, safe]) == 3
    assert choose([refused, safest_but_idle]) == 1
    assert choose([_assessed(False, 0.9, 0.0), _assessed(False, 0.6, 0.0)]) == 1
    with pytest.raises(KinemaError, match="no chunk"):
        choose([])


class _Proposer:
    """Eight fixed proposals; remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def reset(self, seed: int) -> None:
        self.seed = seed

    def propose(self, questions: Sequence[Question], count: int = 1) -> list[list[ActionChunk]]:
        self.asked.append((len(questions), count))
        return [[_chunk(seed=question.noise_seed % 100 + i) for i in range(count)] for question in questions]


def test_a_gated_policy_asks_once_for_all_and_says_what_it_thinks(folder: Path) -> None:
    proposer = _Proposer()
    policy = GatedPolicy(proposer, Gate(folder), candidates=8)  # type: ignore[arg-type]
    questions = [Question(observation=_observation(), card="panda", noise_seed=i) for i in range(3)]
    answers = policy.answer(questions)
    assert proposer.asked == [(3, 8)]
    assert all(answer.verdict is not None for answer in answers)
    chosen = policy.infer(_observation(), "panda")
    assert chosen.verdict is not None
    policy.reset(4)
    first = policy.infer(_observation(), "panda")
    policy.reset(4)
    np.testing.assert_array_equal(first.values, policy.infer(_observation(), "panda").values)
