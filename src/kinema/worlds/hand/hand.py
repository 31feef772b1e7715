"""A person's right hand as a body for the tabletop: it floats and pinches between thumb and two fingers.

A hand has no motors that we could command, so it is moved by three slides and its fingers by one drive, as
the jaws of a gripper are; it then grasps by friction like every other body, and the same experts move it.
Its tool point, the grasp frame, lies between the finger pads, `TIP_BELOW_TOOL_M` above the tips.

Sizes are those of an adult's hand: about 19 cm from wrist to finger tip, 8 cm across the palm.
"""

from __future__ import annotations

import numpy as np

from kinema.card.card import Arm, Camera, Channel, EmbodimentCard, Geom, Gripper, Hold, Joint, Link, Tool

NAME = "human_hand"
TIP_BELOW_TOOL_M = 0.012
OPEN_M = 0.078  # between the pads of an open hand
HOME_M = (0.36, 0.0, 0.20)  # of the grasp frame when an episode begins
SKINS = (
    *((0.96, 0.80, 0.69), (0.87, 0.67, 0.54), (0.78, 0.57, 0.44)),
    *((0.55, 0.36, 0.26), (0.36, 0.22, 0.16)),
)
SLEEVES = ((0.20, 0.25, 0.45), (0.45, 0.45, 0.47), (0.75, 0.73, 0.70), (0.16, 0.16, 0.17), (0.35, 0.22, 0.2))

_SOURCE = "Made up after an adult's hand; nothing here is a maker's number"
_DOWN = (0.0, 1.0, 0.0, 0.0)  # tool x forward, tool z down
_SLIDES = (("x", (1.0, 0.0, 0.0)), ("y", (0.0, 1.0, 0.0)), ("z", (0.0, 0.0, 1.0)))
_REACH_M = ((-0.1, 1.0), (-0.6, 0.6), (0.0, 0.7))
_SPEED_M_S, _EFFORT_N = 1.2, 60.0
_FOREARM_TILT_RAD = 0.9  # from the vertical, back towards the person


def hand_card(cameras: tuple[Camera, ...]) -> EmbodimentCard:
    """The hand as a body with these cameras. It acts by positions of its grasp frame [m] and its opening."""
    channels = tuple(
        Channel(name=name, slot=f"right.joint.{i}", unit="m", range=_REACH_M[i])
        for i, (name, _) in enumerate(_SLIDES)
    )
    gripper = Channel(name="gripper", slot="right.gripper", unit="fraction", range=(0.0, 1.0))
    return EmbodimentCard(
        version=1,
        name=NAME,
        robot_tag="human hand",
        control_hz=10,
        control="joint_position",
        arms=(_hand(),),
        cameras=cameras,
        actions=(*channels, gripper),
        states=(*channels, gripper),
        workspace_m=_REACH_M,
        hold=Hold(action="position", stop_after_s=0.5, source=_SOURCE),
        source=_SOURCE,
    )


def _hand() -> Arm:
    links, parent = [], "base"
    for i, (name, axis) in enumerate(_SLIDES):
        joint = Joint(
            name=name,
            type="slide",
            axis=axis,
            range=_REACH_M[i],
            velocity=_SPEED_M_S,
            effort=_EFFORT_N,
            home=HOME_M[i],
        )
        links.append(Link(name=f"carriage_{name}", parent=parent, pos_m=(0, 0, 0), joint=joint, mass_kg=0.2))
        parent = f"carriage_{name}"
    palm = Link(
        name="palm", parent=parent, pos_m=(0, 0, 0), quat_wxyz=_DOWN, mass_kg=0.3, geoms=_palm_shapes()
    )
    tilt = _FOREARM_TILT_RAD / 2
    forearm = Link(
        name="forearm",
        parent="palm",
        pos_m=(-0.014, 0.020, -0.148),
        quat_wxyz=(float(np.cos(tilt)), 0.0, float(np.sin(tilt)), 0.0),
        mass_kg=0.3,
        geoms=(
            Geom(type="capsule", size_m=(0.028, 0.09), pos_m=(0, 0, -0.08), collide=False),
            Geom(type="capsule", size_m=(0.040, 0.16), pos_m=(0, 0, -0.30), collide=False),
        ),
    )
    return Arm(
        side="right",
        links=(*links, palm, forearm, _finger("fingers", 1.0), _finger("thumb", -1.0)),
        tool=Tool(link="palm", pos_m=(0, 0, 0), home_quat_wxyz=_DOWN, source=_SOURCE),
        gripper=Gripper(
            fingers=("fingers", "thumb"),
            closed=(0.0, 0.0),
            open=(OPEN_M / 2, OPEN_M / 2),
            max_width_m=OPEN_M,
            effort=20.0,
            source=_SOURCE,
        ),
        source=_SOURCE,
    )


def _finger(name: str, side: float) -> Link:
    """Two fingers or the thumb, whose pads close towards the tool's y = 0. Flat pads inside round tips."""
    joint = Joint(
        name=name,
        type="slide",
        axis=(0.0, side, 0.0),
        range=(0.0, OPEN_M / 2),
        velocity=0.06,  # as unhurried as the slowest gripper, so that every robot's can follow
        effort=20.0,
        home=OPEN_M / 2,
    )
    columns = (0.009, -0.009) if side > 0 else (0.0,)
    radius = 0.009 if side > 0 else 0.011
    bend = -0.2 * side
    shapes = [
        Geom(
            type="box",
            size_m=(0.013, 0.007, 0.012),
            pos_m=(0.0, 0.0071 * side, -0.0002),
        )
    ]
    for x in columns:
        tip = Geom(
            type="capsule",
            size_m=(radius, 0.016),
            pos_m=(x, radius * side, TIP_BELOW_TOOL_M - radius - 0.0161),
            collide=False,
        )
        back = Geom(
            type="capsule",
            size_m=(radius * 1.05, 0.024),
            pos_m=(x - 0.004, (radius + 0.005) * side, -0.056),
            quat_wxyz=(float(np.cos(bend / 2)), float(np.sin(bend / 2)), 0.0, 0.0),
            collide=False,
        )
        shapes += [tip, back]
    return Link(
        name=f"{name}_link", parent="palm", pos_m=(0, 0, 0), joint=joint, mass_kg=0.05, geoms=tuple(shapes)
    )


def _palm_shapes() -> tuple[Geom, ...]:
    """The palm stands upright over the pads; ring and little finger are curled beside it."""
    return (
        Geom(type="box", size_m=(0.040, 0.024, 0.036), pos_m=(-0.014, 0.018, -0.112), collide=False),
        Geom(type="capsule", size_m=(0.012, 0.030), pos_m=(0.012, -0.016, -0.086), collide=False),
        Geom(type="capsule", size_m=(0.009, 0.018), pos_m=(-0.034, 0.034, -0.062), collide=False),
        Geom(type="capsule", size_m=(0.008, 0.014), pos_m=(-0.050, 0.034, -0.070), collide=False),
    )
