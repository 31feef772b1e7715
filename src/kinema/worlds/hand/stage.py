"""One table before which a person or any robot may sit: the same scene, the same two cameras, other bodies.

A tabletop world is described in the frame of its robot. Here the *table's frame* comes first: the work area,
table, wall, lamp and cameras of a person's table. `T_robot_table` places a robot before it, so that the
middle of its own work area is the middle of the table's, and the same seed gives every body the same scene.
"""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from kinema.card.card import Camera, EmbodimentCard
from kinema.card.kinematics import home_rotation
from kinema.schema import Observation
from kinema.space.rotation import matrix_from_rotvec
from kinema.worlds.body.control import Kinematics
from kinema.worlds.hand.hand import HOME_M, NAME, SKINS, SLEEVES, hand_card
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.families.push import Push
from kinema.worlds.tabletop.props import HIDDEN
from kinema.worlds.tabletop.scene import WorkArea, work_area
from kinema.worlds.tabletop.sentence import Request
from kinema.worlds.variation import SEEN, Variation

AREA = WorkArea(center=(0.48, 0.0), half=(0.11, 0.14))
FAMILIES = ("pick_place", "push", "button")  # what the hand does here
VIEWS = ("front", "side")
_SIDE_TURN_RAD = 1.25
_FRONT = Camera(
    name="front",
    tag="ego",
    pos_m=(1.03, 0.0, 0.69),
    quat_wxyz=(0.65763, 0.25986, 0.25986, 0.65763),
    fovy_rad=0.6,
)
_BLOCK_SCALE = 0.9  # blocks of 36 to 45 mm: the narrowest gripper takes them too
_JITTER_M = 0.02
_SCENERY = ("table", "checkered_table", "wall", "floor")
_MIDDLE_M = 0.018  # a person pushes a thing to the middle of its area, not over the edge
_REACHED_M, _TILTED_RAD = 3e-3, 0.05


def T_robot_table(card: EmbodimentCard) -> np.ndarray:  # noqa: N802
    """Where the table stands in this robot's frame (4, 4): a turn about the vertical and a shift."""
    area = work_area(card)
    T = _turn(area.yaw_rad)
    T[:2, 3] = np.array(area.center) - T[:2, :2] @ np.array(AREA.center)
    return T


def cameras(T: np.ndarray) -> tuple[Camera, ...]:
    """The table's cameras for a body in whose frame the table stands at T (4, 4)."""
    about = np.eye(4)
    about[:2, 3] = AREA.center
    side = about @ _turn(_SIDE_TURN_RAD) @ np.linalg.inv(about)
    return tuple(_moved(_FRONT, name, T @ turn) for name, turn in zip(VIEWS, (np.eye(4), side)))


def reaches(card: EmbodimentCard) -> bool:
    """Whether it has one arm whose tool comes straight down to each corner of the area, low and high."""
    if card.control not in ("ee_pose", "joint_position"):
        return False
    if len(card.arms) != 1 or card.torso is not None:  # a second arm stands between table and camera
        return False
    kinematics = Kinematics(card)
    handle = kinematics.robot.arm("right")
    area, T = work_area(card), T_robot_table(card)
    wanted = home_rotation(handle.arm)
    for u, v, z in [(u, v, z) for u in (-1, 1) for v in (-1, 1) for z in (0.02, 0.18)]:
        place = (T @ [*AREA.at(u, v), z, 1.0])[:3]
        joints = kinematics.solve("right", place, wanted, handle.home, iterations=200)
        position, rotation = kinematics.tool_pose("right", joints)
        tilt = np.arccos(np.clip((np.trace(wanted.T @ rotation) - 1) / 2, -1, 1))
        if np.linalg.norm(position - place) > _REACHED_M or tilt > _TILTED_RAD:
            return False
    return area.half[0] > 0.05


class StagedWorld(TabletopEnv):
    """The table with one body before it. Its scenes are those of every other staged body, by seed."""

    def __init__(
        self,
        *,
        card: EmbodimentCard,
        family: str,
        variation: Variation = SEEN,
        image_size: int = 96,
        own_cameras: bool = False,
        furnish: Callable[[mujoco.MjSpec], None] | None = None,
    ) -> None:
        """own_cameras: keep the card's cameras instead of the table's two. furnish: as in `TabletopEnv`.

        Raises KinemaError.
        """
        T = np.eye(4) if card.name == NAME else T_robot_table(card)
        shown = card if own_cameras else card.model_copy(update={"cameras": cameras(T)})
        super().__init__(
            card=shown, family=family, variation=variation, image_size=image_size, furnish=furnish
        )
        self.T_robot_table = T
        scene, yaw = self.scene, float(np.arctan2(T[1, 0], T[0, 0]))
        scene.area = WorkArea(
            center=tuple((T @ [*AREA.center, 0, 1])[:2].tolist()), half=AREA.half, yaw_rad=yaw
        )
        scene.grip_yaw_rad, scene.block_scale = yaw, _BLOCK_SCALE
        self._put_scenery()

    def plane_depth(self, height_m: float) -> dict[str, np.ndarray]:
        """How deep each camera's rays meet a level plane, float32 (S, S) [m] by camera."""
        data, found = self.scene.data, {}
        side = (np.arange(self.image_size) + 0.5) / self.image_size * 2 - 1
        across, down = np.meshgrid(side, side)
        for name, camera in zip(self.card.camera_names, self._cameras.ids):
            half = np.tan(np.radians(self.scene.model.cam_fovy[camera]) / 2)
            rays = np.stack([across * half, -down * half, -np.ones_like(across)], -1)
            falls = rays @ data.cam_xmat[camera].reshape(3, 3)[2]
            above = data.cam_xpos[camera][2] - height_m
            found[name] = np.where(falls < -1e-6, above / np.maximum(-falls, 1e-6), np.inf).astype(np.float32)
        return found

    def reset(self, seed: int, request: Request | None = None) -> None:
        super().reset(seed, request)
        light = self.scene.model.light_dir
        light[0] = self.T_robot_table[:3, :3] @ light[0]
        mujoco.mj_forward(self.scene.model, self.scene.data)

    def depths(self) -> dict[str, np.ndarray]:
        """Distance from each camera's plane, float32 (S, S) [m] by camera."""
        return dict(zip(self.card.camera_names, self._cameras.depths(self.scene.data)))

    def _choices(self, card: EmbodimentCard) -> tuple[str, ...]:
        return FAMILIES  # the hand leads: no expert of the body is asked

    def _stand(self, rng: np.random.Generator) -> None:
        super()._stand(rng.spawn(1)[0])  # what bodies draw for themselves must not change the scene

    def _put_scenery(self) -> None:
        model, quat = self.scene.model, np.zeros(4)
        mujoco.mju_mat2Quat(quat, self.T_robot_table[:3, :3].ravel())
        for name in _SCENERY:
            geom = model.geom(name).id
            model.geom_pos[geom] = (self.T_robot_table @ [*model.geom_pos[geom], 1.0])[:3]
            turned = np.zeros(4)
            mujoco.mju_mulQuat(turned, quat, model.geom_quat[geom])
            model.geom_quat[geom] = turned


class HandWorld(StagedWorld):
    """The table with a person's hand. `hide` takes the hand out of the pictures, not out of the world."""

    def __init__(
        self,
        *,
        family: str,
        variation: Variation = SEEN,
        image_size: int = 96,
        seen_by: tuple[Camera, ...] = (),
        furnish: Callable[[mujoco.MjSpec], None] | None = None,
    ) -> None:
        """seen_by: cameras instead of the table's two. furnish: as in `TabletopEnv`."""
        super().__init__(
            card=hand_card(seen_by or cameras(np.eye(4))),
            family=family,
            variation=variation,
            image_size=image_size,
            own_cameras=bool(seen_by),
            furnish=furnish,
        )
        # a hand comes down like an arm of six joints, see `Scene`
        self.scene.rise_m, self.scene.funnel_m = 0.09, 0.05
        if isinstance(self.task, Push):
            self.task.inside_m = _MIDDLE_M
        model = self.scene.model
        bodies = [i for i in range(model.nbody) if model.body(i).name.startswith("right/")]
        self._geoms = np.flatnonzero(np.isin(model.geom_bodyid, bodies))
        self._forearm = model.body("right/forearm").id
        self._tilt = model.body_quat[self._forearm].copy()

    def observe_without_hand(self) -> Observation:
        """What is seen now, as if there were no hand."""
        groups = self.scene.model.geom_group
        groups[self._geoms] = HIDDEN
        seen = self.observe()
        groups[self._geoms] = 0
        return seen

    def show_only_hand(self) -> None:
        """Take everything but the hand out of the pictures, for good."""
        groups = self.scene.model.geom_group
        groups[:] = HIDDEN
        groups[self._geoms] = 0

    def turn_forearm(self, yaw_rad: float) -> None:
        """Where the forearm comes from, about the vertical; 0 is straight from the person's side."""
        turn = np.zeros(4)
        half = np.array([np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)])
        mujoco.mju_mulQuat(turn, half, self._tilt)
        self.scene.model.body_quat[self._forearm] = turn

    def _stand(self, rng: np.random.Generator) -> None:
        own = rng.spawn(1)[0]
        scene = self.scene
        handle = scene.robot.arm("right")
        place = np.array(HOME_M) + own.uniform(-_JITTER_M, _JITTER_M, 3)
        scene.robot.set_joints(scene.data, handle, place, gripper=1.0)
        model = scene.model
        model.geom_rgba[self._geoms, :3] = SKINS[own.integers(len(SKINS))]
        sleeve = np.flatnonzero(model.geom_bodyid == self._forearm)[1:]
        model.geom_rgba[sleeve, :3] = SLEEVES[own.integers(len(SLEEVES))]
        self.turn_forearm(own.uniform(-0.7, 0.7))


def _turn(yaw_rad: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = matrix_from_rotvec(np.array([0.0, 0.0, yaw_rad]))
    return T


def _moved(camera: Camera, name: str, T: np.ndarray) -> Camera:
    quat, turn = np.zeros(4), np.zeros(4)
    mujoco.mju_mat2Quat(turn, T[:3, :3].ravel())
    mujoco.mju_mulQuat(quat, turn, np.array(camera.quat_wxyz))
    position = (T @ [*camera.pos_m, 1.0])[:3]
    return camera.model_copy(
        update={"name": name, "pos_m": tuple(position.tolist()), "quat_wxyz": tuple(quat.tolist())}
    )
