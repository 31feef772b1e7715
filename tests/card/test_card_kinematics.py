"""The cards' kinematics and limits are the makers': read from their models, see `made_from` in the JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.card import Arm, Joint
from kinema.card.kinematics import (
    arm_of,
    finger_positions,
    gripper_of,
    gripper_opening,
    home_joints,
    home_rotation,
    link_poses,
    tool_pose,
)
from kinema.card.load import card_names, load_card
from kinema.worlds.tabletop.env import families_for
from laws import examples

REFERENCE = json.loads((Path(__file__).parent / "kinematics_reference.json").read_text())
LIMIT_ROUNDING = 2e-3  # rad, rad/s or N m: some makers write 3.14 for half a turn
ARMS = [(name, arm.side) for name in card_names() for arm in load_card(name).arms]
GRIPPERS = [(name, side) for name, side in ARMS if arm_of(load_card(name), side).gripper]


def reference(name: str, side: str) -> dict[str, Any]:
    """Of a card's arm; of both where they are copies of each other."""
    found: dict[str, Any] = REFERENCE.get(f"{name} {side}") or REFERENCE[name]
    return found


def poses_in_base(arm: Arm, q: list[float]) -> dict[str, np.ndarray]:
    poses = link_poses(arm, q) | {"tool": tool_pose(arm, q)}
    T_base_robot = np.linalg.inv(poses["base"])
    return {name: T_base_robot @ T for name, T in poses.items()}


def angle_between(A: np.ndarray, B: np.ndarray) -> float:
    return float(np.arcsin(min(1.0, np.linalg.norm(A - B) / np.sqrt(8)))) * 2


@pytest.mark.parametrize(("name", "side"), ARMS)
def test_poses_agree_with_the_makers_model(name: str, side: str) -> None:
    arm = arm_of(load_card(name), side)
    samples = reference(name, side)["samples"]
    assert len(samples) >= 20
    for sample in samples:
        poses = poses_in_base(arm, sample["q"])
        for frame, expected in sample["frames"].items():
            wanted = np.array(expected)
            assert np.linalg.norm(poses[frame][:3, 3] - wanted[:, 3]) < 1e-3
            assert angle_between(poses[frame][:3, :3], wanted[:, :3]) < 1e-3


def last_moving_link(arm: Arm) -> str:
    return [link.name for link in arm.links if link.joint and link.joint.name not in arm.fingers][-1]


@pytest.mark.parametrize(("name", "side"), ARMS)
def test_the_comparison_reaches_past_the_last_joint(name: str, side: str) -> None:
    arm = arm_of(load_card(name), side)
    frames = set(reference(name, side)["samples"][0]["frames"])
    assert frames & {"hand", "tool", last_moving_link(arm)}


def beyond(joint: Joint, stated: dict[str, Any]) -> list[str]:
    """The limits of a joint that allow more than its maker states."""
    low, high = stated.get("range", (-np.inf, np.inf))
    found = (
        ["range"] if joint.range[0] < low - LIMIT_ROUNDING or joint.range[1] > high + LIMIT_ROUNDING else []
    )
    values = {"velocity": joint.velocity, "effort": joint.effort}
    return found + [k for k, value in values.items() if value > stated.get(k, np.inf) + LIMIT_ROUNDING]


@pytest.mark.parametrize(("name", "side"), ARMS)
def test_no_joint_is_allowed_more_than_its_maker_states(name: str, side: str) -> None:
    arm = arm_of(load_card(name), side)
    stated = reference(name, side)["limits"]
    assert len(stated) == len(arm.joints)
    assert {j.name: found for j, limits in zip(arm.joints, stated) if (found := beyond(j, limits))} == {}


def test_a_joint_that_is_allowed_more_would_be_seen() -> None:
    joint = arm_of(load_card("jaco"), "right").joints[0]
    faster = joint.model_copy(update={"velocity": 1.0, "effort": 41.0})
    assert beyond(faster, REFERENCE["jaco"]["limits"][0]) == ["velocity", "effort"]
    wider = arm_of(load_card("fr3"), "right").joints[0].model_copy(update={"range": (-2.9007, 2.9007)})
    assert beyond(wider, REFERENCE["fr3"]["limits"][0]) == ["range"]


def test_a_wrong_link_length_would_be_seen() -> None:
    arm = arm_of(load_card("panda"), "right")
    links = [
        link.model_copy(update={"pos_m": (0.0, -0.318, 0.0)}) if link.name == "link3" else link
        for link in arm.links
    ]
    wrong = arm.model_copy(update={"links": tuple(links)})
    sample = REFERENCE["panda"]["samples"][0]
    off_m = poses_in_base(wrong, sample["q"])["tool"][:3, 3] - np.array(sample["frames"]["tool"])[:, 3]
    assert np.linalg.norm(off_m) > 1e-3


@pytest.mark.parametrize(("name", "side"), ARMS)
def test_home_points_straight_down_over_the_table(name: str, side: str) -> None:
    arm = arm_of(load_card(name), side)
    T_robot_tool = tool_pose(arm, home_joints(arm))
    np.testing.assert_allclose(T_robot_tool[:3, 2], [0, 0, -1], atol=1e-3)
    np.testing.assert_allclose(T_robot_tool[:3, :3], home_rotation(arm), atol=1e-3)
    if families_for(name):  # its frame lies on the table
        assert 0.05 < T_robot_tool[2, 3] < 0.4


@pytest.mark.parametrize(("name", "side"), ARMS)
def test_every_pose_is_rigid(name: str, side: str) -> None:
    arm = arm_of(load_card(name), side)
    rng = np.random.default_rng(0)
    low, high = np.array([joint.range for joint in arm.joints]).T
    for T in link_poses(arm, rng.uniform(low, high), opening=0.5).values():
        np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "side"), GRIPPERS)
@given(opening=st.floats(0, 1))
@examples(25)
def test_gripper_opening_is_the_inverse_of_finger_positions(name: str, side: str, opening: float) -> None:
    gripper = gripper_of(arm_of(load_card(name), side))
    assert gripper_opening(gripper, finger_positions(gripper, opening)) == pytest.approx(opening, abs=1e-9)


@pytest.mark.parametrize("name", ["panda", "ur5e", "xarm7", "widowx", "aloha"])
def test_parallel_fingers_open_by_the_stated_width_along_the_tools_y(name: str) -> None:
    for arm in load_card(name).arms:
        T_robot_tool = tool_pose(arm, home_joints(arm))
        links = [link.name for link in arm.links if link.joint and link.joint.name in arm.fingers]
        offsets = []
        for opening in (0.0, 1.0):
            poses = link_poses(arm, home_joints(arm), opening)
            left, right = (np.linalg.inv(T_robot_tool) @ poses[link] for link in links)
            offsets.append(left[:3, 3] - right[:3, 3])
        travel = offsets[1] - offsets[0]
        np.testing.assert_allclose(travel[[0, 2]], 0, atol=1e-6)
        widths = [abs(opened - closed) for closed, opened in zip(arm.gripper.closed, arm.gripper.open)]
        assert abs(travel[1]) == pytest.approx(sum(widths))
        # a gripper that does not close fully is wider than its travel, never narrower
        assert abs(travel[1]) <= arm.gripper.max_width_m + 1e-9


@pytest.mark.parametrize("name", [name for name in card_names() if families_for(name)])
def test_wrist_camera_sees_the_finger_tips_in_its_lower_half_and_what_lies_below_in_the_middle(
    name: str,
) -> None:
    card = load_card(name)
    camera = next(c for c in card.cameras if c.name == "wrist")
    side, link = camera.mount.split(":")
    arm = arm_of(card, side)
    q = home_joints(arm)
    mounted = arm.model_copy(
        update={
            "tool": arm.tool.model_copy(
                update={"link": link, "pos_m": camera.pos_m, "quat_wxyz": camera.quat_wxyz}
            )
        }
    )
    T_camera_robot = np.linalg.inv(tool_pose(mounted, q))
    T_robot_tool = tool_pose(arm, q)

    def row(depth_m: float) -> float:
        """Image row of a point on the tool's axis: -1 at the bottom edge, 1 at the top."""
        x, y, z = (T_camera_robot @ T_robot_tool @ [0, 0, depth_m, 1])[:3]
        assert abs(x / -z) < 0.2
        return float(y / -z / np.tan(camera.fovy_rad / 2))

    assert -1.0 < row(0.0) < -0.3
    table_m = T_robot_tool[2, 3]
    assert abs(row(table_m)) < 0.4


def test_a_wrong_number_of_joints_is_named() -> None:
    with pytest.raises(ValueError, match=r"7 joints .*got 6"):
        tool_pose(arm_of(load_card("panda"), "right"), [0.0] * 6)


def test_a_missing_side_is_named() -> None:
    with pytest.raises(ValueError, match="'panda' has no 'left' arm"):
        arm_of(load_card("panda"), "left")
