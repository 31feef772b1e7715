"""Laws of LIBERO's moving parts on a drawer and a door of boxes, with a stand-in for its environment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.libero.arm import Grip
from kinema.bench.libero.articulated import Part
from kinema.bench.libero.sliding import Disc, shoved_m
from kinema.bench.libero.solids import Boxes
from kinema.bench.libero.stowing import floor_under, way_out

SCENE = """
<mujoco><worldbody><body name="furniture" pos="0.1 0.2 0.9" euler="0 0 30">
  <body name="drawer"><joint name="slide" type="slide" axis="0 1 0" range="-0.16 0.01"/>
    <geom name="box" type="box" size="0.1 0.08 0.03"/>
    <geom name="post" type="box" size="0.01 0.01 0.01" pos="0 -0.09 0"/>
    <geom name="bar" type="box" size="0.04 0.008 0.008" pos="0 -0.108 0"/></body>
  <body name="door" pos="0 0 0.3"><joint name="hinge" type="hinge" axis="0 0 1" range="-2 0"/>
    <geom name="panel" type="box" size="0.1 0.01 0.08" pos="0.1 0 0"/>
    <geom name="knob" type="box" size="0.01 0.01 0.05" pos="0.18 -0.03 0"/></body>
</body></worldbody></mujoco>
"""


def env(**travels: float) -> Any:
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    for joint, travel in travels.items():
        data.joint(joint).qpos = travel
    mujoco.mj_forward(model, data)
    names = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    found = SimpleNamespace(**names, joint_name2id=lambda name: model.joint(name).id)
    fields = {name: getattr(data, name) for name in ("xaxis", "xanchor", "geom_xmat", "geom_xpos")}
    state = SimpleNamespace(**fields, get_joint_qpos=lambda name: float(data.joint(name).qpos[0]))
    regions = {"region": SimpleNamespace(joints=["slide"])}
    furniture = SimpleNamespace(joints=["hinge"])
    domain = SimpleNamespace(object_sites_dict=regions, get_object=lambda name: furniture)
    return SimpleNamespace(sim=SimpleNamespace(model=found, data=state, raw=data), env=domain)


def fixed(scene: Any, body: str) -> Grip:
    """A grip that is fixed to a body, from that body's own pose."""
    frame = scene.sim.raw.body(body)
    axes = frame.xmat.reshape(3, 3)
    return Grip(frame.xpos + axes @ [0.05, -0.1, 0.02], axes[:, 0], axes[:, 1])


@pytest.mark.parametrize(("joint", "body"), [("slide", "drawer"), ("hinge", "door")])
@given(begin=st.floats(-0.15, 0.0), by=st.floats(-1.5, 0.1))
def test_a_grip_goes_with_its_part_as_the_simulator_moves_it(
    joint: str, body: str, begin: float, by: float
) -> None:
    before, after = env(**{joint: begin}), env(**{joint: begin + by})
    moved, wanted = Part(before, joint).moved(fixed(before, body), by), fixed(after, body)
    for name in ("position_m", "approach", "jaws"):
        np.testing.assert_allclose(getattr(moved, name), getattr(wanted, name), atol=1e-9)


def test_a_region_moves_with_its_own_joint_and_other_furniture_with_its_only_one() -> None:
    assert Part.of(env(), "region").joint == "slide"
    assert Part.of(env(), "door").joint == "hinge"


@pytest.mark.parametrize(("joint", "geom"), [("slide", "bar"), ("hinge", "knob")])
@pytest.mark.parametrize("travel", [0.0, -0.1])
def test_the_handle_is_what_sticks_out_most_the_way_the_part_opens(
    joint: str, geom: str, travel: float
) -> None:
    scene = env(**{joint: travel})
    corners, out = Part(scene, joint).handle()
    np.testing.assert_allclose(corners.mean(0), scene.sim.raw.geom(geom).xpos, atol=1e-9)
    opened = env(**{joint: travel - 1e-4})
    went = opened.sim.raw.geom(geom).xpos - scene.sim.raw.geom(geom).xpos
    assert went @ out > 0.9 * np.linalg.norm(went)


@given(travel=st.floats(-2.0, 0.0), to=st.floats(-2.0, 0.5))
def test_the_tool_is_sent_a_little_ahead_and_never_past_where_the_joint_is_to_be(
    travel: float, to: float
) -> None:
    part = Part(env(hinge=travel), "hinge")
    at = part.handle()[0].mean(0)
    lead = part.lead(at, to)
    assert abs(lead) <= abs(to - travel) + 1e-12
    assert lead * (to - travel) >= 0
    ahead = part.moved(Grip(at, np.zeros(3), np.zeros(3)), lead).position_m
    assert np.linalg.norm(ahead - at) < 0.06


@pytest.mark.parametrize("travel", [0.0, -1.5])
def test_the_way_out_is_that_of_the_shut_door_however_far_it_is_open(travel: float) -> None:
    shut = env()
    panel = shut.sim.raw.geom("panel")
    np.testing.assert_allclose(
        way_out(Part(env(hinge=travel), "hinge")), -panel.xmat.reshape(3, 3)[:, 1], atol=0.2
    )


def test_the_floor_is_the_highest_side_below_the_point_and_neither_the_roof_nor_what_is_beside() -> None:
    centers = np.array([[0.0, 0, 0], [0.0, 0, 0.1], [0.0, 0, 0.5], [1.0, 0, 0.2]])
    boxes = Boxes(centers, np.full((4, 3), 0.05), np.stack([np.eye(3)] * 4))
    np.testing.assert_allclose(floor_under(boxes, np.array([0.01, 0, 0.3])), [0, 0, 0.15])


def test_a_way_past_others_shoves_nothing_and_one_through_them_what_they_overlap() -> None:
    disc, other = Disc(np.zeros(2), 0.06, 0.0), Disc(np.array([0.2, 0.05]), 0.04, 0.0)
    assert shoved_m(disc, np.array([0.0, 0.4]), [other]) == 0
    np.testing.assert_allclose(shoved_m(disc, np.array([0.38, 0.0]), [other]), 0.05, atol=1e-3)
