"""Every recorded episode is told in five layers, by what truly happened; older sets go on working."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.data import make as make_data
from kinema.commands.data.annotate import record_of
from kinema.commands.data.make import make
from kinema.commands.data.make_human import make_human
from kinema.commands.data.play import Task
from kinema.data.captions import FILE, LAYERS, read_captions
from kinema.data.clips import ClipSource
from kinema.data.lerobot import Dataset
from kinema.space.clip_shape import ClipShape
from kinema.worlds.tabletop.demonstrate import Noise, demonstrate
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.words.caption_checks import contradictions

SIZE = 16
TASK = Task(world="tabletop", card="panda", name="pick_place", noise=1.0, image_size=SIZE)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_data, "backend", InProcess)


@pytest.fixture(scope="module")
def tabletop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tabletop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_data, "backend", InProcess)
        assert make([TASK], out, episodes=2, workers=1) == {"panda": 2}
    return out / "panda"


def _clips(folder: Path) -> ClipSource:
    shape = ClipShape(frames=5, every=3, size=SIZE)
    return ClipSource(Dataset.open(folder), load_card("panda"), shape)


def test_every_episode_is_told_as_it_truly_went(tabletop: Path) -> None:
    dataset, told = Dataset.open(tabletop), read_captions(tabletop)
    assert set(told) == {0, 1}
    for episode, captions in told.items():
        assert all(asdict(captions)[layer] for layer in LAYERS)
        assert (captions.embodiment, captions.task, captions.view) == ("panda", "pick_place", "front+wrist")
        assert dataset.tasks[int(dataset.task_index[dataset.episode_bounds[episode][0]])] in captions.goal


def test_it_is_the_watcher_that_tells(tabletop: Path) -> None:
    """Not the guess from the numbers: the steps in the feedback are those of the true events."""
    seeds = [line.split('"seed": ')[1] for line in (tabletop.parent / "made.jsonl").read_text().splitlines()]
    env = TabletopEnv(card=load_card("panda"), family="pick_place", image_size=SIZE)
    solved = [s for s in seeds if '"success": true' in s]
    for captions, seed in zip(read_captions(tabletop).values(), solved):
        demo = demonstrate(env, Expert(env), int(seed.split(",")[0]), Noise(share=0.4), render=False)
        assert {event.kind for event in demo.events} >= {"grasp", "lift", "place"}
        for event in demo.events:
            assert f"t {event.step / env.card.control_hz:.1f} s" in captions.feedback
    env.close()


def test_clips_read_the_captions_of_their_episodes(tabletop: Path) -> None:
    clips, told = _clips(tabletop), read_captions(tabletop)
    rows = np.arange(len(clips))
    assert clips.captions(rows) == [told[int(episode)] for episode in clips.episode]
    assert len(set(clips.episode)) == 2


def test_a_set_without_captions_is_read_and_gets_them_when_it_goes_on(tabletop: Path, tmp_path: Path) -> None:
    make([TASK], tmp_path, episodes=1, workers=1)
    before = (tmp_path / "panda" / FILE).read_text()
    (tmp_path / "panda" / FILE).unlink()
    clips = _clips(tmp_path / "panda")
    assert set(clips.captions(np.arange(len(clips)))) == {None}
    assert clips.instructions(np.array([0])) == [clips.tasks[0]]
    make([TASK], tmp_path, episodes=2, workers=1)
    told = read_captions(tmp_path / "panda")
    assert set(told) == {0, 1}
    assert told[1] == read_captions(tabletop)[1]  # the same as recorded at once
    record = record_of(Dataset.open(tmp_path / "panda"), 0)
    assert contradictions(told[0], record) == []
    make([TASK], tmp_path, episodes=2, workers=1)
    assert len((tmp_path / "panda" / FILE).read_text().splitlines()) == 2
    assert before


def test_a_drive_is_told_too(tmp_path: Path) -> None:
    task = Task(world="road", card="car", name="stop", noise=0.0, image_size=SIZE, views=1)
    make([task], tmp_path, episodes=1, workers=1)
    captions = read_captions(tmp_path / "car")[0]
    assert captions.scenario == "on a road with a crossing"
    assert captions.view == load_card("car").cameras[0].name


def test_a_hands_set_is_told_by_the_robot_in_the_scene(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_human(
        tmp_path, robots=("panda",), families=("push",), episodes=1, image_size=SIZE, first_seed=1_000_500
    )
    folder = tmp_path / "panda"
    captions = read_captions(folder)[0]
    assert (captions.embodiment, captions.view, captions.task) == ("panda", "front+side", "push")
    assert "begins to slide" in captions.feedback  # seen in the true state: the set has no points
    record = record_of(Dataset.open(folder), 0)
    assert record.cameras == ("front", "side")
    (folder / FILE).unlink()
    assert cli.exit_code(["data", "annotate", str(folder)]) == 0
    assert "1 episodes described" in capsys.readouterr().out
