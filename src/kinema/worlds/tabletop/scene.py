"""The table, the wall and the light; where a card's work area lies; and one compiled scene with readings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import gripper_of, home_joints, home_rotation, tool_pose
from kinema.worlds import wide
from kinema.worlds.body.control import Controller
from kinema.worlds.body.robots import (
    FIXED_COLLIDES,
    NEVER_COLLIDES,
    ArmHandle,
    Robot,
    add_robot,
    new_spec,
    timestep_s,
)
from kinema.worlds.tabletop.props import Block
from kinema.worlds.variation import Backdrop
from kinema.worlds.words.reference import Sight

_LAMP_M = 0.9  # from the work area: before the wall, whose shadow would cover everything


@dataclass(frozen=True, kw_only=True)
class WorkArea:
    """The rectangle on the table where things lie, in the robot's frame [m]. The table top is z = 0.

    u runs away from the arm that works there, v to its left; `yaw_rad` is the direction of u.
    """

    center: tuple[float, float]
    half: tuple[float, float]
    yaw_rad: float = 0.0

    def at(self, u: float, v: float) -> np.ndarray:
        """The point (2,) at relative coordinates, in [-1, 1] inside the area."""
        return np.array(self.center) + self.turn(u * self.half[0], v * self.half[1])

    def turn(self, along_m: float, left_m: float) -> np.ndarray:
        """A displacement (2,) given along u and v [m]."""
        cosine, sine = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        return np.array([cosine * along_m - sine * left_m, sine * along_m + cosine * left_m])


def work_area(card: EmbodimentCard) -> WorkArea:
    """The card's work area: the one it states, or the middle of its workspace, of 0.28 x 0.34 m at most.

    It runs from the right arm's base towards its tool at home.
    """
    arm = next(arm for arm in card.arms if arm.side == "right")
    forward = tool_pose(arm, home_joints(arm))[:2, 3] - np.array(arm.base_pos_m[:2])
    yaw = round(float(np.arctan2(forward[1], forward[0])) / (np.pi / 2)) * np.pi / 2  # to a quarter turn
    (x0, x1), (y0, y1), _ = card.workspace_m
    middle = ((x0 + x1) / 2, (y0 + y1) / 2), (min(0.14, 0.4 * (x1 - x0)), min(0.17, 0.4 * (y1 - y0)))
    stated = card.tabletop
    center, half = (stated.center_m, stated.half_m) if stated.center_m and stated.half_m else middle
    return WorkArea(center=center, half=half, yaw_rad=yaw)


def tabletop_spec(card: EmbodimentCard) -> mujoco.MjSpec:
    """The robot on its table, without objects. Rendering is set for speed: no shadows, no multisampling."""
    spec = new_spec()
    spec.option.timestep = timestep_s(card.control_hz)
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.map.znear = 0.005
    spec.visual.map.zfar = 20.0
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.15, 0.15, 0.15]
    spec.visual.headlight.specular = [0, 0, 0]
    spec.worldbody.add_light(
        name="lamp", directional=True, pos=[0, 0, 3], dir=[0, 0, -1], castshadow=False, specular=[0, 0, 0]
    )
    spec.add_texture(
        name="checker",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[1, 1, 1],
        rgb2=[0.75, 0.75, 0.75],
        width=64,
        height=64,
    )
    checker = spec.add_material(name="checker", texrepeat=[12, 12])
    checker.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checker"
    table = {"size": [0.9, 0.9, 0.02], "pos": [0.3, 0, -0.02], "type": mujoco.mjtGeom.mjGEOM_BOX}
    # Its own friction rules every contact with it: rubber finger tips must not lock on the table.
    slide = {"friction": [0.45, 0.005, 0.0001], "priority": 1, "condim": 4, "solref": [0.008, 1.0]}
    spec.worldbody.add_geom(name="table", **slide, **table, **FIXED_COLLIDES)
    # A second table top a hair higher carries the chequered material; it is drawn only when held out.
    table["pos"] = [0.3, 0, -0.0199]
    spec.worldbody.add_geom(name="checkered_table", material="checker", **table, **NEVER_COLLIDES)
    for name, pos, size in (
        ("wall", [-0.62, 0, 0.9], [0.02, 1.5, 1.0]),
        ("floor", [0, 0, -0.75], [3.0, 3.0, 0.02]),
    ):
        spec.worldbody.add_geom(
            name=name, pos=pos, size=size, type=mujoco.mjtGeom.mjGEOM_BOX, **NEVER_COLLIDES
        )
    add_robot(spec, card)
    return spec


class Scene:
    """One compiled tabletop: the model, its data, the robot's controller, and what experts and goals read."""

    def __init__(self, card: EmbodimentCard, spec: mujoco.MjSpec) -> None:
        self.card = card
        self.area = work_area(card)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.robot = Robot(card, self.model)
        self.controller = Controller(self.robot, self.model, self.data)
        kinematics = self.controller.kinematics
        self._tips = {
            handle.side: _measure_tips(kinematics.robot, kinematics.model, handle)
            for handle in kinematics.robot.arms
        }
        right = next(arm for arm in card.arms if arm.side == "right")
        tool_x = home_rotation(right)[:, 0]
        # Blocks lie with their y axis along the closing direction.
        self.grip_yaw_rad = float(np.arctan2(tool_x[1], tool_x[0]))
        # A jaw that swings onto a fixed one needs more room beside the block.
        self.block_scale = 1.0 if len(right.fingers) > 1 else 0.8
        # An arm of five joints cannot look straight down from high up: it stays low and comes down steeply.
        self.rise_m, self.funnel_m = (0.09, 0.05) if len(right.joints) > 5 else (0.065, 0.017)
        # What an expert moves in one control step, and which share of an error it makes good in it, against
        # what it does in 0.1 s.
        self.pace = min(1.0, 10.0 / card.control_hz)
        self._owner = {body: handle.side for handle in self.robot.arms for body in handle.gripper_bodies}

    def sight(self, name: str, point_m: np.ndarray, size_m: float) -> Sight:
        """A thing named by its kind, or by colour and kind, as words can tell it."""
        color, _, kind = name.partition(" ")
        color, kind = (color, kind) if color in wide.COLORS else ("", name)
        forward, left = self.area.turn(1.0, 0.0), self.area.turn(0.0, 1.0)
        place = float(forward @ point_m[:2]), float(left @ point_m[:2])
        return Sight(kind=kind, color=color, size_m=size_m, place_m=place)

    def dress(self, backdrop: Backdrop) -> None:
        """Colour table and wall and set the lamp."""
        model = self.model
        table = model.geom("table").id
        checkered = model.geom("checkered_table").id
        model.geom_matid[table] = model.material(f"table/{backdrop.surface}").id if backdrop.surface else -1
        for name, rgb in (
            ("table", backdrop.table_rgb),
            ("checkered_table", backdrop.table_rgb),
            ("wall", backdrop.wall_rgb),
            ("floor", backdrop.wall_rgb),
        ):
            model.geom_rgba[model.geom(name).id] = [*rgb, 1.0]
        model.geom_rgba[checkered, 3] = 1.0 if backdrop.checkered else 0.0
        model.geom_rgba[table, 3] = 0.0 if backdrop.checkered else 1.0
        model.light_diffuse[0] = backdrop.light
        model.light_dir[0] = backdrop.light_direction
        # Films have its shadows, which a map of so many pixels holds for what is near its axis.
        model.light_pos[0] = [*self.area.center, 0.0] - _LAMP_M * model.light_dir[0]

    def tool(self, side: str = "right") -> np.ndarray:
        """Position (3,) of the tool [m]."""
        return self.data.site_xpos[self.robot.arm(side).tool_site].copy()

    def tip(self, side: str = "right") -> np.ndarray:
        """Where the shut finger tips end on the tool's axis (3,) [m]."""
        tool_z = self.data.site_xmat[self.robot.arm(side).tool_site].reshape(3, 3)[:, 2]
        return self.tool(side) + self.tip_below_tool_m(side) * tool_z

    def opening(self, side: str = "right") -> float:
        """Measured gripper opening, 0 closed to 1 open."""
        return self.robot.gripper_fraction(self.data, self.robot.arm(side))

    def gap_m(self, side: str = "right") -> float:
        """Distance between the jaws, taking it as linear in the opening."""
        return self.opening(side) * gripper_of(self.robot.arm(side).arm).max_width_m

    def pinch_n(self, body: int, side: str = "right") -> float:
        """The force [N] with which a gripper squeezes a body: the smaller of its two jaws' normal forces."""
        handle = self.robot.arm(side)
        jaws: dict[int, float] = {}
        for other, force in self._contacts(body):
            if other in handle.gripper_bodies:
                jaws[other] = jaws.get(other, 0.0) + force
        moving = [force for jaw, force in jaws.items() if jaw in handle.finger_bodies]
        if len(handle.finger_bodies) > 1:
            return min(moving) if len(moving) == len(handle.finger_bodies) else 0.0
        fixed = [force for jaw, force in jaws.items() if jaw not in handle.finger_bodies]
        return min(moving[0], sum(fixed)) if moving and fixed else 0.0

    def touched(self, body: int) -> bool:
        """Whether any gripper touches the body."""
        return any(other in self._owner for other, _ in self._contacts(body))

    def tip_at(self, point: np.ndarray, radius_m: float, height_m: float) -> bool:
        """Whether any gripper's finger tips end so near a point: across, and up or down."""
        off = [self.tip(handle.side) - point for handle in self.robot.arms]
        return any(np.hypot(dx, dy) <= radius_m and abs(dz) <= height_m for dx, dy, dz in off)

    def grasp_offset(self, side: str, half_width_m: float) -> np.ndarray:
        """Where the tool belongs relative to a block's centre when the open jaws come down around it (3,).

        Two fingers close from both sides: zero. A single jaw closes onto a fixed one, which must come down
        just beside the block.
        """
        handle = self.robot.arm(side)
        if len(handle.finger_bodies) > 1:
            return np.zeros(3)
        tool_y = self.data.site_xmat[handle.tool_site].reshape(3, 3)[:, 1]
        beside = half_width_m + 0.011 - self._tips[side][2]
        return -beside * np.array([tool_y[0], tool_y[1], 0.0])

    def supported(self, body: int) -> bool:
        """Whether anything but a gripper touches the body."""
        return any(other not in self._owner for other, _ in self._contacts(body))

    def _contacts(self, body: int) -> list[tuple[int, float]]:
        """The other body and the normal force [N] of every contact of a body."""
        found, force = [], np.zeros(6)
        geom_body = self.model.geom_bodyid
        for i in range(self.data.ncon):
            first, second = geom_body[self.data.contact[i].geom1], geom_body[self.data.contact[i].geom2]
            if body in (first, second):
                mujoco.mj_contactForce(self.model, self.data, i, force)
                found.append((int(second if first == body else first), float(force[0])))
        return found

    def tip_below_tool_m(self, side: str = "right") -> float:
        """How far the finger tips reach beyond the tool point when it points straight down."""
        return self._tips[side][0]

    def tip_half_m(self, side: str = "right") -> float:
        """Half the width of the shut finger tips, the larger of the two horizontal directions."""
        return self._tips[side][1]

    def is_still(self, blocks: Iterable[Block], limit_m_s: float = 0.03) -> bool:
        return all(block.speed(self.data) < limit_m_s for block in blocks)


def _measure_tips(robot: Robot, model: mujoco.MjModel, handle: ArmHandle) -> tuple[float, float, float]:
    """Reach of the shut fingers beyond the tool point along its axis and across it, and the distance
    of a fixed jaw's inner face from the tool point."""
    data = mujoco.MjData(model)
    robot.set_joints(data, handle, handle.home, gripper=0.0)
    mujoco.mj_kinematics(model, data)
    tool = data.site_xpos[handle.tool_site]
    axes = data.site_xmat[handle.tool_site].reshape(3, 3)
    beyond, across, fixed_jaw = 0.0, 0.0, 1.0
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] in handle.gripper_bodies and model.geom_contype[geom]:
            rotation = data.geom_xmat[geom].reshape(3, 3)
            center = axes.T @ (data.geom_xpos[geom] + rotation @ model.geom_aabb[geom, :3] - tool)
            extent = np.abs(axes.T @ rotation) @ model.geom_aabb[geom, 3:]
            if center[2] + extent[2] > -0.005:  # reaches down to the tool point: a finger tip
                beyond = max(beyond, float(center[2] + extent[2]))
                across = max(across, float((np.abs(center) + extent)[:2].max()))
                if model.geom_bodyid[geom] not in handle.finger_bodies:
                    fixed_jaw = min(fixed_jaw, float(np.abs(center[1]) - extent[1]))
    return beyond, across, fixed_jaw
