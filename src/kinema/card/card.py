"""What a body is: frames, joints, limits, cameras, channels and its hold rule, all in SI units.

A card is data with provenance. Every section that holds numbers has a `source` saying where they
come from. Behaviour (kinematics, prompts, normalisation, simulation, guard limits) is derived from
the card, so adding a robot means adding one YAML file.

Conventions: metres, radians, seconds, kilograms; quaternions are (w, x, y, z); a frame's pose is
given in its parent; openings run from 0 (closed) to 1 (open); x forward, y left, z up.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from kinema.card.drawing import MOST_MESHES, Mesh, MeshFolder
from kinema.card.values import Axis, Inertia, QuatWxyz, Range, Side, Strict, Vec3

ACCELERATION_TIME_S = 0.3  # to full speed, for a joint whose card gives no acceleration

_SIZES = {"box": 3, "capsule": 2, "cylinder": 2, "sphere": 1}


class Geom(Strict):
    """A simple visual and collision primitive fixed to a link (sizes as MuJoCo's half sizes, metres)."""

    type: Literal["box", "capsule", "cylinder", "sphere"]
    size_m: tuple[float, ...]
    pos_m: Vec3 = (0.0, 0.0, 0.0)
    quat_wxyz: QuatWxyz = (1.0, 0.0, 0.0, 0.0)
    rgb: Vec3 = (0.8, 0.8, 0.82)
    collide: bool = True

    @model_validator(mode="after")
    def _size_fits_the_type(self) -> Self:
        if len(self.size_m) != _SIZES[self.type] or min(self.size_m) <= 0:
            raise ValueError(
                f"size_m of a {self.type} is {_SIZES[self.type]} lengths above 0, got {self.size_m}"
            )
        return self


class Joint(Strict):
    """One degree of freedom between a link and its parent: rad or m, effort in N m or N.

    acceleration: what a command may ask for; None: full speed in 0.3 s
    tracking:     how far a command may be from where the joint is; None: what it covers at full speed in a
                  control period and 0.1 s of its drive's lag
    """

    name: str
    type: Literal["hinge", "slide"] = "hinge"
    axis: Axis
    range: Range
    velocity: float = Field(gt=0)  # rad/s or m/s
    effort: float = Field(gt=0)  # N m or N
    acceleration: float | None = Field(default=None, gt=0)  # rad/s² or m/s²
    tracking: float | None = Field(default=None, gt=0)  # rad or m
    home: float = 0.0

    @property
    def acceleration_limit(self) -> float:
        """What a command may ask for [rad/s² or m/s²], whether the card gives it or not."""
        return self.velocity / ACCELERATION_TIME_S if self.acceleration is None else self.acceleration


class Link(Strict):
    """A rigid body: its frame in the parent link's frame, its joint to the parent (None: fixed), its mass.

    inertia_kgm2: xx, yy, zz, xy, xz, yz about the centre of mass, in the directions of the link's axes;
        without it the simulator takes a compact body of the link's mass
    armature_kgm2: what the joint's own drive adds, seen at the joint (kg for a slide); without it the
        simulator takes 0.2 % of the effort
    meshes: what it may be drawn by in place of its geoms. No part of what a body is: not in what is dumped
    """

    name: str
    parent: str  # another link of this arm, or "base"
    pos_m: Vec3
    quat_wxyz: QuatWxyz = (1.0, 0.0, 0.0, 0.0)
    joint: Joint | None = None
    mass_kg: float = Field(gt=0)
    com_m: Vec3 = (0.0, 0.0, 0.0)
    inertia_kgm2: Inertia | None = None
    armature_kgm2: float | None = Field(default=None, ge=0)
    geoms: tuple[Geom, ...] = ()
    meshes: tuple[Mesh, ...] = Field(default=(), exclude=True)

    @model_validator(mode="after")
    def _armature_has_a_joint(self) -> Self:
        if self.armature_kgm2 is not None and self.joint is None:
            raise ValueError(f"link {self.name!r} has an armature_kgm2 but no joint that it could be of")
        return self


class Gripper(Strict):
    """A parallel-jaw (or single-jaw) gripper, driven by one value: 0 closed, 1 open.

    Each finger is a link of the arm whose joint moves linearly from `closed` to `open`.
    """

    fingers: tuple[str, ...]  # names of the finger joints
    closed: tuple[float, ...]  # joint value of each finger when closed (m or rad)
    open: tuple[float, ...]  # joint value of each finger when open
    max_width_m: float = Field(gt=0)
    effort: float = Field(gt=0)  # N (slide) or N m (hinge)
    source: str

    @model_validator(mode="after")
    def _has_two_ends_for_each_finger(self) -> Self:
        if not len(self.fingers) == len(self.closed) == len(self.open):
            raise ValueError("fingers, closed and open must have the same length")
        return self


class Hand(Strict):
    """A hand of several values, each the set point of a drive of its own: 0 closed, 1 open.

    The values fill the arm's hand slots in this order. Their fingers are not links of the card: to the
    kinematics the hand is one rigid link, and no world plays it.
    """

    values: tuple[str, ...] = Field(min_length=1, max_length=12)
    speed: float = Field(gt=0)  # 1/s: how fast a command may change a value
    source: str


class Tool(Strict):
    """The tool centre point: z points out of the gripper, y along the closing direction.

    `home_quat_wxyz` is R_home, the tool's orientation in the robot's frame when it points straight down
    (the default is half a turn about x: tool x forward, tool z down). Rotation vectors of "ee_pose"
    actions and states are measured from it, about the robot's axes: R_robot_tool = matrix(rotvec) R_home.
    So the zero vector is the top-down grasp, and (0, 0, a) turns it by a about the vertical.
    """

    link: str
    pos_m: Vec3
    quat_wxyz: QuatWxyz = (1.0, 0.0, 0.0, 0.0)
    home_quat_wxyz: QuatWxyz = (0.0, 1.0, 0.0, 0.0)
    source: str


class Arm(Strict):
    """An arm ends in a gripper or in a hand."""

    side: Side
    base_pos_m: Vec3 = (0.0, 0.0, 0.0)  # of the arm's "base" in the robot's frame
    base_quat_wxyz: QuatWxyz = (1.0, 0.0, 0.0, 0.0)
    links: tuple[Link, ...]
    tool: Tool
    gripper: Gripper | None = None
    hand: Hand | None = None
    mesh_folder: MeshFolder | None = Field(default=None, exclude=True)
    source: str

    @property
    def fingers(self) -> tuple[str, ...]:
        """The names of the gripper's finger joints."""
        return self.gripper.fingers if self.gripper else ()

    @property
    def joints(self) -> tuple[Joint, ...]:
        """The arm's own joints in kinematic order, fingers excluded."""
        fingers = set(self.fingers)
        return tuple(link.joint for link in self.links if link.joint and link.joint.name not in fingers)

    @model_validator(mode="after")
    def _ends_in_one(self) -> Self:
        if (self.gripper is None) == (self.hand is None):
            raise ValueError(f"the {self.side} arm ends in a gripper or in a hand; give one of the two")
        return self

    @model_validator(mode="after")
    def _meshes_have_a_folder(self) -> Self:
        count = sum(len(link.meshes) for link in self.links)
        if count > MOST_MESHES:
            raise ValueError(f"the {self.side} arm has {count} meshes; at most {MOST_MESHES} are drawn")
        if count and self.mesh_folder is None:
            raise ValueError(f"links of the {self.side} arm have meshes; say in mesh_folder where they lie")
        return self

    @model_validator(mode="after")
    def _tree_is_whole(self) -> Self:
        known = ["base"]
        for link in self.links:
            if link.name in known:
                raise ValueError(f"link name {link.name!r} is given twice")
            if link.parent not in known:
                raise ValueError(f"link {link.name!r}: parent {link.parent!r} must be one of {known}")
            known.append(link.name)
        joints = [link.joint.name for link in self.links if link.joint]
        if twice := sorted({name for name in joints if joints.count(name) > 1}):
            raise ValueError(f"joint names must be unique in an arm; twice: {twice}")
        missing = [f for f in self.fingers if f not in joints]
        if missing:
            raise ValueError(f"gripper fingers {missing} are not joints of this arm; joints: {joints}")
        if self.tool.link not in known:
            raise ValueError(f"tool link {self.tool.link!r} must be one of {known}")
        return self


class Torso(Strict):
    """Joints below the arms: link after link from "base", the robot's frame; the last carries the arms.

    The arms' own bases are given in the robot's frame with these joints at home.
    """

    links: tuple[Link, ...]
    source: str

    @property
    def joints(self) -> tuple[Joint, ...]:
        """From the robot's frame upwards."""
        return tuple(link.joint for link in self.links if link.joint)

    @model_validator(mode="after")
    def _is_a_chain(self) -> Self:
        before = "base"
        for link in self.links:
            if link.parent != before:
                raise ValueError(f"torso link {link.name!r}: parent {link.parent!r} must be {before!r}")
            before = link.name
        for names in ([link.name for link in self.links], [joint.name for joint in self.joints]):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"the names of a torso's links and joints must be unique; twice: {twice}")
        if not 1 <= len(self.joints) <= 3:
            raise ValueError(f"a torso has 1 to 3 joints, the slots of a waist; got {len(self.joints)}")
        return self


class Camera(Strict):
    """A camera: looks along its -z axis, +y up in the image (MuJoCo's and OpenGL's convention)."""

    name: str
    tag: Literal["ego", "cam_left_wrist", "cam_right_wrist"]  # the tag that wraps the image in the prompt
    # "world", "left:<link>" / "right:<link>" / "torso:<link>", or "base" of a body that drives
    mount: str = "world"
    pos_m: Vec3
    quat_wxyz: QuatWxyz
    fovy_rad: float = Field(gt=0.05, lt=3.0)
    # how old its picture is: a camera of the past shows what the one at its place saw then
    ago_s: float = Field(default=0.0, ge=0, exclude_if=lambda ago_s: ago_s == 0)


class Channel(Strict):
    """One number of the native action or state vector, and the slot of the unified space it fills.

    `reference` says what the native value means inside a chunk:
    - "absolute": the value itself is encoded;
    - "first_frame": the native value is an absolute pose coordinate; it is encoded as the difference
      from the body's pose when the chunk begins (position channels subtract; rotation channels, which
      come in threes as an axis-angle vector, compose R_0^T R_t).

    `step` is of a displacement in normalised units, which are the simulator's own: how far 1 moves the
    target, m or rad.

    `open` is of a gripper's or a hand's channel: the end of the range at which it is open; None: the upper.
    Whichever it is, the slot of the unified space is larger the further it opens.
    """

    name: str
    slot: str
    unit: Literal["m", "rad", "m/s", "rad/s", "fraction", "normalised"]
    range: Range
    reference: Literal["absolute", "first_frame"] = "absolute"
    step: float | None = Field(default=None, gt=0)
    open: float | None = Field(default=None, exclude_if=lambda end: end is None)

    @property
    def closed_and_open(self) -> tuple[float, float]:
        """The native values at which a gripper is closed and open."""
        low, high = self.range
        return (high, low) if self.open == low else (low, high)

    def opening(self, value: np.ndarray) -> np.ndarray:
        """From 0 closed to 1 open, of a gripper's native values."""
        closed, opened = self.closed_and_open
        return np.clip((value - closed) / (opened - closed), 0.0, 1.0)

    @model_validator(mode="after")
    def _opens_at_an_end(self) -> Self:
        if self.open is None:
            return self
        if self.slot.split(".")[1] not in ("gripper", "hand"):
            raise ValueError(f"open belongs to a gripper or a hand, {self.name!r} is {self.slot!r}")
        if self.open not in self.range:
            raise ValueError(f"open is an end of the range {list(self.range)}, got {self.open:g}")
        return self


class Hold(Strict):
    """What doing nothing means for this body: repeat the last position, and stop for good after a while.

    stop_after_s:   how long it may go without a fresh action, or without being seen
    torque_on_exit: whether the motors stay on when the program ends; an arm without torque falls
    """

    action: Literal["position", "zero"]  # keep the measured pose; or zeros, while openings stay
    stop_after_s: float = Field(gt=0)
    torque_on_exit: Literal["hold", "off"] = "hold"
    source: str


class MotionLimits(Strict):
    """What bounds every command beside the ranges and the joints' own numbers.

    limits_braking: whether the joints' acceleration binds a body that brakes too; where it does not, a body
                    that holds stands still at once
    late_s:         how long after its time an action may still be sent
    answer_limit_s: the oldest observation that an answer may be about when it comes
    frozen_after_s: how long a camera may deliver the same picture of a body that moves
    """

    limits_braking: bool = True
    late_s: float = Field(default=0.0, ge=0)
    answer_limit_s: float = Field(default=2.0, gt=0)
    frozen_after_s: float = Field(default=1.0, gt=0)
    source: str


class Tabletop(Strict):
    """Where things lie in the tabletop world, and what its expert is known to solve with this body there.

    center_m, half_m: a rectangle in the robot's frame; default: the middle of the workspace
    families: those that the expert solves in 95 % of episodes (`python -m kinema.worlds.tabletop.check`);
        default: everything that one arm can do
    """

    center_m: tuple[float, float] | None = None
    half_m: tuple[float, float] | None = None
    families: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _area_is_whole(self) -> Self:
        if (self.center_m is None) != (self.half_m is None):
            raise ValueError("center_m and half_m are given together, or neither")
        if self.half_m is not None and min(self.half_m) <= 0:
            raise ValueError(f"half_m must be above 0, got {self.half_m}")
        return self


class EmbodimentCard(Strict):
    """One body. See `kinema.card.load` for reading one and `docs/your-robot.md` for writing one."""

    version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    robot_tag: str  # the body's name in the prompt
    waist: bool = False
    mobile_base: bool = False
    control_hz: float = Field(gt=0)
    chunk: int = Field(default=16, gt=0)
    control: Literal[
        "ee_pose", "ee_delta", "joint_position", "metaworld", "drive", "waypoints", "hand", "wrist"
    ]
    torso: Torso | None = Field(default=None, exclude_if=lambda torso: torso is None)
    arms: tuple[Arm, ...] = Field(max_length=2)
    cameras: tuple[Camera, ...]
    actions: tuple[Channel, ...]
    states: tuple[Channel, ...]
    workspace_m: tuple[Range, Range, Range]  # x, y, z box in the robot's frame for the tool centre points
    tabletop: Tabletop = Tabletop()
    hold: Hold
    motion: MotionLimits = MotionLimits(source="the defaults of kinema.card.card.MotionLimits")
    source: str

    @property
    def camera_names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)

    @property
    def present(self) -> tuple[Camera, ...]:
        """The cameras that show what is so now."""
        return tuple(camera for camera in self.cameras if not camera.ago_s)

    def present_of(self, camera: Camera) -> Camera | None:
        """Which of them stands where this one does."""
        at = camera.pos_m, camera.quat_wxyz, camera.fovy_rad, camera.mount
        same = (c for c in self.present if (c.pos_m, c.quat_wxyz, c.fovy_rad, c.mount) == at)
        return next(same, None)

    def keeps(self, channel: Channel) -> bool:
        """Whether this action stays as it is when the body does nothing; zero is sent otherwise."""
        return self.hold.action == "position" or channel.unit == "fraction"

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("arm side", [str(arm.side) for arm in self.arms]),
            ("camera", [camera.name for camera in self.cameras]),
            ("action channel", [channel.name for channel in self.actions]),
            ("state channel", [channel.name for channel in self.states]),
            ("action slot", [channel.slot for channel in self.actions]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} names must be unique; twice: {twice}")
        if not self.arms and not self.mobile_base and self.control not in ("hand", "wrist"):
            raise ValueError("a body has at least one arm, or a mobile base")
        if len(self.arms) == 1 and self.arms[0].side != "right":
            raise ValueError("a single arm uses the right block of the unified space; set side: right")
        return self

    @model_validator(mode="after")
    def _a_torso_moves_by_joints(self) -> Self:
        if self.torso is not None and not (self.waist and self.control == "joint_position"):
            raise ValueError(
                "a torso's joints are commanded as joints: it needs waist: true and joint_position"
            )
        return self
