"""What is written to bags is read back the same, by our reader and as rosbags' own messages."""

from pathlib import Path

import numpy as np
import pytest

from kinema.cli import exit_code
from kinema.data.formats.bag_write import BEGIN_NS, write_bags
from kinema.data.formats.lerobot import LeRobot
from kinema.data.formats.ros import Bags
from kinema.data.lerobot import Dataset
from kinema.data.metadata import channel_names
from kinema.schema import KinemaError

pytest.importorskip("rosbags")


def test_a_set_comes_back_from_its_bags(recorded_once: Path, tmp_path: Path) -> None:
    source = LeRobot(Dataset.open(recorded_once))
    assert write_bags(source, tmp_path / "bags") == len(source) == 4
    bags = Bags(tmp_path / "bags", None)
    assert len(bags) == len(source)
    for number in range(len(source)):
        before, after = source[number], bags[number]
        assert after.task == before.task
        for name, topic in (("action", "action"), ("observation.state", "observation/state")):
            written, read = before.column(name), after.column(topic)
            np.testing.assert_array_equal(read.values, written.values)
            np.testing.assert_allclose(read.times_s, written.times_s, atol=1e-9)
            assert list(after.features[topic]["names"]) == channel_names(source.features[name])
        for camera in source.cameras:
            indices = np.arange(len(before.frame_times(camera)))
            topic = f"{camera}/image"
            np.testing.assert_allclose(after.frame_times(topic), before.frame_times(camera), atol=1e-9)
            np.testing.assert_array_equal(after.frames(topic, indices), before.frames(camera, indices))


def test_any_reader_of_mcap_finds_stamped_messages(recorded_once: Path, tmp_path: Path) -> None:
    from rosbags.highlevel import AnyReader

    write_bags(LeRobot(Dataset.open(recorded_once)), tmp_path / "bags")
    folder = tmp_path / "bags" / "episode_000000"
    assert [path.suffix for path in sorted(folder.iterdir())] == [".mcap", ".yaml"]
    with AnyReader([folder]) as reader:
        assert {c.topic for c in reader.connections} == {
            "/instruction", "/action", "/observation/state", "/front/image", "/wrist/image",
        }  # fmt: skip
        for connection, at_ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            if connection.topic != "/instruction":
                stamp = message.header.stamp
                assert stamp.sec * 10**9 + stamp.nanosec == at_ns >= BEGIN_NS


def test_nothing_is_written_over(recorded_once: Path, tmp_path: Path) -> None:
    (tmp_path / "bags").mkdir()
    (tmp_path / "bags" / "mine").write_text("mine")
    with pytest.raises(KinemaError, match="is not empty"):
        write_bags(LeRobot(Dataset.open(recorded_once)), tmp_path / "bags")


def test_the_command(recorded_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["data", "bags", str(recorded_once), "--out", str(tmp_path / "bags")]) == 0
    assert "4 bags" in capsys.readouterr().out
