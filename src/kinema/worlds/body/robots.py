"""A card's arms as MuJoCo bodies, joints and position actuators, and the handles to read and drive them.

Names in the model are `<side>/<link>`, `<side>/<joint>`, `<side>/tool`; the robot's frame is the world's.
A torso's are `torso/<link>` and `torso/<joint>`; no drive of ours moves it, so no world plays such a body.

Choices that the cards leave open, with their reasons:
- gravity compensation is on for robot links: the makers' controllers do the same, so a position target
  is reached without a steady error;
- every geom that the card calls solid meets the table, things and the other arm, but not its own arm;
- where a card gives no inertia the link is a compact body of its mass, and where it gives none of the drive
  (armature) that is 0.2 % of the effort limit [kg m²], within the spread of makers' figures;
- a gripper holds with GRIP_LIMIT_N at most, whatever its maker allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.card.card import Arm, EmbodimentCard, Geom, Link, Torso
from kinema.card.kinematics import bases_on_torso, finger_positions
from kinema.schema import KinemaError

GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}

# Collision groups: a pair collides when one's `contype` meets the other's `conaffinity`.
ROBOT_GROUP, OBJECT_GROUP, SECOND_ARM_GROUP = 1, 2, 4
ARMS_COLLIDE = (
    {"contype": ROBOT_GROUP, "conaffinity": SECOND_ARM_GROUP},
    {"contype": ROBOT_GROUP | SECOND_ARM_GROUP, "conaffinity": 0},
)
TORSO_COLLIDES = {"contype": ROBOT_GROUP, "conaffinity": 0}  # as the first arm, but with no arm
OBJECT_COLLIDES = {"contype": OBJECT_GROUP, "conaffinity": ROBOT_GROUP | OBJECT_GROUP}
FIXED_COLLIDES = {"contype": 0, "conaffinity": ROBOT_GROUP | OBJECT_GROUP}
NEVER_COLLIDES = {"contype": 0, "conaffinity": 0}

TIMESTEP_S = 0.004  # at most, see `timestep_s`
CONTROL_HZ = (5.0, 100.0)  # the control rates that the worlds can play
ARMATURE_PER_EFFORT = 0.002
BANDWIDTH_RAD_S = 40.0  # of the joint position loops: 6 Hz, what industrial arms reach
FINGER_ARMATURE_KG = 0.15
GRIP_LIMIT_N = 20.0  # grippers hold gently: full force on 60 g at 250 Hz would squirt the block out
FINGER_FULL_FORCE_AT = 0.12  # share of the finger's travel at which the position error asks for full force


def new_spec() -> mujoco.MjSpec:
    """An empty specification in radians with the solver settings of all our worlds."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0  # stiff friction: a held block must not creep out of the fingers
    return spec


def timestep_s(control_hz: float) -> float:
    """The longest step of physics, of 4 ms at most, of which a control period is a whole number.

    Raises KinemaError for a rate that the worlds cannot play.
    """
    low, high = CONTROL_HZ
    if not low <= control_hz <= high:
        raise KinemaError(
            f"control_hz {control_hz:g} is not within {low:g} ... {high:g}, which the worlds can play"
        )
    period_s = 1.0 / control_hz
    return period_s / math.ceil(period_s / TIMESTEP_S - 1e-9)


def add_robot(spec: mujoco.MjSpec, card: EmbodimentCard) -> None:
    """Add the torso and every arm of the card, the arms' actuators and the cameras on their links."""
    carrier, bases = spec.worldbody, [(arm.base_pos_m, arm.base_quat_wxyz) for arm in card.arms]
    if card.torso is not None:
        carrier, bases = _add_torso(spec, card.torso), bases_on_torso(card.torso, card.arms)
    for arm, base, collides in zip(card.arms, bases, ARMS_COLLIDE):
        pos_m, quat_wxyz = base
        stand = carrier.add_body(name=f"{arm.side}/base", pos=pos_m, quat=quat_wxyz, gravcomp=1)
        _add_arm(spec, arm, stand, collides)
    for camera in card.cameras:
        parent = spec.worldbody if camera.mount == "world" else spec.body(camera.mount.replace(":", "/"))
        parent.add_camera(
            name=camera.name,
            pos=camera.pos_m,
            quat=camera.quat_wxyz,
            fovy=float(np.degrees(camera.fovy_rad)),  # MuJoCo keeps this one angle in degrees
        )


def _add_torso(spec: mujoco.MjSpec, torso: Torso) -> mujoco.MjsBody:
    """Its last link."""
    body = spec.worldbody
    for link in torso.links:
        body = _add_link(body, "torso", link, _armature(link))
        for geom in link.geoms:
            _add_geom(body, geom, TORSO_COLLIDES if geom.collide else NEVER_COLLIDES, finger=False)
    return body


def _add_arm(spec: mujoco.MjSpec, arm: Arm, base: mujoco.MjsBody, collides: dict[str, int]) -> None:
    bodies = {"base": base}
    for link in arm.links:
        finger = _is_finger(arm, link.name)
        armature = _finger_armature(arm) if finger else _armature(link)
        body = bodies[link.name] = _add_link(bodies[link.parent], arm.side, link, armature)
        if link.joint is not None:
            _add_actuator(spec, f"{arm.side}/{link.joint.name}")
        for geom in link.geoms:
            _add_geom(body, geom, collides if geom.collide else NEVER_COLLIDES, finger=finger)
    tool = arm.tool
    bodies[tool.link].add_site(
        name=f"{arm.side}/tool", pos=tool.pos_m, quat=tool.quat_wxyz, group=4, size=[0.005] * 3
    )
    _couple_fingers(spec, arm)


def _add_link(parent: mujoco.MjsBody, part: str, link: Link, armature: float) -> mujoco.MjsBody:
    """A link's body with its joint."""
    body = parent.add_body(name=f"{part}/{link.name}", pos=link.pos_m, quat=link.quat_wxyz, gravcomp=1)
    body.explicitinertial = True
    body.mass = link.mass_kg
    body.ipos = link.com_m
    if link.inertia_kgm2 is not None:
        body.fullinertia = link.inertia_kgm2
    else:
        radius_m = 0.02 + 0.02 * link.mass_kg ** (1 / 3)
        body.inertia = [0.4 * link.mass_kg * radius_m**2] * 3
    if link.joint is not None:
        hinge = link.joint.type == "hinge"
        body.add_joint(
            name=f"{part}/{link.joint.name}",
            type=mujoco.mjtJoint.mjJNT_HINGE if hinge else mujoco.mjtJoint.mjJNT_SLIDE,
            axis=link.joint.axis,
            range=link.joint.range,
            limited=True,
            armature=armature,
        )
    return body


def _armature(link: Link) -> float:
    """Of an arm's joint: kg m² for a hinge, kg for a slide."""
    if link.armature_kgm2 is not None:
        return link.armature_kgm2
    return ARMATURE_PER_EFFORT * link.joint.effort if link.joint else 0.0


def _finger_armature(arm: Arm) -> float:
    """Reflected inertia of the gripper drive: kg for sliding fingers, kg m² for hinged jaws."""
    types = {link.joint.type for link in arm.links if link.joint and link.joint.name in arm.fingers}
    return FINGER_ARMATURE_KG if types == {"slide"} else 0.005


def _is_finger(arm: Arm, link_name: str) -> bool:
    return any(
        link.name == link_name and link.joint is not None and link.joint.name in arm.fingers
        for link in arm.links
    )


def _hand_links(arm: Arm) -> set[str]:
    """The last moving link of the arm and everything after it."""
    last = max(i for i, link in enumerate(arm.links) if link.joint and link.joint.name not in arm.fingers)
    names = {arm.links[last].name}
    for link in arm.links[last + 1 :]:
        if link.parent in names:
            names.add(link.name)
    return names


def _add_geom(body: mujoco.MjsBody, geom: Geom, collides: dict[str, int], *, finger: bool) -> None:
    size = [*geom.size_m, 0.0, 0.0][:3]
    body.add_geom(
        type=GEOM_TYPES[geom.type],
        size=size,
        pos=geom.pos_m,
        quat=geom.quat_wxyz,
        rgba=[*geom.rgb, 1.0],
        friction=[1.6, 0.02, 0.0001] if finger else [0.6, 0.005, 0.0001],
        condim=4 if finger else 3,
        solref=[0.008, 1.0],
        **collides,
    )


def _add_actuator(spec: mujoco.MjSpec, joint: str) -> None:
    """A position servo; its gains are set by `Robot` once the model's inertia is known."""
    spec.add_actuator(
        name=joint,
        target=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        forcelimited=True,
        forcerange=[-1.0, 1.0],
    )


def _couple_fingers(spec: mujoco.MjSpec, arm: Arm) -> None:
    """Parallel grippers move their fingers by one drive, so a held object stays centred."""
    if (gripper := arm.gripper) is None:
        return
    for name, closed, opened in list(zip(gripper.fingers, gripper.closed, gripper.open))[1:]:
        ratio = (opened - closed) / (gripper.open[0] - gripper.closed[0])
        spec.add_equality(
            type=mujoco.mjtEq.mjEQ_JOINT,
            objtype=mujoco.mjtObj.mjOBJ_JOINT,
            name1=f"{arm.side}/{name}",
            name2=f"{arm.side}/{gripper.fingers[0]}",
            data=[closed - ratio * gripper.closed[0], ratio, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            solref=[0.008, 1.0],
        )


@dataclass(frozen=True, kw_only=True)
class ArmHandle:
    """Addresses of one arm in a compiled model. N arm joints, F fingers."""

    arm: Arm
    qpos: np.ndarray  # (N,)
    dof: np.ndarray  # (N,)
    actuator: np.ndarray  # (N,)
    finger_qpos: np.ndarray  # (F,)
    finger_actuator: np.ndarray  # (F,)
    finger_bodies: frozenset[int]
    gripper_bodies: frozenset[int]
    tool_site: int
    lower: np.ndarray  # (N,) rad
    upper: np.ndarray
    velocity: np.ndarray  # (N,) rad/s
    home: np.ndarray  # (N,) rad
    finger_velocity: np.ndarray  # (F,) m/s or rad/s
    finger_windup: np.ndarray  # (F,) how far a blocked finger's target may run ahead

    @property
    def side(self) -> str:
        return self.arm.side


class Robot:
    """The card's arms in one compiled model: gains, home pose, and readings."""

    def __init__(self, card: EmbodimentCard, model: mujoco.MjModel) -> None:
        self.card = card
        self.model = model
        self.arms = tuple(_handle(model, arm) for arm in card.arms)
        self._set_gains()

    def arm(self, side: str) -> ArmHandle:
        return next(handle for handle in self.arms if handle.side == side)

    def set_home(self, data: mujoco.MjData) -> None:
        """Joints at the card's home, grippers open, servo targets there too."""
        self.set_torso_home(data)
        for handle in self.arms:
            self.set_joints(data, handle, handle.home, gripper=1.0)

    def set_torso_home(self, data: mujoco.MjData) -> None:
        """The torso's joints at home, where there are any."""
        for joint in self.card.torso.joints if self.card.torso else ():
            data.joint(f"torso/{joint.name}").qpos[0] = joint.home

    def set_joints(self, data: mujoco.MjData, handle: ArmHandle, joints: np.ndarray, gripper: float) -> None:
        fingers = finger_targets(handle.arm, gripper)
        data.qpos[handle.qpos] = joints
        data.qpos[handle.finger_qpos] = fingers
        data.ctrl[handle.actuator] = joints
        data.ctrl[handle.finger_actuator] = fingers

    def gripper_fraction(self, data: mujoco.MjData, handle: ArmHandle) -> float:
        """Measured opening, 0 closed to 1 open."""
        closed, opened = finger_targets(handle.arm, 0.0), finger_targets(handle.arm, 1.0)
        fraction = np.mean((data.qpos[handle.finger_qpos] - closed) / (opened - closed))
        return float(np.clip(fraction, 0.0, 1.0))

    def _set_gains(self) -> None:
        model = self.model
        data = mujoco.MjData(model)
        self.set_home(data)
        mujoco.mj_forward(model, data)
        mass_matrix = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, mass_matrix, data.qM)
        for handle in self.arms:
            efforts = [joint.effort for joint in handle.arm.joints]
            for dof, actuator, effort in zip(handle.dof, handle.actuator, efforts):
                # The row's sum: light wrist joints must also withstand the inertia of the joints before them.
                inertia = np.abs(mass_matrix[dof, handle.dof]).sum()
                self._set_gain(actuator, inertia * BANDWIDTH_RAD_S**2, 2 * inertia * BANDWIDTH_RAD_S, effort)
            if (gripper := handle.arm.gripper) is None:
                continue
            for actuator, qpos, closed, opened in zip(
                handle.finger_actuator, handle.finger_qpos, gripper.closed, gripper.open
            ):
                effort = min(gripper.effort, GRIP_LIMIT_N)
                stiffness = effort / (FINGER_FULL_FORCE_AT * abs(opened - closed))
                dof = model.jnt_dofadr[np.flatnonzero(model.jnt_qposadr == qpos)[0]]
                damping = 2 * np.sqrt(stiffness * mass_matrix[dof, dof])
                self._set_gain(actuator, stiffness, damping, effort)

    def _set_gain(self, actuator: int, stiffness: float, damping: float, effort: float) -> None:
        self.model.actuator_gainprm[actuator, 0] = stiffness
        self.model.actuator_biasprm[actuator, :3] = [0.0, -stiffness, -damping]
        self.model.actuator_forcerange[actuator] = [-effort, effort]


def finger_targets(arm: Arm, fraction: float) -> np.ndarray:
    """Finger joint values (F,) for an opening fraction; none without a gripper."""
    return np.zeros(0) if arm.gripper is None else finger_positions(arm.gripper, fraction)


def _handle(model: mujoco.MjModel, arm: Arm) -> ArmHandle:
    side = arm.side
    joints = [model.joint(f"{side}/{joint.name}") for joint in arm.joints]
    fingers = [model.joint(f"{side}/{name}") for name in arm.fingers]
    bodies = {link.name: model.body(f"{side}/{link.name}").id for link in arm.links}
    finger_bodies = frozenset(
        bodies[link.name] for link in arm.links if link.joint and link.joint.name in arm.fingers
    )
    speeds = {link.joint.name: link.joint.velocity for link in arm.links if link.joint}
    return ArmHandle(
        arm=arm,
        qpos=np.array([j.qposadr[0] for j in joints]),
        dof=np.array([j.dofadr[0] for j in joints]),
        actuator=np.array([model.actuator(f"{side}/{j.name}").id for j in arm.joints]),
        finger_qpos=np.array([j.qposadr[0] for j in fingers], int),
        finger_actuator=np.array([model.actuator(f"{side}/{name}").id for name in arm.fingers], int),
        finger_bodies=finger_bodies,
        gripper_bodies=frozenset(bodies[name] for name in _hand_links(arm)),
        tool_site=model.site(f"{side}/tool").id,
        lower=np.array([j.range[0] for j in arm.joints]),
        upper=np.array([j.range[1] for j in arm.joints]),
        velocity=np.array([j.velocity for j in arm.joints]),
        home=np.array([j.home for j in arm.joints]),
        finger_velocity=np.array([speeds[name] for name in arm.fingers]),
        finger_windup=FINGER_FULL_FORCE_AT * np.abs(finger_targets(arm, 1.0) - finger_targets(arm, 0.0)),
    )
