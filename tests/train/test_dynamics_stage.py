"""The dynamics stage learns from labelled chunks, and its stream is decided by seed and count."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.card.harm import SEVERITIES
from kinema.card.load import load_card
from kinema.data.hazards import FIELDS, SCENE_FIELDS, read_shards, write_shard
from kinema.data.stream import Feed
from kinema.model.gate import artifact as gate_artifact
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.latent_dynamics import DynamicsConfig, LatentDynamics
from kinema.model.gate.samples import BodySamples
from kinema.model.gate.scores import Promise, score, thresholds
from kinema.schema import KinemaError
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Options, Recipe
from kinema.train.run import Run, run
from kinema.train.stage import Setting
from kinema.train.stages.gate import GateStage

CONFIG = DynamicsConfig(
    members=2, steps=4, image_size=32, channels=8, cells=6, latent=16, path_width=16, words=8
)
K, T = 3, 4


def _sample(card_name: str, seed: int) -> dict[str, object]:
    card, rng = load_card(card_name), np.random.default_rng(seed)
    low, high = np.array([channel.range for channel in card.actions]).T
    state_low, state_high = np.array([channel.range for channel in card.states]).T
    severity = np.zeros((K, T, len(SEVERITIES)), np.float32)
    severity[0, 2:, 0] = 100.0  # the first chunk always hits the table
    actions = rng.uniform(low, high, (K, T, len(low))).astype(np.float32)
    arms = len(card.arms)
    return {
        "images": rng.integers(0, 256, (2, 32, 32, 3), np.uint8),
        "earlier": rng.integers(0, 256, (32, 32, 3), np.uint8),
        "state": rng.uniform(state_low, state_high).astype(np.float32),
        "heights": rng.uniform(0, 0.1, (2, 6, 6)),
        "actions": actions,
        "severity": severity,
        "tool_m": rng.uniform(0, 0.5, (K, T, arms, 3)),
        "thing_m": rng.uniform(0, 0.5, (K, T, 3)),
        "thing_now_m": rng.uniform(0, 0.5, 3).astype(np.float32),
        "progress": rng.uniform(-0.1, 0.1, K),
        "kind": np.zeros(K, np.uint8),
        "seed": seed,
        "step": 0,
        "intruder": 0,
        "visible_px": 0,
        "instruction": "push the red block",
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for card in ("panda", "aloha"):
        samples = [_sample(card, seed) for seed in range(6)]
        write_shard(tmp_path / "hazards/train" / card / "0.npz", samples)
        write_shard(
            tmp_path / "hazards/scenes" / card / "0.npz", [{k: s[k] for k in SCENE_FIELDS} for s in samples]
        )
    return tmp_path


def _recipe(steps: int, promise: Promise | None = None) -> Recipe:
    return Recipe(
        name="tiny",
        summary="",
        data_command="",
        stage=partial(GateStage, config=CONFIG, promise=promise),
        batch_size=4,
        loop=LoopConfig(
            steps=steps,
            precision="fp32",
            save_every=1000,
            optim=OptimConfig(lr=1e-2, matrix_lr=None, warmup_steps=2, ema_decay=0.9),
        ),
    )


def test_shards_come_back_as_written(data: Path) -> None:
    arrays = read_shards(data / "hazards/train", "panda")
    assert set(arrays) == set(FIELDS)
    wanted = _sample("panda", 4)
    np.testing.assert_array_equal(arrays["images"][4], wanted["images"])
    np.testing.assert_array_equal(arrays["actions"][4], wanted["actions"])
    assert arrays["instruction"][4] == "push the red block"
    with pytest.raises(KinemaError, match="kinema data make hazards"):
        read_shards(data / "hazards/train", "ur5e")


def test_the_stream_is_decided_by_its_state(data: Path) -> None:
    stream = GateStage(Setting(data=data, out=data), CONFIG).stream(Feed(batch_size=4, seed=3))
    stream.draw()
    position, second = stream.state, stream.draw()
    stream.state = position
    again = stream.draw()
    torch.testing.assert_close(again.path, second.path)
    torch.testing.assert_close(again.scenes.images, second.scenes.images)
    assert second.path.shape == (4, K, T, 2, 12)


@pytest.mark.slow
def test_training_lowers_the_losses_and_halves_equal_a_whole(data: Path, tmp_path: Path) -> None:
    recipe = _recipe(steps=30)
    fp32 = Options(precision="fp32")
    whole = Run(recipe, data, tmp_path / "whole", fp32)
    stage, loop = whole.stage, whole.begin()
    batch = loop.mixture.draw()
    loop.mixture.state = replace(loop.mixture.state, drawn=0)
    before = stage(batch, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert set(before) == set(stage.weights)
    loop.run()
    after = stage(batch, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert after["events"].item() < 0.7 * before["events"].item()
    Run(recipe, data, tmp_path / "halves", fp32).begin().run(until=15)
    second = Run(recipe, data, tmp_path / "halves", replace(fp32, resume=True))
    rest = second.begin()
    rest.run()
    trained = whole.averaged(loop).state_dict()
    for name, value in second.averaged(rest).state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=0, atol=0)


def test_scores_keep_the_order_of_states_and_chunks(data: Path) -> None:
    torch.manual_seed(0)
    model = LatentDynamics(CONFIG).eval()
    reader = SceneReader(load_card("panda"), CONFIG)
    body = BodySamples(reader, read_shards(data / "hazards/train", "panda"))
    whole, _ = score(model, [body], 1.0, batch=16)
    parts, _ = score(model, [body], 1.0, batch=2)
    np.testing.assert_allclose(whole.risk, parts.risk, rtol=1e-4, atol=1e-6)
    assert whole.risk.shape[:2] == (6 * K, T)
    np.testing.assert_array_equal(whole.harm("collision", T), np.tile([1.0, 0.0, 0.0], 6))
    np.testing.assert_array_equal(whole.harm("collision", 2), np.zeros(18))
    promise = Promise(miss_rate={"collision": 0.3}, confidence=0.6, judged_steps=T)
    assert thresholds(whole, promise)["collision"].chunks == 6


def test_a_gate_says_what_its_weights_started_from(data: Path, tmp_path: Path) -> None:
    (data / "hazards/calibration").symlink_to(data / "hazards/train")
    recipe = _recipe(steps=1, promise=Promise(miss_rate={"collision": 0.3}, confidence=0.6, judged_steps=T))
    first = run(recipe, data, tmp_path / "first")
    begun = Options(init=first, precision="fp32")
    Run(recipe, data, tmp_path / "second", begun).begin().run(until=1)
    for options in (begun, Options(resume=True, precision="fp32")):
        found = Run(recipe, data, tmp_path / "second", options).stage.provenance()
        assert found["started_from"] == gate_artifact.load(first).provenance
        assert found["data"] == found["started_from"]["data"]
    assert gate_artifact.load(first).provenance["started_from"] is None
