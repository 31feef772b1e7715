"""From a hand's set to a robot's, and a policy trained on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.data.demonstrations import aligned_episodes, plain_film
from kinema.commands.data.make_human import make_human
from kinema.commands.imagine import compose
from kinema.commands.imagine.compose import composer
from kinema.commands.imagine.retarget import retarget, run
from kinema.data.aligned import HAND, STREAMS, aligned_clips, camera_name
from kinema.data.lerobot import Dataset
from kinema.data.source import from_dataset
from kinema.data.video import encode
from kinema.model.policy import presets
from kinema.model.world import presets as world_presets
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import WorldModel
from kinema.model.world.scene2robot import Scene2Robot, save, segments
from kinema.recipes.debug import debug
from kinema.recipes.sources import with_sources
from kinema.schema import KinemaError
from kinema.space.clip_shape import BACKGROUND, ClipShape
from kinema.train.run import run as train
from kinema.worlds.hand.aligned import perform
from kinema.worlds.hand.stage import VIEWS, HandWorld
from refusals import one_line

SEED = 1_000_500
SIZE = 32


@pytest.fixture(scope="module")
def human(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("human")
    args = {"robots": ("panda",), "families": ("pick_place",), "image_size": SIZE, "first_seed": SEED}
    assert make_human(out, episodes=1, **args) == {"panda": 1}  # type: ignore[arg-type]
    assert make_human(out, episodes=2, **args) == {"panda": 2}  # type: ignore[arg-type]
    return out / "panda"


def test_a_set_holds_four_aligned_streams_and_goes_on(human: Path) -> None:
    dataset = Dataset.open(human)
    assert dataset.num_episodes == 2
    assert len(np.unique(dataset.column("scene")[:, 0])) == 2
    assert dataset.column(HAND).shape[1] == 5
    assert dataset.camera_names == tuple(camera_name(s, v) for s in STREAMS for v in VIEWS)
    clips = aligned_clips(dataset, ClipShape(frames=5, size=SIZE))
    assert clips.body == "panda"
    rows = np.array([0])
    scene, alone, robot = (part.frames(rows)[0] for part in (clips.scene, clips.alone, clips.robot))
    assert scene.shape == alone.shape == robot.shape == (5, 2, SIZE, SIZE, 3)
    np.testing.assert_array_equal(scene[0], scene[1])  # what is known before there is a robot
    np.testing.assert_array_equal(robot[0], scene[0])
    assert (alone[0] == BACKGROUND).all()
    seen = np.abs(alone[1:].astype(int) - BACKGROUND).max(-1) > 40
    differs = np.abs(robot[1:].astype(int) - scene[1:]).max(-1) > 40
    assert 0.02 < seen.mean() < 0.6
    assert (differs & seen).sum() > 0.6 * seen.sum()  # frame by frame the robot is where it is alone


def test_a_body_that_cannot_reach_is_refused_with_those_that_can(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match=r"aloha cannot work .* choices: arx_l5"):
        make_human(tmp_path, robots=("aloha",), families=("button",), episodes=1, image_size=SIZE)


def test_a_retargeted_set_replays_and_trains_a_policy(human: Path, tmp_path: Path) -> None:
    report = run(aligned_episodes(human, "ur5e", 1), "ur5e", tmp_path)
    row = report["episodes"][0]
    assert row["tool_error_max_mm"] < 1.0
    assert report["replayed"] == 1
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert Path(row["strip"]).stat().st_size > 1000
    card = load_card("ur5e")
    source = from_dataset(Dataset.open(Path(report["data_set"])), card, image_size=SIZE)
    assert source.images(np.arange(2)).shape == (2, len(card.cameras), SIZE, SIZE, 3)
    recipe = with_sources(debug(), [source])
    short = replace(
        recipe,
        batch_size=4,
        stage=partial(recipe.stage, policy=partial(presets.tiny, image_size=SIZE)),
        loop=replace(recipe.loop, steps=2, log_every=1, save_every=2),
    )
    assert (train(short, tmp_path, tmp_path / "run") / "weights.safetensors").exists()


def test_a_model_composes_where_one_is_shipped_for_this_size_and_the_report_says_who(
    human: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    monkeypatch.setattr(compose, "SHIPPED_FOLDER", shipped)
    with pytest.raises(KinemaError, match="no scene-to-robot model in"):
        run(aligned_episodes(human, "panda", 1), "panda", tmp_path, composed_by="model")
    torch.manual_seed(0)
    made = Scene2Robot(
        model=WorldModel(world_presets.tiny_scene2robot()).eval(),
        vae=ChangeCode(**world_presets.CODE_TINY).eval(),
        clips=ClipShape(frames=5, size=SIZE), provenance={"clips": {"ur5e": 3}},
    )  # fmt: skip
    scene = torch.zeros(1, 40, 2, 2, 4)
    save(shipped, made, segments(scene, scene, 2))
    report = run(aligned_episodes(human, "panda", 1), "panda", tmp_path)
    assert report["composed_by"] == "scene-to-robot model, shown in scenes: ur5e"
    (row,) = report["episodes"]
    assert row["shows"] == "the hand | scene-to-robot model | the true robot in the scene"
    assert row["replayed"]
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 1
    assert row["instruction"] in page
    assert composer("depth", SIZE)[0] == "depth composite"
    assert composer(None, 96)[0] == f"depth composite (the model makes pictures of {SIZE} px, not 96)"


def test_a_plain_film_is_split_into_views_and_its_still_background(tmp_path: Path) -> None:
    frames = np.full((7, 16, 32, 3), 120, np.uint8)
    for step in range(6):
        frames[step, 4:8, 2 * step : 2 * step + 2] = 230
    encode(tmp_path / "film.mp4", frames, 10.0)
    shown = plain_film(tmp_path / "film.mp4", "wave", 10.0)
    assert shown.path is None
    assert {v.shape for v in shown.human.values()} == {(7, 16, 16, 3)}
    assert np.abs(shown.empty["front"].astype(int) - 120).max() < 12


@pytest.fixture(scope="module")
def filmed() -> np.ndarray:
    """A hand carries a block, in plain pictures (T, S, 2 S, 3) at 10 per second; the path is not kept."""
    world = HandWorld(family="pick_place", image_size=SIZE)
    done = perform(world, 500_403)
    world.close()
    assert done.success
    return np.concatenate([done.human[view] for view in VIEWS], axis=2)


@pytest.mark.slow
def test_a_plain_film_becomes_a_robots_episode(
    filmed: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode(tmp_path / "film.mp4", filmed.repeat(2, 0), 20.0)  # twice the robot's rate
    words = ["--instruction", "put the block away", "--out", str(tmp_path / "out")]
    assert cli.exit_code(["retarget", str(tmp_path / "film.mp4"), "--robot", "ur5e", *words]) == 0
    assert "success is not known; black in the data set: wrist" in capsys.readouterr().out
    dataset = Dataset.open(tmp_path / "out" / "data" / "ur5e")
    assert list(dataset.tasks) == ["put the block away"]
    assert abs(dataset.num_frames - len(filmed)) <= 1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["episodes"][0]["tool_error_mm"] < 1.0
    grip = [channel.slot for channel in load_card("ur5e").actions].index("right.gripper")
    asked = dataset.action[:, grip]
    assert asked[0] > 0.5
    assert asked.min() < 0.2  # it closes on the block
    assert asked[-1] > 0.5


@pytest.mark.slow
def test_an_episode_that_cannot_be_tracked_is_left_out_of_a_set(human: Path, tmp_path: Path) -> None:
    (shown,) = aligned_episodes(human, "ur5e", 1)
    unmoved = replace(shown, human={view: frames[:1].repeat(19, 0) for view, frames in shown.human.items()})
    report = run([unmoved, shown], "ur5e", tmp_path, track=True)
    assert report["untracked"]["0"].startswith("nothing moves in the view front and side")
    (row,) = report["episodes"]
    assert row["strip"].endswith("ur5e_001.mp4")
    assert row["track_error_mm"] < 20


@pytest.mark.parametrize("robot", ["car", "aloha", "sawyer_metaworld"])
def test_a_body_that_cannot_reach_is_refused_before_the_film_is_read(robot: str, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.touch()
    with pytest.raises(KinemaError, match=rf"{robot} cannot work at the hand's table .* choices: .*ur5e"):
        retarget(film, robot, tmp_path, instruction="wave")


def _still(film: np.ndarray) -> np.ndarray:
    return film[:1].repeat(len(film), 0)


def _swapped(film: np.ndarray) -> np.ndarray:
    return np.roll(film[:12], SIZE, axis=2)


def _lingering(film: np.ndarray) -> np.ndarray:
    """The hand comes and then stays where it is for most of the time."""
    return np.concatenate([film[4:10], film[10:11].repeat(12, 0)])


@pytest.mark.parametrize(
    ("change", "fps", "says"),
    [
        (_still, 10.0, "nothing moves in the view front and side; a film can be tracked when"),
        (_swapped, 10.0, "is not the hand that is known: their outlines overlap by"),
        pytest.param(
            _lingering,
            10.0,
            "is not the hand that is known: their outlines overlap by",
            marks=pytest.mark.slow,
        ),
        (lambda film: film[:, :, : SIZE + 8], 10.0, "40 x 32 px; a hand is tracked in two square views"),
        (lambda film: film[:3], 10.0, "3 pictures in 0.2 s; needed are 10 or more per second"),
        (lambda film: film[::4], 2.5, "pictures in [0-9.]+ s; needed are 10 or more per second"),
    ],
    ids=["still", "views swapped", "lingers", "one view", "short", "slow"],
)
def test_a_film_that_cannot_be_tracked_is_refused_with_what_is_needed(
    filmed: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray],
    fps: float,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encode(tmp_path / "film.mp4", change(filmed), fps)
    words = ["--instruction", "wave", "--out", str(tmp_path / "out")]
    assert cli.exit_code(["retarget", str(tmp_path / "film.mp4"), "--robot", "ur5e", *words]) == 2
    assert re.search(says, capsys.readouterr().err)
    assert not (tmp_path / "out" / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["film.mp4"], "a film needs --instruction"),
        (["film.mp4", "--instruction", "wave", "--episodes", "2"], "--episodes and --track are for a set"),
        (["film.mp4", "--instruction", "wave", "--track"], "--episodes and --track are for a set"),
        (["film.mp4", "--instruction", "wave"], "film.mp4 is not a readable video"),
        ([".", "--instruction", "wave"], "--instruction is for a film"),
        (["nowhere.mp4"], "nowhere.mp4 is neither a data set nor a film"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_half_an_order_is_refused(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("film.mp4").write_text("no film")
    assert says in one_line(["retarget", *arguments, "--robot", "ur5e"], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
