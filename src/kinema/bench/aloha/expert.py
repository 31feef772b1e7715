"""A scripted expert for ALOHA's two tasks: keyframes of both tools, played by the benchmark's joint targets.

As ACT's scripted policy it follows waypoints by the clock. Unlike that, it acts by what a policy acts by, and
looks at every step where the things truly are. Positions [m] are the world's, in which the arms face each
other along x; a tool points along its z, and its fingers close along its y.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kinema.bench.aloha.arm import Aim, Arm, Keyframe, stay
from kinema.card.load import load_card
from kinema.worlds.body.control import Kinematics

_X = np.array([1.0, 0.0, 0.0])
_OPEN, _CLOSED = 1.0, 0.0
_HOVER_M = 0.08
_LOST_M = 0.06  # a thing this far from the tool is not held
_DOWN_RAD = np.radians(60.0)  # that a tool points below the horizon when it takes something
_MEETING_M = np.array([0.0, 0.5, 0.25])
_JOINING_M = np.array([0.0, 0.5, 0.17])  # where the socket's mouth is when the peg comes


class Scene(Protocol):
    task: str

    def state(self) -> np.ndarray: ...

    def pose(self, body: str) -> np.ndarray: ...


class Expert:
    """For one episode, which it is made for; `act` is called once a step."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        plan = {"transfer_cube": _transfer, "insertion": _insertion}[scene.task](scene)
        kinematics = Kinematics(load_card("aloha_gym"))
        joints = dict(zip(("left", "right"), _joints(scene)))
        self._arms = [Arm(kinematics, side, joints[side], plan[side]) for side in joints]
        self._step = 0

    def act(self) -> np.ndarray:
        """A native action (14,)."""
        acts = [arm.act(self._step, joints) for arm, joints in zip(self._arms, _joints(self._scene))]
        self._step += 1
        return np.concatenate(acts)


def _joints(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    state = scene.state().astype(np.float64)
    return state[:6], state[7:13]


def _transfer(scene: Scene) -> dict[str, list[Keyframe]]:
    """The right arm brings the cube; the left one takes it between fingers above and below, from the side."""
    taken = _pointing("right", _DOWN_RAD)
    offered = _pointing("left", 0.0, roll_rad=np.pi / 2)
    return {
        "right": [
            Keyframe(45, _at(scene, "box", taken, (0, 0, _HOVER_M)), _OPEN),
            Keyframe(70, _at(scene, "box", taken), _OPEN),
            Keyframe(85, stay, _CLOSED),
            Keyframe(130, _carried(scene, "box", _placed(_MEETING_M)), _CLOSED),
            Keyframe(180, stay, _CLOSED),
            Keyframe(190, stay, _OPEN),
            Keyframe(220, _moved((0.1, 0, 0.05)), _OPEN),
        ],
        "left": [
            Keyframe(100, _there(offered, _MEETING_M - 0.12 * _X), _OPEN),
            Keyframe(130, stay, _OPEN),
            Keyframe(155, _at(scene, "box", offered), _OPEN),
            Keyframe(170, stay, _CLOSED),
            Keyframe(190, stay, _CLOSED),
            Keyframe(220, _moved((-0.1, 0, 0)), _CLOSED),
        ],
    }


def _insertion(scene: Scene) -> dict[str, list[Keyframe]]:
    """Both arms lift; the left one holds the socket, the right one pushes the peg in, along x."""
    right, left = _pointing("right", _DOWN_RAD), _pointing("left", _DOWN_RAD)
    beside = _placed(_JOINING_M + 0.16 * _X)
    return {
        "right": [
            Keyframe(45, _at(scene, "peg", right, (0, 0, _HOVER_M)), _OPEN),
            Keyframe(75, _at(scene, "peg", right, (0, 0, 0.008)), _OPEN),
            Keyframe(90, stay, _CLOSED),
            Keyframe(140, _carried(scene, "peg", beside), _CLOSED),
            Keyframe(160, _beyond(scene, "peg", "socket", 0.15), _CLOSED),
            Keyframe(220, _beyond(scene, "peg", "socket", 0.095), _CLOSED),
        ],
        "left": [
            Keyframe(45, _at(scene, "socket", left, (0, 0, _HOVER_M)), _OPEN),
            Keyframe(75, _at(scene, "socket", left), _OPEN),
            Keyframe(90, stay, _CLOSED),
            Keyframe(140, _carried(scene, "socket", _placed(_JOINING_M - 0.06 * _X)), _CLOSED),
            Keyframe(220, stay, _CLOSED),
        ],
    }


def _pointing(side: str, down_rad: float, roll_rad: float = 0.0) -> np.ndarray:
    """R_world_tool (3, 3) of a tool that points to the other arm and down, rolled about where it points."""
    across = 1.0 if side == "left" else -1.0
    z = np.array([across * np.cos(down_rad), 0.0, -np.sin(down_rad)])
    level = np.array([0.0, -across, 0.0])
    y = np.cos(roll_rad) * level + np.sin(roll_rad) * np.cross(z, level)
    return np.stack([np.cross(y, z), y, z], -1)


def _placed(position_m: np.ndarray, rotation: np.ndarray | None = None) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = position_m
    if rotation is not None:
        pose[:3, :3] = rotation
    return pose


def _moved(way_m: tuple[float, float, float]) -> Aim:
    return lambda tool, before: _placed(before[:3, 3] + way_m, before[:3, :3])


def _there(rotation: np.ndarray, position_m: np.ndarray) -> Aim:
    return lambda tool, before: _placed(position_m, rotation)


def _at(scene: Scene, body: str, rotation: np.ndarray, away_m: tuple[float, float, float] = (0, 0, 0)) -> Aim:
    """The tool's point where the body is, or so far away from there."""
    return lambda tool, before: _placed(scene.pose(body)[:3, 3] + away_m, rotation)


def _carried(scene: Scene, body: str, goal: np.ndarray) -> Aim:
    """So that the body comes to the goal."""
    return lambda tool, before: _bringing(scene.pose(body), goal, tool, before)


def _beyond(scene: Scene, body: str, other: str, along_m: float) -> Aim:
    """So that the body comes to lie so far along the other one's x."""
    ahead = _placed(along_m * _X)
    return lambda tool, before: _bringing(scene.pose(body), scene.pose(other) @ ahead, tool, before)


def _bringing(held: np.ndarray, goal: np.ndarray, tool: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Where the tool is to be so that what it holds is at the goal; what is far away is not held."""
    if np.linalg.norm(held[:3, 3] - tool[:3, 3]) > _LOST_M:
        return before
    return goal @ np.linalg.inv(held) @ tool
