"""What ROS calls a body's numbers, and back: by name, in units that fit, or refused before anything moves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.kinematics import home_joints, tool_pose
from kinema.card.load import load_card
from kinema.runtime.robot import ReadingError
from kinema.runtime.ros.mapping import Odometry, PoseCommand, RosMapping, twist_along
from kinema.runtime.ros.topics import read_topics
from kinema.schema import KinemaError

CONFIG = Path(__file__).parents[2] / "ros2" / "kinema_ros" / "config"
UR5E = yaml.safe_load((CONFIG / "ur5e.yaml").read_text())
BASE = {
    "version": 1,
    "card": "wheeled_base",
    "odometry": {"topic": "/odom"},
    "cameras": {"front": {"topic": "/front/image_raw"}},
    "commands": [{"twist": "/cmd_vel"}],
}


def mapped(tree: dict[str, Any], folder: Path, card: str | None = None) -> RosMapping:
    path = folder / "topics.yaml"
    path.write_text(yaml.safe_dump(tree))
    return RosMapping(load_card(card or tree["card"]), read_topics(path))


def changed(**parts: Any) -> dict[str, Any]:
    """The shipped file with parts replaced, and left out where None."""
    return {key: value for key, value in (UR5E | parts).items() if value is not None}


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_files_fit_their_cards(path: Path) -> None:
    topics = yaml.safe_load(path.read_text())
    if "card" in topics:
        assert RosMapping(load_card(topics["card"]), read_topics(path)).commands


def test_a_joint_is_found_by_its_name_wherever_it_stands(tmp_path: Path) -> None:
    mapping = mapped(UR5E, tmp_path)
    told = {name: 0.1 * (i + 1) for i, name in enumerate(mapping.read_joints)} | {"another": 9.0}
    state = mapping.state(told)
    assert mapping.state(dict(reversed(told.items()))) == state
    assert list(state) == [channel.name for channel in mapping.card.states]
    assert state["elbow"] == told["elbow_joint"]
    assert np.isclose(state["gripper"], 1 - told["robotiq_85_left_knuckle_joint"] / 0.8)  # closed at 0.8


@given(
    value=st.floats(-3, 3), zero=st.floats(-90, 90), reversed_=st.booleans(),
    opening=st.floats(0, 1), closed=st.floats(-1, 1), width=st.floats(0.01, 1),
)  # fmt: skip
def test_what_is_commanded_is_read_back_the_same(
    value: float, zero: float, reversed_: bool, opening: float, closed: float, width: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    joints = UR5E["joints"] | {
        "elbow": {"key": "elbow_joint", "unit": "deg", "zero": zero, "reversed": reversed_}
    }
    ends = {"key": "robotiq_85_left_knuckle_joint", "closed": closed, "open": closed + width}
    tree = changed(joints=joints, openings={"gripper": ends})
    mapping = mapped(tree, tmp_path_factory.mktemp("topics"))
    action = {channel.name: 0.2 for channel in mapping.card.actions} | {"elbow": value, "gripper": opening}
    told: dict[str, float] = {}
    for command in mapping.commands:
        told |= dict(zip(command.joints, mapping.positions(command, action)))  # type: ignore[union-attr,arg-type]
    degrees = np.degrees(value) * (-1 if reversed_ else 1) + zero
    assert np.isclose(told["elbow_joint"], degrees)
    assert np.isclose(told["robotiq_85_left_knuckle_joint"], closed + opening * width)
    assert mapping.state(told) == pytest.approx(action)


def test_a_body_that_takes_poses_is_read_by_its_joints(tmp_path: Path) -> None:
    mapping = mapped(yaml.safe_load((CONFIG / "panda.yaml").read_text()), tmp_path)
    arm = mapping.card.arms[0]
    joints = home_joints(arm) + 0.1
    told = {f"panda_joint{i + 1}": q for i, q in enumerate(joints)} | {"panda_finger_joint1": 0.01}
    state = mapping.state(told)
    T = tool_pose(arm, joints)
    assert np.allclose([state[axis] for axis in "xyz"], T[:3, 3])
    assert state["gripper"] == pytest.approx(0.25)
    command = mapping.commands[0]
    assert isinstance(command, PoseCommand)
    assert command.frame == "panda_link0"
    assert np.allclose(mapping.pose(command, state), T)


def test_a_missing_joint_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    mapping = mapped(UR5E, tmp_path)
    told = dict.fromkeys(mapping.read_joints, 0.0)
    del told["elbow_joint"]
    with pytest.raises(ReadingError, match="lack elbow_joint; they name robotiq"):
        mapping.state(told)


def test_joints_of_two_arms_are_told_with_their_side(tmp_path: Path) -> None:
    card = load_card("aloha")
    names = [f"{arm.side}.{joint.name}" for arm in card.arms for joint in arm.joints]
    ros = {name: name.replace(".", "_") for name in names}
    grippers = [channel.name for channel in card.actions if "gripper" in channel.slot]
    keys = [f"{name}_finger" for name in grippers]
    tree = {
        "version": 1, "card": "aloha", "joint_states": {"topic": "/joint_states"},
        "joints": {name: {"key": key} for name, key in ros.items()},
        "openings": {name: {"key": key, "closed": 0.0, "open": 0.05} for name, key in zip(grippers, keys)},
        "cameras": {name: {"topic": f"/{name}"} for name in card.camera_names},
        "commands": [{"trajectory": "/arms", "joints": [*ros.values(), *keys]}],
    }  # fmt: skip
    told = {key: 0.01 * i for i, key in enumerate([*ros.values(), *keys])}
    state = mapped(tree, tmp_path).state(told)
    by_slot = {channel.slot: state[channel.name] for channel in card.states}
    assert by_slot["left.joint.2"] == told[ros[f"left.{card.arms[0].joints[2].name}"]]
    with pytest.raises(KinemaError, match="is given twice"):
        mapped(tree | {"joints": {}}, tmp_path)  # both arms' joints are called the same


def test_efforts_are_torques_in_the_cards_direction(tmp_path: Path) -> None:
    reversed_ = UR5E["joints"] | {"elbow": {"key": "elbow_joint", "reversed": True}}
    mapping = mapped(changed(joints=reversed_), tmp_path)
    torques = mapping.torques({"elbow_joint": 3.0, "wrist_1_joint": 2.0, "another": 1.0})
    assert torques == {"right.elbow": -3.0, "right.wrist_1": 2.0}


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-3, 3))
def test_a_twist_leads_to_the_waypoint(x: float, y: float, turn: float) -> None:
    way = np.array([x, y, turn])
    at, heading = np.zeros(2), 0.0
    forward, left, rate = twist_along(way)
    pieces = 4000
    for _ in range(pieces):  # by the midpoint of each piece
        middle = heading + rate / pieces / 2
        c, s = np.cos(middle), np.sin(middle)
        at = at + np.array([c * forward - s * left, s * forward + c * left]) / pieces
        heading += rate / pieces
    assert np.allclose([*at, heading], way, atol=1e-5)


def test_a_base_moves_by_twists_and_reads_its_odometry(tmp_path: Path) -> None:
    mapping = mapped(BASE, tmp_path)
    ahead = mapping.twist({"dx": 1.0, "dy": 0.0, "dtheta": 0.0})
    assert np.allclose(ahead, [1.0, 0, 0])  # 0.5 m in the card's half second
    where = Odometry(pose=np.array([1.0, 2.0, 0.5]), speed=np.zeros(3))
    assert mapping.state({}, where) == {"x": 1.0, "y": 2.0, "heading": 0.5}


WITHOUT_ELBOW = [joint for joint in UR5E["commands"][0]["joints"] if joint != "elbow_joint"]
CAR_CAMERAS = {name: {"topic": f"/{name}"} for name in ("front", "left", "right")}
REFUSED = {
    "another card": (changed(card="ur10e"), None, "it is for 'ur10e', not for 'ur5e'"),
    "unknown joint": (changed(joints={"elbw": {"key": "e"}}), None, "no joint 'elbw'; choices: .*elbow"),
    "wrong unit": (changed(joints={"elbow": {"key": "e", "unit": "mm"}}), None, "elbow is in rad.*rad, deg"),
    "no unit at all": (changed(joints={"elbow": {"key": "e", "unit": "grad"}}), None, "unknown unit.*deg"),
    "joint twice": (changed(joints={"elbow": {"key": "wrist_1"}}), None, "wrist_1 of ROS is given twice"),
    "missing camera": (changed(cameras={"front": {"topic": "/f"}}), None, "wrist is missing.*front, wrist"),
    "unknown camera": (
        changed(cameras=UR5E["cameras"] | {"top": {"topic": "/t"}}), None, "no 'top'; choices: front, wrist",
    ),
    "missing opening": (changed(openings=None), None, "openings: gripper is missing"),
    "unknown opening": (
        changed(openings={"grip": {"key": "g", "closed": 0, "open": 1}}), None, "no 'grip'; choices: gripper",
    ),
    "an opening without width": (
        changed(openings={"gripper": {"key": "g", "closed": 1, "open": 1}}), None, "closed and open are both",
    ),
    "missing joint states": (changed(joint_states=None), None, "joint_states is missing"),
    "nothing moves it": (
        changed(commands=[{"trajectory": "/a", "joints": WITHOUT_ELBOW}, UR5E["commands"][1]]), None,
        "nothing moves elbow; a joint_position body takes trajectory or follow",
    ),
    "two move it": (
        changed(commands=[*UR5E["commands"], {"follow": "/f", "joints": ["elbow_joint"]}]), None,
        "elbow is moved by two",
    ),
    "commanded joint unknown": (
        changed(commands=[{"trajectory": "/a", "joints": ["no"]}]), None, "no 'no'; choices: shoulder_pan",
    ),
    "two ways at once": (
        changed(commands=[{"trajectory": "/a", "twist": "/b", "joints": ["x"]}]), None, "give one of traj",
    ),
    "a relative topic": (changed(joint_states={"topic": "joint_states"}), None, "topic begins with a slash"),
    "an unknown key": (changed(camera={}), None, "unknown key; did you mean 'cameras'"),
    "an unknown tool": (
        changed(frames={"tools": {"left": "t"}}), None, "frames.tools: no 'left'; choices: right",
    ),
    "a control that nothing drives": (
        changed(card="widowx_simpler"), "widowx_simpler", "'ee_delta' cannot be driven over ROS; what can",
    ),
    "a twist for a body that steers": (
        BASE | {"card": "car", "cameras": CAR_CAMERAS}, "car", "steering is in rad, a twist has rad/s",
    ),
    "missing odometry": (
        BASE | {"odometry": None}, "wheeled_base", "odometry is missing, which tells x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_name(case: tuple[Any, str | None, str], tmp_path: Path) -> None:
    tree, card, told = case
    with pytest.raises(KinemaError, match=told):
        mapped(tree, tmp_path, card or "ur5e")
