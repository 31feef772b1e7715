"""A URDF becomes a card that holds up; what a card cannot hold is refused by name; `home` looks down."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from kinema import cli
from kinema.card.check import check_card
from kinema.card.kinematics import arm_of, home_joints, home_rotation, tool_pose
from kinema.card.load import load_card, read_card
from kinema.commands.robots.card_check import MORE_CHECKS
from kinema.commands.robots.urdf_card import card_from_urdf, home_lines
from kinema.schema import KinemaError


def urdf() -> str:
    """The Panda's seven joints as a maker would write them: rpy, inertias, one box, links without shapes."""
    parts, parent = ['<robot name="six"><link name="foot"/>'], "foot"
    for i, link in enumerate(link for link in load_card("panda").arms[0].links if link.name[-1] in "1234567"):
        w, x, y, z = link.quat_wxyz
        assert y == z == 0.0  # so that a roll says it all
        shape = '<collision><geometry><box size="0.06 0.06 0.1"/></geometry></collision>' if i == 1 else ""
        joint = link.joint
        assert joint is not None
        parts.append(
            f'<link name="l{i}"><inertial><origin xyz="0 0 0.02" rpy="0 0 1.5708"/><mass value="1.2"/>'
            f'<inertia ixx="0.004" ixy="0" ixz="0" iyy="0.003" iyz="0" izz="0.002"/></inertial>{shape}</link>'
            f'<joint name="j{i}" type="revolute"><parent link="{parent}"/><child link="l{i}"/>'
            f'<origin xyz="{" ".join(map(str, link.pos_m))}" rpy="{2 * np.arctan2(x, w)} 0 0"/>'
            f'<axis xyz="0 0 1"/><limit lower="{joint.range[0]}" upper="{joint.range[1]}" velocity="2.5" '
            'effort="40"/></joint>'
        )
        parent = f"l{i}"
    return "".join(parts) + "</robot>"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "six.urdf"
    path.write_text(urdf())
    return path


def test_the_card_of_a_urdf_holds_up(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "six.yaml"
    assert cli.exit_code(["robots", "from-urdf", str(file), "--name", "six", "--out", str(out)]) == 0
    report = check_card(out, MORE_CHECKS)
    assert report.ok, [row for row in report.rows if not row.ok]
    assert "TODO" in out.read_text()
    arm = arm_of(read_card(out), "right")
    assert [joint.name for joint in arm.joints] == [f"j{i}" for i in range(7)]
    first = next(link for link in arm.links if link.name == "l0")
    np.testing.assert_allclose(first.inertia_kgm2, (0.003, 0.004, 0.002, 0, 0, 0), atol=1e-6)  # turned by rpy
    assert cli.exit_code(["robots", "from-urdf", str(file), "--name", "six", "--out", str(out)]) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('type="revolute"', 'type="floating"', "type 'floating'"),
        ('velocity="2.5"', "", "lacks velocity"),
        ('effort="40"', 'effort="0"', "effort 0 must be above 0"),
        ('<axis xyz="0 0 1"/>', '<axis xyz="0 0 0"/>', "no direction"),
        ('<parent link="l0"/>', '<parent link="nobody"/>', "'nobody' is no link"),
        ('xyz="0.0 -0.316 0.0"', 'xyz="0 nan 0.28"', "3 finite numbers"),
        ("<robot", "<!DOCTYPE x><robot", "entities"),
        ("</robot>", "", "is no XML"),
        ('name="j3"', 'name="gripper"', "--tip"),
    ],
)
def test_what_a_card_cannot_hold_is_named(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(urdf().replace(old, new))
    with pytest.raises(KinemaError, match=message):
        card_from_urdf(file, "six")


def test_a_tip_can_be_chosen(file: Path) -> None:
    with pytest.raises(KinemaError, match="no link 'nose'; choices: foot"):
        card_from_urdf(file, "six", ["nose"])
    assert "j6" not in card_from_urdf(file, "six", ["l5"])


@pytest.mark.parametrize(
    "name", ["panda", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ur5e", "aloha"))]
)
def test_home_brings_the_tool_straight_down(name: str) -> None:
    card = load_card(name)
    arm = arm_of(card, "right")
    place = tool_pose(arm, home_joints(arm))[:3, 3] + np.array([0.02, 0.01, -0.03])
    joints = np.array(list(home_lines(card, place).values()))
    pose = tool_pose(arm, joints)
    np.testing.assert_allclose(pose[:3, 3], place, atol=1e-3)
    np.testing.assert_allclose(pose[:3, :3], home_rotation(arm), atol=3e-3)
    with pytest.raises(KinemaError, match=r"does not reach 3 0 0\.3 with"):
        home_lines(card, (3.0, 0.0, 0.3))


def test_the_name_of_a_shipped_card_is_taken(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "panda.yaml"
    assert cli.exit_code(["robots", "from-urdf", str(file), "--name", "panda", "--out", str(out)]) == 2
    assert not out.exists()


def two_arms_on_a_waist() -> str:
    """Two copies of the arm, each with a hand of one finger, on a body that turns."""
    one = urdf().replace('<robot name="six"><link name="foot"/>', "").replace("</robot>", "")
    arms = ""
    for side, y in (("left", 0.2), ("right", -0.2)):
        mine = re.sub(r'"([lj]\d)"', rf'"{side}_\1"', one).replace('"foot"', f'"{side}_foot"')
        finger = (
            f'<link name="{side}_finger"><inertial><mass value="0.2"/></inertial></link>'
            f'<joint name="{side}_bend" type="revolute"><parent link="{side}_l6"/>'
            f'<child link="{side}_finger"/><axis xyz="0 1 0"/>'
            '<limit lower="0" upper="1" velocity="1" effort="1"/></joint>'
        )
        fixed = (
            f'<link name="{side}_foot"/><joint name="{side}_mount" type="fixed"><parent link="torso"/>'
            f'<child link="{side}_foot"/><origin xyz="0 {y} 0.3" rpy="0 0 0"/></joint>'
        )
        arms += fixed + mine + finger
    return (
        '<robot name="two"><link name="pelvis"/><link name="torso"/><joint name="waist" type="revolute">'
        '<parent link="pelvis"/><child link="torso"/><origin xyz="0 0 0.1"/><axis xyz="0 0 1"/>'
        f'<limit lower="-1" upper="1" velocity="1" effort="1"/></joint>{arms}</robot>'
    )


def test_two_arms_with_hands_on_a_waist_that_stands_still(tmp_path: Path) -> None:
    file, out = tmp_path / "two.urdf", tmp_path / "two.yaml"
    file.write_text(two_arms_on_a_waist())
    with pytest.raises(KinemaError, match="--base LINK"):
        card_from_urdf(file, "two", ["left_l6"])  # the waist is an eighth joint
    words = ["--tip", "left_l6", "--tip", "right_l6", "--hand", "thumb,fingers", "--out", str(out)]
    assert cli.exit_code(["robots", "from-urdf", str(file), "--name", "two", *words]) == 0
    report = check_card(out, MORE_CHECKS)
    assert report.ok, [row for row in report.rows if not row.ok]
    card = read_card(out)
    assert [arm.side for arm in card.arms] == ["left", "right"]
    assert [arm.base_pos_m for arm in card.arms] == [(0, 0, 0.1)] * 2
    left, right = (tool_pose(arm, home_joints(arm))[:3, 3] for arm in card.arms)
    np.testing.assert_allclose(left - right, [0, 0.4, 0], atol=1e-9)
    assert [c.name for c in card.actions if ".hand." in c.slot] == [
        f"{side}_{value}" for side in ("left", "right") for value in ("thumb", "fingers")
    ]
    hand = next(link for link in card.arms[0].links if link.name == "hand")
    assert hand.mass_kg == pytest.approx(0.2)
    one = card_from_urdf(file, "two", ["right_l6"], base="torso")
    assert "hand.0" not in one
