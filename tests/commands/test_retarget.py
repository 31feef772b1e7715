"""From a hand's set to a robot's, and a policy trained on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.commands.make_human import make_human
from kinema.commands.retarget import _episodes, _plain, run
from kinema.data.aligned import HAND, STREAMS, aligned_clips, stream_frames
from kinema.data.lerobot import Dataset
from kinema.data.source import from_dataset
from kinema.data.video import encode
from kinema.recipes.debug import debug
from kinema.schema import KinemaError
from kinema.train.run import run as train

SEED = 1_000_500
SIZE = 32


@pytest.fixture(scope="module")
def human(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("human")
    args = {"robots": ("panda",), "families": ("button",), "image_size": SIZE, "first_seed": SEED}
    assert make_human(out, episodes=1, **args) == {"panda": 1}  # type: ignore[arg-type]
    assert make_human(out, episodes=2, **args) == {"panda": 2}  # type: ignore[arg-type]
    return out / "panda"


def test_a_set_holds_four_aligned_streams_and_goes_on(human: Path) -> None:
    dataset = Dataset.open(human)
    assert dataset.num_episodes == 2
    assert len(np.unique(dataset.column("scene")[:, 0])) == 2
    assert dataset.column(HAND).shape[1] == 5
    steps = np.arange(3)
    assert {stream_frames(dataset, s, steps).shape for s in STREAMS} == {(3, 2, SIZE, SIZE, 3)}
    clips = aligned_clips([human], frames=5)
    assert clips.frames.shape == (2, 3, 5, 2, SIZE, SIZE, 3)
    assert clips.robots == ("panda", "panda")


def test_a_body_that_cannot_reach_is_refused_with_those_that_can(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match=r"aloha cannot work .* choices: arx_l5"):
        make_human(tmp_path, robots=("aloha",), families=("button",), episodes=1, image_size=SIZE)


def test_a_retargeted_set_replays_and_trains_a_policy(human: Path, tmp_path: Path) -> None:
    report = run(_episodes(human, "ur5e", 1), "ur5e", tmp_path)
    row = report["episodes"][0]
    assert row["tool_error_max_mm"] < 1.0
    assert report["replayed"] == 1
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert Path(row["strip"]).stat().st_size > 1000
    card = load_card("ur5e")
    source = from_dataset(Dataset.open(Path(report["data_set"])), card, image_size=SIZE)
    assert source.images(np.arange(2)).shape == (2, len(card.cameras), SIZE, SIZE, 3)
    config = debug().train
    short = replace(
        config,
        batch_size=4,
        policy=lambda vocab_size: config.policy(vocab_size, SIZE),
        loop=replace(config.loop, steps=2, log_every=1, save_every=2),
    )
    assert (train(short, [source], tmp_path / "run") / "weights.safetensors").exists()


def test_a_plain_film_is_split_into_views_and_its_still_background(tmp_path: Path) -> None:
    frames = np.full((7, 16, 32, 3), 120, np.uint8)
    for step in range(6):
        frames[step, 4:8, 2 * step : 2 * step + 2] = 230
    encode(tmp_path / "film.mp4", frames, 10.0)
    shown = _plain(tmp_path / "film.mp4", "wave")
    assert shown.path is None
    assert {v.shape for v in shown.human.values()} == {(7, 16, 16, 3)}
    assert np.abs(shown.empty["front"].astype(int) - 120).max() < 12
    encode(tmp_path / "wide.mp4", np.zeros((3, 16, 64, 3), np.uint8), 10.0)
    with pytest.raises(KinemaError, match="two square views"):
        _plain(tmp_path / "wide.mp4", "wave")
