"""Recordings in other formats, written by those formats' own libraries, become the card's set.

Each is the same motion: the gripper goes along x at 0.1 m/s from 0.3 m on; the commands say where it is one
row later; red counts the rows.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.data.fits import sources, with_names
from kinema.data.convert import convert
from kinema.data.formats.opened import open_source
from kinema.data.lerobot import Dataset
from kinema.data.set_map import AS_IT_IS
from kinema.data.verify import verify
from kinema.schema import KinemaError

PANDA = load_card("panda")
FIXTURES = Path(__file__).parent / "fixtures"
SIZE, H, W = 16, 24, 32
BAG = "observation.state=joint_states,action=arm/command,front=camera/image,wrist=hand/compressed"


def motion(hz, seconds=1.0):
    """State (T, 7), action (T, 7) and pictures (T, H, W, 3) at a rate."""
    time_s = np.arange(round(seconds * hz)) / hz
    state = np.zeros((len(time_s), 7), np.float32)
    state[:, 0], state[:, 2], state[:, 6] = 0.3 + 0.1 * time_s, 0.2, 1.0
    action = state.copy()
    action[:, 0] += 0.1 / hz
    pictures = np.full((len(time_s), H, W, 3), (0, 90, 200), np.uint8)
    pictures[..., 0] = np.rint(200 * time_s)[:, None, None]
    return state, action, pictures


def check(source, out, told, seconds, episodes, *, start_s=0.0):
    """Convert it, and compare with the motion at the card's 10 Hz."""
    assert convert(source, PANDA, out, image_size=SIZE, told=told) == []
    assert verify(out) == []
    made = Dataset.open(out)
    assert made.num_episodes == episodes
    for first, end in made.episode_bounds:
        time_s = start_s + np.arange(end - first) / 10
        assert time_s[-1] > seconds - 0.21
        np.testing.assert_allclose(made.state[first:end, 0], 0.3 + 0.1 * time_s, atol=2e-4)
        # due one step later, but for the last, which may be due when the recording has ended
        np.testing.assert_allclose(made.action[first : end - 1, 0], 0.31 + 0.1 * time_s[:-1], atol=2e-4)
        red = made.frames("front", np.arange(first, end))[:, 8, 8, 0].astype(float)
        np.testing.assert_allclose(red, 200 * time_s, atol=9)
    return made


def told_by(text):
    return with_names(AS_IT_IS, sources(text), PANDA)


def test_act(tmp_path):
    h5py = pytest.importorskip("h5py")
    state, action, pictures = motion(50)
    for episode in (0, 1, 10):
        with h5py.File(tmp_path / f"episode_{episode}.hdf5", "w") as file:
            file.attrs["sim"] = False
            file["action"], file["observations/qpos"] = action, state
            file["observations/qvel"] = np.zeros_like(state)
            file["observations/images/cam_high"] = pictures
            jpegs = [np.frombuffer(jpeg(picture), np.uint8) for picture in pictures]
            padded = np.zeros((len(jpegs), max(map(len, jpegs)) + 9), np.uint8)
            for row, encoded in zip(padded, jpegs):
                row[: len(encoded)] = encoded
            file["observations/images/cam_low"] = padded
    told = told_by("front=cam_low,wrist=cam_high,action=action,observation.state=observation.state")
    source = open_source(tmp_path, PANDA, told, rate_hz=50, task="push it")
    made = check(source, tmp_path / "out", told, 1.0, 3)
    assert made.tasks == ["push it"]


def jpeg(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_alohas_channels_have_their_names(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "episode_0.hdf5", "w") as file:
        file["action"] = file["observations/qpos"] = np.zeros((3, 14), np.float32)
    source = open_source(tmp_path, load_card("aloha"), rate_hz=50)
    aloha = load_card("aloha")
    assert source.features["action"]["names"] == [channel.name for channel in aloha.actions]


def test_robomimic(tmp_path):
    h5py = pytest.importorskip("h5py")
    state, action, pictures = motion(20)
    with h5py.File(tmp_path / "demo.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": 20}})
        data.attrs["problem_info"] = json.dumps({"language_instruction": list("push it")})
        for demo in range(2):
            group = data.create_group(f"demo_{demo}")
            group["actions"] = action
            group["obs/robot0_eef_pos"] = state[:, :3]
            half = np.deg2rad(15)
            turned = np.tile([0, 0, np.sin(half), np.cos(half)], (len(state), 1))
            group["obs/robot0_eef_quat"] = turned
            group["obs/robot0_gripper"] = state[:, 6]
            group["obs/agentview_image"] = group["obs/robot0_eye_in_hand_image"] = pictures
    state_of = "observation.state=robot0_eef_pos+robot0_eef_rotvec+robot0_gripper"
    told = told_by(f"{state_of},action=action,front=agentview_image,wrist=robot0_eye_in_hand_image")
    made = check(open_source(tmp_path / "demo.hdf5", PANDA, told), tmp_path / "out", told, 1.0, 2)
    assert made.tasks == ["push it"]
    np.testing.assert_allclose(made.state[:, 5], np.deg2rad(30), atol=1e-6)
    with pytest.raises(KinemaError, match="recorded at 20 Hz, not 30; leave --rate out"):
        open_source(tmp_path / "demo.hdf5", PANDA, told, rate_hz=30)


@pytest.mark.parametrize("packed", [False, True])
def test_umi_commands_are_where_the_gripper_is_next(tmp_path, packed):
    zarr = pytest.importorskip("zarr")
    state, _, pictures = motion(20)
    root = tmp_path / ("set.zarr.zip" if packed else "set.zarr")
    store = zarr.storage.ZipStore(root, mode="w") if packed else str(root)
    group = zarr.open_group(store, mode="w", zarr_format=2)
    for name, values in (
        ("robot0_eef_pos", state[:, :3]), ("robot0_eef_rot_axis_angle", state[:, 3:6]),
        ("robot0_gripper_width", state[:, 6:]), ("camera0_rgb", pictures),
    ):  # fmt: skip
        twice = np.concatenate([values, values])
        array = group.create_array(
            f"data/{name}", shape=twice.shape, dtype=twice.dtype, chunks=(5, *twice.shape[1:])
        )
        array[:] = twice
    ends = group.create_array("meta/episode_ends", shape=(2,), dtype=np.int64)
    ends[:] = [len(state), 2 * len(state)]
    if packed:
        store.close()
    one_camera = PANDA.model_copy(update={"cameras": PANDA.cameras[:1]})
    told = with_names(
        AS_IT_IS, sources("front=camera0_rgb,action=action,observation.state=observation.state"), one_camera
    )
    source = open_source(root, one_camera, told, rate_hz=20, task="push it")
    assert convert(source, one_camera, tmp_path / "out", image_size=SIZE, told=told) == []
    made = Dataset.open(tmp_path / "out")
    assert made.episode_bounds.tolist() == [[0, 10], [10, 20]]
    np.testing.assert_allclose(made.state[:10, 0], 0.3 + 0.01 * np.arange(10), atol=1e-6)
    np.testing.assert_allclose(made.action[:9, 0], 0.31 + 0.01 * np.arange(9), atol=1e-6)
    assert made.action[9, 0] == pytest.approx(0.395)  # what was measured last
    with pytest.raises(KinemaError, match="replay buffers do not say their rate; say --rate HZ"):
        open_source(root, PANDA, told)


RLDS = "action=action,observation.state=observation.state,front=observation.image,wrist=observation.wrist"


def test_rlds_without_tensorflow(tmp_path):
    """The fixture is tensorflow_datasets' own (fixtures/README.md): 5 and 3 steps at 10 Hz."""
    pytest.importorskip("google_crc32c")
    pytest.importorskip("google.protobuf")
    told = told_by(RLDS)
    source = open_source(FIXTURES / "rlds", PANDA, told, rate_hz=10)
    assert convert(source, PANDA, tmp_path / "out", image_size=SIZE, told=told) == []
    made = Dataset.open(tmp_path / "out")
    assert verify(tmp_path / "out") == []
    assert (made.tasks, made.episode_bounds.tolist()) == (["task 0", "task 1"], [[0, 5], [5, 8]])
    np.testing.assert_allclose(made.state[:, 0], 0.3 + 0.01 * made.frame_index, atol=1e-6)
    np.testing.assert_allclose(made.action[:, 0], 0.31 + 0.01 * made.frame_index, atol=1e-6)
    front, wrist = (made.frames(c, np.arange(8))[:, 8, 8].astype(int) for c in ("front", "wrist"))
    drawn = np.array([(40 + 80 * (i > 4), 60 + 20 * t, 200) for i, t in enumerate(made.frame_index)])
    np.testing.assert_allclose(front, drawn, atol=4)
    np.testing.assert_allclose(wrist, drawn[:, ::-1], atol=4)


def test_a_bit_that_flipped_in_a_record_is_seen(tmp_path):
    pytest.importorskip("google_crc32c")
    root = shutil.copytree(FIXTURES / "rlds", tmp_path / "set")
    path = next(root.glob("*.tfrecord*"))
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(KinemaError, match="record 0 is damaged"):
        open_source(root, PANDA, rate_hz=10)[0].column("action")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "ros1"])
def test_ros_bags_are_read_at_their_true_times(tmp_path, storage):
    """Joints at 50 Hz with jitter and in another order, commands at 20 Hz, pictures at 30 Hz."""
    pytest.importorskip("rosbags")
    path = write_bag(tmp_path / ("bag.bag" if storage == "ros1" else "bag"), storage)
    told = told_by(
        "observation.state=joint_states,action=arm/command,front=camera/image,wrist=hand/compressed"
    )
    made = check(open_source(path, PANDA, told), tmp_path / "out", told, 1.28, 1, start_s=0.1)
    assert made.tasks == ["push it"]
    np.testing.assert_allclose(made.state[:, 6], 1.0)


def test_an_episode_with_a_gap_is_left_out_and_named(tmp_path, capsys):
    pytest.importorskip("rosbags")
    write_bag(tmp_path / "bags/a", "mcap", gap=True)
    write_bag(tmp_path / "bags/b", "mcap")
    line = ["data", "convert", str(tmp_path / "bags"), "--card", "panda", "--out", str(tmp_path / "out"),
            "--map", BAG, "--image-size", "16"]  # fmt: skip
    assert cli.exit_code(line) == 1
    said = capsys.readouterr().out
    assert "a was left out: camera 'camera/image' paused: at" in said
    assert "1 episodes for card panda at 10 Hz" in said
    assert Dataset.open(tmp_path / "out").num_episodes == 1


def write_bag(path, storage, *, gap=False):
    """Two seconds by rosbags' own writer; times begin at an hour of the robot's clock."""
    from rosbags import rosbag1, rosbag2
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC if storage == "ros1" else Stores.ROS2_JAZZY)
    kind = store.types
    rng, start_s = np.random.default_rng(0), 3600.0

    def header(time_s):
        ns = round((start_s + time_s) * 1e9)
        stamp = kind["builtin_interfaces/msg/Time"](sec=ns // 10**9, nanosec=ns % 10**9)
        more = {"seq": 0} if storage == "ros1" else {}
        return kind["std_msgs/msg/Header"](stamp=stamp, frame_id="", **more)

    def joints(time_s):
        names = ["gripper", *(c.name for c in PANDA.states[:6])]
        position = np.array([1.0, 0.3 + 0.1 * time_s, 0, 0.2, 0, 0, 0])
        none = np.zeros(0)
        return kind["sensor_msgs/msg/JointState"](
            header=header(time_s), name=names, position=position, velocity=none, effort=none
        )

    def command(time_s):
        point = kind["trajectory_msgs/msg/JointTrajectoryPoint"](
            positions=np.array([0.3 + 0.1 * (time_s + 0.05), 0, 0.2, 0, 0, 0, 1.0]), velocities=np.zeros(0),
            accelerations=np.zeros(0), effort=np.zeros(0),
            time_from_start=kind["builtin_interfaces/msg/Duration"](sec=0, nanosec=0),
        )  # fmt: skip
        return kind["trajectory_msgs/msg/JointTrajectory"](
            header=header(time_s), joint_names=[c.name for c in PANDA.actions], points=[point]
        )

    def picture(time_s):
        pixels = np.full((H, W, 3), (0, 90, 200), np.uint8)
        pixels[..., 0] = round(200 * time_s) % 256
        return pixels

    def raw(time_s):
        pixels = np.ascontiguousarray(picture(time_s)[..., ::-1])
        return kind["sensor_msgs/msg/Image"](
            header=header(time_s), height=H, width=W, encoding="bgr8", is_bigendian=0, step=3 * W,
            data=pixels.reshape(-1),
        )  # fmt: skip

    def compressed(time_s):
        data = np.frombuffer(jpeg(picture(time_s)), np.uint8)
        return kind["sensor_msgs/msg/CompressedImage"](header=header(time_s), format="jpeg", data=data)

    def sentence(time_s):
        return kind["std_msgs/msg/String"](data="push it")

    jitter = rng.uniform(-0.004, 0.004, 100)
    shots = np.arange(0.05, 1.28, 1 / 30)
    shots = shots[(shots < 0.4) | (shots > 0.9)] if gap else shots
    topics = {
        "/joint_states": ("sensor_msgs/msg/JointState", joints, np.arange(100) / 50 + jitter + 0.1),
        "/arm/command": ("trajectory_msgs/msg/JointTrajectory", command, np.arange(0.1, 2, 0.05)),
        "/camera/image": ("sensor_msgs/msg/Image", raw, shots),
        "/hand/compressed": ("sensor_msgs/msg/CompressedImage", compressed, np.arange(0.0, 2, 1 / 30)),
        "/task": ("std_msgs/msg/String", sentence, [0.0]),
    }
    path.parent.mkdir(exist_ok=True)
    if storage == "ros1":
        writer, serialize = rosbag1.Writer(path), store.serialize_ros1
    else:
        plugin = rosbag2.StoragePlugin.MCAP if storage == "mcap" else rosbag2.StoragePlugin.SQLITE3
        writer, serialize = rosbag2.Writer(path, version=9, storage_plugin=plugin), store.serialize_cdr
    with writer:
        for topic, (name, make, times_s) in topics.items():
            connection = writer.add_connection(topic, name, typestore=store)
            for time_s in times_s:
                recorded_ns = round((start_s + time_s + 0.02) * 1e9)  # they arrive later than they are taken
                writer.write(connection, recorded_ns, serialize(make(float(time_s)), name))
    return path


def test_a_conversion_that_was_stopped_goes_on(tmp_path, monkeypatch):
    told = told_by(RLDS)
    out, whole = tmp_path / "out", tmp_path / "whole"
    source = open_source(FIXTURES / "rlds", PANDA, told, rate_hz=10)
    convert(source, PANDA, whole, image_size=SIZE, told=told)
    kind = type(source)
    with monkeypatch.context() as patch:
        get = kind.__getitem__
        patch.setattr(kind, "__getitem__", lambda self, n: 1 / 0 if n == 1 and out.exists() else get(self, n))
        with pytest.raises(ZeroDivisionError):
            convert(source, PANDA, out, image_size=SIZE, told=told)
    assert Dataset.open(out).num_episodes == 1
    convert(source, PANDA, out, image_size=SIZE, told=told)
    for name in ("observation.state", "action", "episode_index"):
        np.testing.assert_array_equal(Dataset.open(out).column(name), Dataset.open(whole).column(name))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.hdf5", b"no", "is not a readable HDF5 file"),
        ("a.bag", b"no", "is not a readable bag"),
        ("a.mcap", b"no", "is not a readable bag"),
        ("a.zarr", None, "is not a replay buffer"),
        ("a.txt", b"no", "is in no format that is read; readable: LeRobot sets"),
        ("missing", None, "is missing"),
        ("set/features.json", b"{}", "describes no steps"),
    ],
)
def test_what_cannot_be_read_is_one_line(name, content, said, tmp_path, capsys):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    elif name != "missing":
        path.mkdir()
    root = path.parent if name.startswith("set") else path
    rate = [] if path.suffix in (".bag", ".mcap") else ["--rate", "10"]
    line = ["data", "convert", str(root), "--card", "panda", "--out", str(tmp_path / "out"), *rate]
    assert cli.exit_code(line) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mapped", "said"),
    [
        ("front=observation.imag", "camera 'front': the set has the cameras"),
        ("fornt=observation.image", "'fornt' is nothing of card panda; choices"),
        ("action=act", "has no column 'act', which 'action' needs; it has"),
        ("front=a+b", "'front' is one, not several"),
        ("front", "write NAME=COLUMN"),
        ("front=observation.image,front=observation.wrist", "--map names 'front' twice"),
    ],
)
def test_a_map_that_does_not_fit_is_one_line(mapped, said, tmp_path, capsys):
    line = [
        "data",
        "convert",
        str(FIXTURES / "rlds"),
        "--card",
        "panda",
        "--rate",
        "10",
        "--out",
        str(tmp_path / "o"),
    ]
    others = [pair for pair in RLDS.split(",") if pair.split("=")[0] != mapped.split("=")[0]]
    assert cli.exit_code([*line, "--map", ",".join([*others, mapped])]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
