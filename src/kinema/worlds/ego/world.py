"""The hand's table from the eyes of whose hand it is: a head that sways and looks at what the hand does.

Poses are told in the frame in which the head's camera stood when the episode began: x to its right, y up its
picture, z backwards. Where the head is and looks is a function of the seed and of what has happened so far.
"""

from __future__ import annotations

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.schema import Observation
from kinema.space.hand_posture import eigengrasps
from kinema.space.rotation import rotvec_from_matrix
from kinema.worlds.ego.hand import JointedHand
from kinema.worlds.hand.stage import AREA, HandWorld
from kinema.worlds.tabletop.props import HIDDEN
from kinema.worlds.tabletop.sentence import Request
from kinema.worlds.variation import SEEN, Variation

CARD = "ego"
_HEAD_M, _HEAD_JITTER_M = (0.06, 0.14, 0.52), 0.03
_SWAY_M, _SWAY_HZ = 0.012, (0.25, 0.8)
_GAZE_S = 0.4  # how slowly the eyes follow
_GAZE_JITTER_M = 0.01
_FOREARM_TILT_RAD = 1.2  # from the vertical: below the eyes
_FOREARM_YAW_RAD = (-1.2, -0.8)  # from the person's right
_WALL_M = 1.7


class EgoWorld(HandWorld):
    """One family of the hand's tasks. Actions are the hand's (`worlds/hand/hand.py`); what it senses is the
    person's: the head's picture and the wrist with ten values of its fingers, (16,)."""

    def __init__(self, *, family: str, variation: Variation = SEEN, image_size: int = 96) -> None:
        self.person: EmbodimentCard = load_card(CARD)
        self._hand = JointedHand()
        super().__init__(
            family=family,
            variation=variation,
            image_size=image_size,
            seen_by=self.person.cameras,
            furnish=self._hand.add,
        )
        model = self.scene.model
        self._hand.bind(model)
        felt = np.setdiff1d(self._geoms, self._hand.geoms)
        model.geom_group[felt[model.geom_bodyid[felt] != self._forearm]] = HIDDEN
        model.geom_pos[model.geom("wall").id, 0] = _WALL_M  # before the person, not behind
        tilt = _FOREARM_TILT_RAD / 2
        self._tilt = np.array([np.cos(tilt), 0.0, np.sin(tilt), 0.0])
        self._camera = model.camera(self.person.camera_names[0]).id

    def reset(self, seed: int, request: Request | None = None) -> None:
        super().reset(seed, request)
        rng = np.random.default_rng([seed, 0x65676F])
        self._head_m = np.array(_HEAD_M) + rng.uniform(-_HEAD_JITTER_M, _HEAD_JITTER_M, 3)
        self._sway_hz = rng.uniform(*_SWAY_HZ, (2, 3))
        self._sway_rad = rng.uniform(0, 2 * np.pi, (2, 3))
        self._aside_m = rng.uniform(-_GAZE_JITTER_M, _GAZE_JITTER_M, 3)
        self._gaze_m = np.array([*AREA.center, 0.03])
        self._pose()
        self.T_head_world = np.linalg.inv(self.head())

    def _stand(self, rng: np.random.Generator) -> None:
        super()._stand(rng)
        self.turn_forearm(rng.spawn(1)[0].uniform(*_FOREARM_YAW_RAD))

    def step(self, action: np.ndarray) -> None:
        super().step(action)
        looked_at = (self.scene.tool() + self.task.focus(self.scene)[0]) / 2 + self._aside_m
        share = 1.0 - np.exp(-self._period_s / _GAZE_S)
        self._gaze_m = self._gaze_m + share * (looked_at - self._gaze_m)
        self._pose()

    def head(self) -> np.ndarray:
        """The camera's pose in the world (4, 4)."""
        T, data = np.eye(4), self.scene.data
        T[:3, :3] = data.cam_xmat[self._camera].reshape(3, 3)
        T[:3, 3] = data.cam_xpos[self._camera]
        return T

    def state(self) -> np.ndarray:
        """(16,) float32: the wrist's position [m] and rotation vector, and ten eigengrasps [rad]."""
        tool = np.eye(4)
        data, site = self.scene.data, self.scene.robot.arm("right").tool_site
        tool[:3, :3], tool[:3, 3] = data.site_xmat[site].reshape(3, 3), data.site_xpos[site]
        wrist = self.T_head_world @ tool @ self._T_tool_wrist
        rotvec = rotvec_from_matrix(wrist[:3, :3])
        return np.concatenate([wrist[:3, 3], rotvec, eigengrasps(self._angles)]).astype(np.float32)

    def observe(self, render: bool = True) -> Observation:
        names = self.person.camera_names
        images = dict(zip(names, self._cameras.pictures(self.scene.data))) if render else {}
        return Observation(
            images=images,
            state=self.state(),
            instruction=self.instruction,
            time_s=float(self.scene.data.time),
        )

    def _pose(self) -> None:
        """Bend the fingers as the pads stand, and turn the head."""
        model, data = self.scene.model, self.scene.data
        self._angles, self._T_tool_wrist = self._hand.pose(model, self.scene.gap_m())
        model.body_pos[self._forearm] = self._T_tool_wrist[:3, 3]
        waves = np.sin(2 * np.pi * self._sway_hz * data.time + self._sway_rad)
        at = self._head_m + _SWAY_M * waves.mean(0)
        model.cam_pos[self._camera] = at
        mujoco.mju_mat2Quat(model.cam_quat[self._camera], _looking(at, self._gaze_m).ravel())
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)


def _looking(at_m: np.ndarray, towards_m: np.ndarray) -> np.ndarray:
    """A camera's axes (3, 3) that looks from one point towards another, its picture upright."""
    back = at_m - towards_m
    back = back / np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], axis=1)
