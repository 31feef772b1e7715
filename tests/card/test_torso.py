"""A torso below the arms: kinematics against the maker's model and MuJoCo, limits, and who takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.card import EmbodimentCard
from kinema.card.check import check_card
from kinema.card.kinematics import carried, home_joints, joints_by_slot, link_poses, tool_pose, tools_m
from kinema.card.load import CardError, card_names, load_card, parse_card
from kinema.model.gate.commanded_path import PathReader
from kinema.runtime.guard import Guard
from kinema.schema import KinemaError
from kinema.space.moved import tool_moved
from kinema.worlds.body.control import Controller, Kinematics
from kinema.worlds.body.robots import add_robot, new_spec
from kinema.worlds.hand.stage import reaches
from kinema.worlds.tabletop.env import families_for
from laws import examples

GR1 = load_card("gr1")
SLOTS = [channel.slot for channel in GR1.states]
WAIST = [i for i, slot in enumerate(SLOTS) if slot.startswith("base.waist.")]
REFERENCE = json.loads((Path(__file__).parent / "kinematics_reference.json").read_text())["gr1 torso"]
LOW, HIGH = np.array([channel.range for channel in GR1.states]).T
HOME = np.array([joints_by_slot(GR1)[slot].home if ".hand." not in slot else 0.5 for slot in SLOTS])

GRIPPER = {
    "fingers": [],
    "closed": [],
    "open": [],
    "max_width_m": 0.1,
    "effort": 1.0,
    "source": "made for a test",
}


def states() -> st.SearchStrategy[np.ndarray]:
    shares = st.lists(st.floats(0, 1), min_size=len(SLOTS), max_size=len(SLOTS))
    return shares.map(lambda share: LOW + np.array(share) * (HIGH - LOW))


def parsed(**changes: Any) -> EmbodimentCard:
    """GR1's card with this changed."""
    tree = GR1.model_dump(mode="json", exclude_none=True) | changes
    return parse_card(yaml.safe_dump(tree, sort_keys=False).encode(), "made.yaml")


def bent(home: float) -> EmbodimentCard:
    """GR1 with another home of its waist: its arms' bases are given there."""
    torso = GR1.model_dump(mode="json", exclude_none=True)["torso"]
    for link in torso["links"]:
        link["joint"]["home"] = home
    return parsed(torso=torso)


def test_the_arms_bases_go_where_the_makers_model_brings_them() -> None:
    assert len(REFERENCE["samples"]) >= 20
    for sample in REFERENCE["samples"]:
        for arm in carried(GR1, sample["q"]):
            base = link_poses(arm, home_joints(arm))["base"]
            np.testing.assert_allclose(base[:3], sample["frames"][arm.side], atol=1e-5)


def test_the_waist_is_allowed_no_more_than_its_maker_states() -> None:
    assert GR1.torso is not None
    assert [list(joint.range) for joint in GR1.torso.joints] == [row["range"] for row in REFERENCE["limits"]]


@given(states())
@examples(20)
def test_tools_are_where_mujoco_brings_the_cards_own_body(state: np.ndarray) -> None:
    spec = new_spec()
    add_robot(spec, GR1)
    model = spec.compile()
    data = mujoco.MjData(model)
    names = {f"{a.side}.joint.{i}": f"{a.side}/{j.name}" for a in GR1.arms for i, j in enumerate(a.joints)}
    names |= {f"base.waist.{i}": f"torso/{joint.name}" for i, joint in enumerate(GR1.torso.joints)}  # type: ignore[union-attr]
    for slot, value in zip(SLOTS, state):
        if slot in names:
            data.joint(names[slot]).qpos[0] = value
    mujoco.mj_kinematics(model, data)
    places = [data.site(f"{arm.side}/tool").xpos for arm in GR1.arms]
    np.testing.assert_allclose(tools_m(GR1, state[None])[0], places, atol=1e-6)


@given(st.floats(-0.5, 0.5), st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3))
@examples(20)
def test_at_home_the_arms_stand_where_they_say_and_a_turn_is_the_same_from_any_home(
    home: float, waist: list[float]
) -> None:
    card = bent(home)
    for moved, still, other, other_still in zip(
        carried(card, waist), carried(card, [home] * 3), carried(GR1, waist), carried(GR1, [home] * 3)
    ):
        q = home_joints(moved)
        own = next(arm for arm in card.arms if arm.side == moved.side)
        np.testing.assert_allclose(tool_pose(still, q), tool_pose(own, q), atol=1e-9)
        turn, same = (tool_pose(a, q) @ np.linalg.inv(tool_pose(b, q)) for a, b in
                      ((moved, still), (other, other_still)))  # fmt: skip
        np.testing.assert_allclose(turn, same, atol=1e-9)


def test_mujocos_kinematics_stand_the_torso_at_home() -> None:
    card = bent(0.3)
    for arm in card.arms:
        position, rotation = Kinematics(card).tool_pose(arm.side, home_joints(arm))
        T_robot_tool = tool_pose(arm, home_joints(arm))
        np.testing.assert_allclose(position, T_robot_tool[:3, 3], atol=1e-6)
        np.testing.assert_allclose(rotation, T_robot_tool[:3, :3], atol=1e-6)


def test_what_is_said_of_the_tools_follows_the_waist() -> None:
    end = HOME.copy()
    end[WAIST[0]] += 0.2  # to the left: both tools go to the left and the right one forward
    moved = tool_moved(GR1, HOME, end, {})
    assert moved.amount("left.ee.y") > 0.03
    assert moved.amount("right.ee.x") > 0.03
    assert moved.amount("left.ee.x") < -0.03


def test_the_guard_keeps_the_tools_in_the_workspace_when_only_the_waist_is_asked() -> None:
    box = [[-0.4, 0.8], [-0.25, 0.25], [-0.4, 1.0]]  # tools at y = 0.2 and -0.2
    card = parsed(workspace_m=box)
    guard, state, turned = Guard(card), HOME.copy(), []
    guard.anchor(state)
    for i in range(120):
        asked = HOME.copy()
        asked[WAIST[0]] = 1.0 if i < 60 else -1.0
        state = guard.check(asked, now_s=i / card.control_hz, state=state).action
        turned.append(state[WAIST[0]])
        outside_m = np.abs(tools_m(card, state[None])[0, :, 1]) - 0.25
        assert (outside_m <= 1e-6).all()
    assert 0.1 < turned[59] < 0.5
    assert -0.5 < turned[-1] < -0.1


def test_the_guard_keeps_the_waist_to_its_speed_and_its_acceleration() -> None:
    guard, state = Guard(GR1), HOME.copy()
    guard.anchor(state)
    asked = HOME.copy()
    asked[WAIST] = 0.5
    path = [state]
    for i in range(60):
        path.append(guard.check(asked, now_s=i / GR1.control_hz, state=path[-1]).action)
    speeds = np.diff(np.array(path)[:, WAIST], axis=0) * GR1.control_hz
    assert 1.0 < np.abs(speeds).max() <= 2.0 + 1e-9
    assert np.abs(np.diff(speeds, axis=0)).max() * GR1.control_hz <= 2.0 / 0.3 + 1e-3
    np.testing.assert_allclose(path[-1][WAIST], 0.5, atol=1e-6)


def test_who_moves_arms_on_fixed_bases_does_not_take_it() -> None:
    assert families_for(GR1) == ()
    gripping = [arm | {"hand": None, "gripper": GRIPPER} for arm in GR1.model_dump(mode="json")["arms"]]
    card = GR1.model_validate_json(json.dumps(GR1.model_dump(mode="json") | {"arms": gripping}))
    assert families_for(card) == ()
    assert not reaches(card)
    robot = Kinematics(card).robot
    with pytest.raises(KinemaError, match="'gr1' has a torso"):
        Controller(robot, robot.model, mujoco.MjData(robot.model))
    with pytest.raises(KinemaError, match="'gr1' has a torso"):
        PathReader(card)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"waist": False}, "needs waist: true and joint_position"),
        ({"control": "ee_pose"}, "needs waist: true and joint_position"),
        ({"torso": {"links": [], "source": "x"}}, "1 to 3 joints"),
    ],
)
def test_a_torso_that_cannot_be_commanded_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(CardError, match=told):
        parsed(**changes)


def test_a_torso_is_a_chain_with_names_of_its_own() -> None:
    links = GR1.model_dump(mode="json", exclude_none=True)["torso"]["links"]
    with pytest.raises(CardError, match="parent 'base' must be 'torso_waist_yaw'"):
        parsed(torso={"links": [links[0], links[1] | {"parent": "base"}], "source": "x"})
    twice = [links[0], links[1] | {"joint": links[0]["joint"]}]
    with pytest.raises(CardError, match=r"must be unique; twice: \['torso_waist_yaw'\]"):
        parsed(torso={"links": twice, "source": "x"})


def test_a_wrong_number_of_waist_joints_is_named() -> None:
    with pytest.raises(ValueError, match=r"gr1 has 3 torso joints .*got 2"):
        carried(GR1, [0.0, 0.0])
    with pytest.raises(ValueError, match=r"panda has 0 torso joints .*got 1"):
        carried(load_card("panda"), [0.0])


def test_a_home_outside_its_range_and_a_camera_on_no_link_are_found(tmp_path: Path) -> None:
    torso = GR1.model_dump(mode="json", exclude_none=True)["torso"]
    torso["links"][0]["joint"]["home"] = 1.2
    cameras = [GR1.model_dump(mode="json")["cameras"][0] | {"mount": "torso:head"}]
    tree = GR1.model_dump(mode="json", exclude_none=True) | {
        "name": "mine",
        "torso": torso,
        "cameras": cameras,
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    faults = {row.name: row.detail for row in check_card(tmp_path / "mine.yaml").rows if not row.ok}
    assert "torso joint torso_waist_yaw: home 1.2 is outside" in faults["limits"]
    assert "'torso:head' must be one of" in faults["cameras"]


@pytest.mark.parametrize("name", card_names())
def test_a_card_without_a_torso_is_written_down_as_it_was(name: str) -> None:
    """Artifacts hold cards as JSON, and runs their digests."""
    card = load_card(name)
    assert ("torso" in json.loads(card.model_dump_json())) == (card.torso is not None)
