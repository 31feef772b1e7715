"""What `kinema robots check` adds to the card's own checks: build the body, try its codec, name its slots."""

from __future__ import annotations

import numpy as np

from kinema.card.card import Arm, Channel, EmbodimentCard, Joint
from kinema.card.check import CardCheck
from kinema.schema import KinemaError
from kinema.space.layout import NUM_SLOTS

_TOLERANCE = 1e-5  # the unified action is float32
_DRAWS = 200
_REACH_M = 0.01
_BLOCK_M = 0.05  # the largest block of the table; a single jaw is given smaller ones


def compile_body(card: EmbodimentCard) -> str:
    """Compile the card's links, joints and geoms with MuJoCo. Returns what came out; raises ValueError."""
    from kinema.worlds.body.robots import add_robot, new_spec

    if not card.arms:
        return "no arm to build"
    spec = new_spec()
    add_robot(spec, card)
    model = spec.compile()
    return (
        f"{model.nbody - 1} links, {model.njnt} joints, {model.nu} actuators, {model.body_mass.sum():.2f} kg"
    )


def draw_body(card: EmbodimentCard) -> str:
    """Read the meshes that the card names, where their package is installed. Raises ValueError."""
    from kinema.worlds.body.meshes import draw_links
    from kinema.worlds.body.robots import add_robot, new_spec

    packages = sorted({arm.mesh_folder.package for arm in card.arms if arm.mesh_folder})
    if not packages:
        return "by its primitives; the card names no meshes"
    spec = new_spec()
    add_robot(spec, card)
    try:
        draw_links(spec, card)
    except KinemaError as error:
        raise ValueError(str(error)) from None
    told = ", ".join(packages)
    if not spec.meshes:
        return f"by its primitives; {told} is not installed"
    model = spec.compile()
    return f"{model.nmesh} meshes of {told} in films, {model.mesh_facenum.sum()} triangles"


def stand_at_the_table(card: EmbodimentCard) -> str:
    """What the tabletop world can play with this body, and at which rate. Raises ValueError."""
    from kinema.card.kinematics import gripper_of, home_rotation
    from kinema.worlds.body.control import Kinematics
    from kinema.worlds.body.robots import GRIP_LIMIT_N, timestep_s
    from kinema.worlds.tabletop.env import FAMILIES, families_for
    from kinema.worlds.tabletop.scene import work_area

    families = families_for(card)
    if not families:
        why = "hands" if any(arm.hand for arm in card.arms) else f"control {card.control!r}"
        why = "a torso" if card.torso else why
        return f"not a body for the table ({why})"
    if unknown := [family for family in families if family not in FAMILIES]:
        raise ValueError(f"tabletop.families {unknown} are unknown; choices: {', '.join(FAMILIES)}")
    try:
        step_s = timestep_s(card.control_hz)
    except KinemaError as error:
        raise ValueError(str(error)) from None
    kinematics, area = Kinematics(card), work_area(card)
    handle = kinematics.robot.arm("right")
    for u, v in ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)):
        place = np.array([*area.at(u, v), 0.06])
        joints = kinematics.solve("right", place, home_rotation(handle.arm), handle.home, iterations=200)
        miss_m = float(np.linalg.norm(kinematics.tool_pose("right", joints)[0] - place))
        if miss_m > _REACH_M:
            raise ValueError(
                f"the work area's {np.round(place, 3).tolist()} m is out of reach by {miss_m:.3f} m; mend "
                "workspace_m, or state tabletop.center_m and half_m"
            )
    gripper = gripper_of(handle.arm)
    told = f"{', '.join(families)}; {1 / (card.control_hz * step_s):.0f} steps of physics a period"
    if gripper.max_width_m < _BLOCK_M:
        block, jaws = (f"{1e3 * width_m:.0f} mm" for width_m in (_BLOCK_M, gripper.max_width_m))
        told += f"; blocks of {block} do not fit between jaws of {jaws}"
    if gripper.effort > GRIP_LIMIT_N and all(joint.type == "slide" for joint in _fingers(handle.arm)):
        told += f"; the simulator grips with {GRIP_LIMIT_N:g} of {gripper.effort:g} N"
    return told


def _fingers(arm: Arm) -> list[Joint]:
    return [link.joint for link in arm.links if link.joint and link.joint.name in arm.fingers]


def round_trip(card: EmbodimentCard, seed: int = 0) -> str:
    """Encode and decode random chunks inside the card's limits. Raises ValueError naming the wrong ones."""
    from kinema.space.codec import Codec
    from kinema.space.stats import ChannelStats

    rng = np.random.default_rng(seed)
    actions = ChannelStats(
        names=tuple(c.name for c in card.actions),
        q01=np.array([-_width(c) if c.reference == "first_frame" else c.range[0] for c in card.actions]),
        q99=np.array([_width(c) if c.reference == "first_frame" else c.range[1] for c in card.actions]),
    )
    states = ChannelStats(
        names=tuple(c.name for c in card.states),
        q01=np.array([c.range[0] for c in card.states]),
        q99=np.array([c.range[1] for c in card.states]),
    )
    codec = Codec(card, actions, states)
    worst = np.zeros(len(card.actions))
    for _ in range(_DRAWS):
        state = _draw(rng, card.states, 1)[0]
        chunk = _draw(rng, card.actions, card.chunk)
        back = codec.decode(codec.encode(chunk, state), state)
        worst = np.maximum(worst, np.abs(back - chunk).max(axis=0))
    wrong = [c.name for c, error in zip(card.actions, worst) if error > _TOLERANCE * max(1.0, _width(c))]
    if wrong:
        raise ValueError(f"card {card.name!r}: actions {wrong} do not survive encode and decode")
    return f"{_DRAWS} random chunks there and back, worst error {worst.max():.1e}"


def fill_slots(card: EmbodimentCard) -> str:
    """Which slots of the unified space this body's actions fill."""
    return f"{len(card.actions)} of {NUM_SLOTS}: {', '.join(channel.slot for channel in card.actions)}"


def _width(channel: Channel) -> float:
    return channel.range[1] - channel.range[0]


def _draw(rng: np.random.Generator, channels: tuple[Channel, ...], steps: int) -> np.ndarray:
    """Values (steps, C) inside the ranges; rotation vectors stay under a radian, where they are unique."""
    low = np.array([max(c.range[0], -0.5) if ".rot." in c.slot else c.range[0] for c in channels])
    high = np.array([min(c.range[1], 0.5) if ".rot." in c.slot else c.range[1] for c in channels])
    return rng.uniform(low, high, (steps, len(channels)))


MORE_CHECKS: tuple[CardCheck, ...] = (
    ("body", compile_body),
    ("drawing", draw_body),
    ("tabletop", stand_at_the_table),
    ("codec", round_trip),
    ("slots", fill_slots),
)
