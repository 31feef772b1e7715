"""Things that a task knows nothing of and that come in its way: obstacles, still or moving, and a hand.

They are moved by a script that is a function of the simulated time alone, so a restored state replays
identically. They touch robots only: what they do to blocks is not of interest here.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.worlds.body.robots import ROBOT_GROUP
from kinema.worlds.tabletop.props import HIDDEN, PARKED_Z_M

INTRUDER_GROUP = 2  # geom group: drawn by the cameras, and told from things and robots by ray casts
_TOUCHES = {"contype": 0, "conaffinity": ROBOT_GROUP}
_BOX, _CAPSULE, _SPHERE = (
    mujoco.mjtGeom.mjGEOM_BOX,
    mujoco.mjtGeom.mjGEOM_CAPSULE,
    mujoco.mjtGeom.mjGEOM_SPHERE,
)
KINDS = ("none", "obstacle", "moving", "hand")
_SHARES = (0.34, 0.24, 0.20, 0.22)  # how often each kind is drawn
# Palm, four fingers and forearm, along -x of the hand's frame: fingers first, the arm behind.
_FINGER_M, _PALM_M, _FOREARM_M = 0.045, 0.045, 0.16
_SKINS = ((0.96, 0.80, 0.69), (0.78, 0.57, 0.44), (0.55, 0.36, 0.26), (0.36, 0.22, 0.16), (0.25, 0.35, 0.75))


@dataclass(frozen=True, kw_only=True)
class Script:
    """Where an intruder is at which time: straight lines between places, at rest before and after.

    times_s: float64 (N,); places_m: float64 (N, 3); yaw_rad: of the body about the vertical
    """

    times_s: np.ndarray
    places_m: np.ndarray
    yaw_rad: float = 0.0

    def at(self, time_s: float) -> np.ndarray:
        """The place (3,) at this time."""
        return np.array([np.interp(time_s, self.times_s, self.places_m[:, axis]) for axis in range(3)])


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a script is drawn around.

    way_m:    (2, 3) from and to where the tool will go
    keep_off: (N, 2) centres that a thing standing on the table leaves free
    low, high: corners (2,) of the part of the table that the robot works on
    """

    way_m: np.ndarray
    keep_off: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Intruders:
    """One obstacle and one hand in a model; an episode uses at most one of them."""

    def __init__(self) -> None:
        self.kind, self.script = "none", Script(times_s=np.zeros(1), places_m=np.zeros((1, 3)))

    def add(self, spec: mujoco.MjSpec) -> None:
        obstacle = spec.worldbody.add_body(name="obstacle", mocap=True, pos=[0, 0, PARKED_Z_M])
        for i, (kind, size) in enumerate(
            ((_BOX, [0.03] * 3), (_CAPSULE, [0.03, 0.06, 0]), (_SPHERE, [0.04, 0, 0]))
        ):
            obstacle.add_geom(name=f"obstacle/{i}", type=kind, size=size, group=HIDDEN, **_TOUCHES)
        hand = spec.worldbody.add_body(name="human_hand", mocap=True, pos=[0, 0, PARKED_Z_M])
        lying = [np.sqrt(0.5), 0, np.sqrt(0.5), 0]
        for i in range(4):
            pos = [-_FINGER_M / 2, (i - 1.5) * 0.021, 0.0]
            hand.add_geom(
                type=_CAPSULE, size=[0.009, _FINGER_M, 0], pos=pos, quat=lying, group=HIDDEN, **_TOUCHES
            )
        palm = [-_FINGER_M - _PALM_M, 0, 0]
        hand.add_geom(type=_BOX, size=[_PALM_M, 0.042, 0.015], pos=palm, group=HIDDEN, **_TOUCHES)
        arm = [-_FINGER_M - 2 * _PALM_M - _FOREARM_M, 0, 0.005]
        hand.add_geom(
            type=_CAPSULE, size=[0.035, _FOREARM_M, 0], pos=arm, quat=lying, group=HIDDEN, **_TOUCHES
        )

    def bind(self, model: mujoco.MjModel) -> None:
        self._bodies = {name: model.body(name).id for name in ("obstacle", "human_hand")}
        self._geoms = {name: np.flatnonzero(model.geom_bodyid == body) for name, body in self._bodies.items()}
        self.bodies = frozenset(self._bodies.values())

    def reset(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        rng: np.random.Generator,
        stage: Stage,
        kind: str = "",
    ) -> None:
        """Draw a kind (or take the given one), its look and its script; the other is put away."""
        self.kind = kind or str(rng.choice(KINDS, p=_SHARES))
        for name, geoms in self._geoms.items():
            model.geom_group[geoms] = HIDDEN
            model.geom_conaffinity[geoms] = 0
            data.mocap_pos[model.body_mocapid[self._bodies[name]]] = [0, 0, PARKED_Z_M]
        if self.kind == "hand":
            self._show(model, self._geoms["human_hand"], _SKINS[rng.integers(len(_SKINS))])
            self.script = _hand_script(rng, stage)
        elif self.kind in ("obstacle", "moving"):
            height = self._shape_obstacle(model, rng)
            moving = self.kind == "moving"
            self.script = (_moving_script if moving else _standing_script)(rng, stage, height)
        self.move(model, data)

    def move(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Put the intruder where its script says for the time of the data."""
        if self.kind == "none":
            return
        mocap = model.body_mocapid[self._bodies["human_hand" if self.kind == "hand" else "obstacle"]]
        data.mocap_pos[mocap] = self.script.at(float(data.time))
        half = self.script.yaw_rad / 2
        data.mocap_quat[mocap] = [np.cos(half), 0, 0, np.sin(half)]

    def _show(self, model: mujoco.MjModel, geoms: np.ndarray, rgb: tuple[float, float, float]) -> None:
        model.geom_group[geoms] = INTRUDER_GROUP
        model.geom_conaffinity[geoms] = ROBOT_GROUP
        model.geom_rgba[geoms] = [*rgb, 1.0]

    def _shape_obstacle(self, model: mujoco.MjModel, rng: np.random.Generator) -> float:
        """Choose one of the forms and its size; returns half its height [m]."""
        form = int(rng.integers(3))
        geom = self._geoms["obstacle"][form]
        radius, half = rng.uniform(0.02, 0.04), rng.uniform(0.03, 0.12)
        size = (
            [radius, rng.uniform(0.02, 0.06), half],
            [radius, half, 0.0],
            [rng.uniform(0.03, 0.05), 0.0, 0.0],
        )[form]
        model.geom_size[geom] = size
        extent = ([size[0], size[1], half], [radius, radius, half + radius], [size[0]] * 3)[form]
        model.geom_aabb[geom, 3:] = extent
        model.geom_rbound[geom] = np.linalg.norm(extent)
        body = self._bodies["obstacle"]
        first, count = model.body_bvhadr[body], model.body_bvhnum[body]
        model.bvh_aabb[first : first + count, :3] = 0.0
        model.bvh_aabb[first : first + count, 3:] = 0.2
        rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 1), rng.uniform(0.15, 1.0))
        self._show(model, self._geoms["obstacle"][form : form + 1], rgb)
        return float(extent[2])


def _standing_script(rng: np.random.Generator, stage: Stage, half_height_m: float) -> Script:
    """At rest on the table beside the way, or hanging over it."""
    for _ in range(50):
        place = _beside(rng, stage, spread_m=0.06)
        if len(stage.keep_off) == 0 or np.linalg.norm(stage.keep_off - place[:2], axis=1).min() > 0.09:
            break
    else:  # no room on the table: it hangs above what lies there
        place[2] = rng.uniform(0.12, 0.25) + half_height_m
        return Script(times_s=np.zeros(1), places_m=place[None], yaw_rad=rng.uniform(0, np.pi))
    place[2] = half_height_m
    return Script(times_s=np.zeros(1), places_m=place[None], yaw_rad=rng.uniform(0, np.pi))


def _moving_script(rng: np.random.Generator, stage: Stage, half_height_m: float) -> Script:
    """To and fro across the way."""
    middle = _beside(rng, stage, spread_m=0.05)
    middle[2] = half_height_m + rng.choice([rng.uniform(0.06, 0.2), rng.uniform(0.0, 0.06)])
    turn = rng.uniform(0, 2 * np.pi)
    half = rng.uniform(0.08, 0.25) * np.array([np.cos(turn), np.sin(turn), 0.0])
    period_s = 2 * np.linalg.norm(half) / rng.uniform(0.04, 0.25)
    times = rng.uniform(-period_s, 0.0) + period_s * np.arange(40)
    signs = np.where(np.arange(40) % 2, 1.0, -1.0)
    return Script(times_s=times, places_m=middle + signs[:, None] * half, yaw_rad=rng.uniform(0, np.pi))


def _hand_script(rng: np.random.Generator, stage: Stage) -> Script:
    """In from a side, a while near the way, and out again, once or several times."""
    yaw = rng.uniform(0, 2 * np.pi)
    if np.cos(yaw) > 0.3:  # never through the robot's own back
        yaw += np.pi
    along = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    there = _beside(rng, stage, spread_m=0.05)
    there[2] = rng.uniform(0.03, 0.22)
    away = there - along * rng.uniform(0.35, 0.5)
    speed, time_s = rng.uniform(0.1, 0.35), -rng.uniform(0.0, 2.0)
    travel_s = float(np.linalg.norm(there - away)) / speed
    times, places = [time_s], [away]
    for _ in range(4):
        for pause_s, place in ((rng.uniform(0.3, 2.0), away), (rng.uniform(0.5, 4.0), there)):
            other = there if place is away else away
            times += [times[-1] + pause_s, times[-1] + pause_s + travel_s]
            places += [place, other]
    return Script(times_s=np.array(times), places_m=np.array(places), yaw_rad=yaw)


def _beside(rng: np.random.Generator, stage: Stage, spread_m: float) -> np.ndarray:
    """A point near the way from the tool to its thing."""
    start, end = stage.way_m
    place = start + rng.uniform(0.1, 1.0) * (end - start)
    place[:2] += rng.normal(0.0, spread_m, 2)
    place[:2] = np.clip(place[:2], stage.low, stage.high)
    return place
