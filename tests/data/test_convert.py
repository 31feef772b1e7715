"""A set made anew as a card's holds the same motion in the same time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kinema import cli
from kinema.card.load import load_card
from kinema.data.clips import ClipSource
from kinema.data.convert import convert
from kinema.data.formats.lerobot import LeRobot
from kinema.data.formats.opened import open_source
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.data.set_map import ChannelMap, SetMap
from kinema.data.source import from_dataset
from kinema.data.verify import verify
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape

PANDA = load_card("panda")
SIZE = 16


def at_rate(hz, **changes):
    return PANDA.model_copy(update={"control_hz": float(hz)} | changes)


def record(root, card, seconds=2.0, *, stop_s=1.0):
    """0.1 m/s along x, commanded one frame ahead; the gripper closes after a second; red counts frames."""
    steps = round(seconds * card.control_hz)
    time_s = np.arange(steps) / card.control_hz
    state = np.zeros((steps, 7))
    state[:, 0], state[:, 2], state[:, 6] = 0.3 + 0.1 * time_s, 0.2, time_s < stop_s
    action = state.copy()
    action[:, 0] += 0.1 / card.control_hz
    with Writer(root, card=card, image_size=SIZE) as writer:
        for task in ("push it", "lift it"):
            images = {}
            for name in card.camera_names:
                images[name] = np.full((steps, SIZE, SIZE, 3), 100, np.uint8)
                images[name][..., 0] = (200 * time_s / seconds)[:, None, None]
            writer.add_episode(
                images=images, state=state, action=action, executed=action, task=task,
                success=np.arange(steps) == steps - 1,
            )  # fmt: skip
    return root


def converted(source, out, **told):
    assert convert(source, PANDA, out, image_size=SIZE, **told) == []
    return Dataset.open(out)


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    return record(tmp_path_factory.mktemp("fast") / "set", at_rate(30))


def test_the_same_motion_in_the_same_time(fast, tmp_path):
    made = converted(open_source(fast, PANDA), tmp_path / "out")
    assert verify(made.root) == []
    assert made.fps == 10
    assert made.card_name == "panda"
    assert made.episode_bounds.tolist() == [[0, 20], [20, 40]]
    for first, end in made.episode_bounds:
        time_s = np.arange(end - first) / 10
        np.testing.assert_allclose(made.state[first:end, 0], 0.3 + 0.1 * time_s, atol=1e-6)
        # due one step later, except where the episode ends before
        due_s = np.minimum(time_s + 0.1, 2.0)
        np.testing.assert_allclose(made.action[first:end, 0], 0.3 + 0.1 * due_s, atol=1e-6)
        np.testing.assert_array_equal(made.executed[first:end], made.action[first:end])
        np.testing.assert_array_equal(made.action[first:end, 6], time_s < 1.0 - 1e-9)
        red = made.frames("front", np.arange(first, end))[:, 8, 8, 0]
        np.testing.assert_allclose(red, 200 * time_s / 2, atol=8)
        assert made.success[first:end].tolist() == [False] * 19 + [True]
    assert [made.tasks[made.task_index[f]] for f in (0, 20)] == ["push it", "lift it"]


@pytest.mark.parametrize("hz", [5, 12.5, 30])
def test_windows_of_a_set_are_those_of_the_set_converted(tmp_path, hz):
    root = record(tmp_path / "set", at_rate(hz))
    direct = from_dataset(Dataset.open(root), PANDA, image_size=SIZE)
    anew = from_dataset(converted(open_source(root, PANDA), tmp_path / "out"), PANDA, image_size=SIZE)
    a, real_a = direct.windows(np.array([0]), 16)
    b, real_b = anew.windows(np.array([0]), 16)
    np.testing.assert_array_equal(real_a, real_b)
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_clips_are_cut_by_time(fast, tmp_path):
    slow = record(tmp_path / "set", PANDA)
    shape = ClipShape(frames=5, every=3, size=SIZE)
    films = []
    for root in (fast, slow):
        clips = ClipSource(Dataset.open(root), PANDA, shape)
        films.append(clips.frames(np.array([0]))[0, :, 0, 8, 8, 0].astype(int))
        assert clips.film(0).fps == pytest.approx(10 / 3)
    np.testing.assert_allclose(films[0], films[1], atol=8)
    np.testing.assert_allclose(np.diff(films[1]), 30, atol=8)


def test_nothing_is_written_where_it_does_not_fit(fast, tmp_path):
    with pytest.raises(KinemaError, match="does not fit card 'ur5e'"):
        convert(open_source(fast, PANDA), load_card("ur5e"), tmp_path / "out", image_size=SIZE)
    assert not (tmp_path / "out").exists()


def test_an_episode_of_two_tasks_becomes_one_of_each(fast, tmp_path):
    dataset = Dataset.open(fast)
    dataset.task_index[30:60] = 1
    made = converted(LeRobot(dataset), tmp_path / "out")
    assert (made.episode_bounds[:, 1] - made.episode_bounds[:, 0]).tolist() == [10, 10, 20]


def test_another_layout_is_converted_by_a_map(tmp_path):
    """Other channel names in another order, millimetres, degrees, a gripper of another sense, 25 Hz."""
    names = {"x": "ex", "y": "ey", "z": "ez", "rx": "a", "ry": "b", "rz": "c", "gripper": "grip"}
    renamed = tuple(c.model_copy(update={"name": names[c.name]}) for c in PANDA.actions[::-1])
    foreign = at_rate(25, name="foreign", actions=renamed, states=renamed)
    T = 25
    state = np.zeros((T, 7))
    state[:, 6], state[:, 4], state[:, 1] = 300 + np.arange(T), 200, 10  # ex, ez [mm], c is first but one
    state[:, 0] = -1.0  # grip: open
    root = tmp_path / "set"
    with Writer(root, card=foreign, image_size=SIZE) as writer:
        images = {c: np.full((T, SIZE, SIZE, 3), 90, np.uint8) for c in foreign.camera_names}
        writer.add_episode(images=images, state=state, action=state, task="push it")
    channels = {n: ChannelMap(key=names[n], unit="mm") for n in "xyz"}
    channels |= {n: ChannelMap(key=names[n], unit="deg") for n in ("rx", "ry", "rz")}
    channels["gripper"] = ChannelMap(key="grip", ends=(1, -1))
    told = SetMap(card="panda", channels=channels)
    made = converted(open_source(root, PANDA, told), tmp_path / "out", told=told)
    np.testing.assert_allclose(made.state[0], [0.3, 0, 0.2, 0, 0, np.deg2rad(10), 1], atol=1e-6)
    np.testing.assert_allclose(np.diff(made.state[:, 0]), 0.0025, atol=1e-6)


def test_the_commands_say_what_fits_and_convert_it(fast, tmp_path, capsys):
    assert cli.exit_code(["data", "fits", str(fast), "--card", "panda"]) == 0
    said = capsys.readouterr().out
    assert "converted  rate: the set has 30 frames/s, the card 10 Hz; windows are cut by time" in said
    assert cli.exit_code(["data", "fits", str(fast), "--card", "ur5e"]) == 1
    assert "refused  state channel" in capsys.readouterr().out
    told = tmp_path / "map.yaml"
    told.write_text(json.dumps({"cameras": {"front": "wrist", "wrist": "front"}}))
    out = tmp_path / "out"
    arguments = ["data", "convert", str(fast), "--map", str(told), "--out", str(out), "--image-size", "16"]
    assert cli.exit_code(arguments) == 0
    assert Dataset.open(out).fps == 10
    told.write_text("camera: {}")
    assert cli.exit_code(["data", "fits", str(fast), "--map", str(told)]) == 2
    assert "unknown key" in capsys.readouterr().err
