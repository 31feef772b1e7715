"""What slides and turns in LIBERO: drawers, the microwave's door, the stove's knob.

Where to take a part or to push it follows from its geoms and from how its joint moves them. World positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.bench.libero.arm import CLOSED, OPEN, UP, Arm, Grip, Skill, close, go, leave
from kinema.bench.libero.goals import reached
from kinema.bench.libero.solids import of_body
from kinema.space.rotation import matrix_from_rotvec

_SLIDE = 2  # of MuJoCo's kinds of joints
_LEAD_M = 0.05  # how far ahead of a part the tool is sent
_PASSED_M = 0.03  # near enough to what need not be met exactly
_BACK_M = 0.1
_HELD_M, _TOUCHED_M = 0.04, 0.09  # a tool farther from where it took or touched the part has slipped
_OPEN_M, _SHUT_M = -0.16, 0.03  # where to move drawers [m], doors and knobs [rad] to
_WIDE_M = -0.15  # a drawer that is barely open is shut again by what goes in
_AJAR_RAD, _CLOSED_RAD = -1.5, 0.15
_ON_RAD, _OFF_RAD = 1.0, -0.3


@dataclass(frozen=True)
class Part:
    """A body that moves about one joint of its own."""

    env: Any
    joint: str

    @classmethod
    def of(cls, env: Any, name: str) -> Part:
        """Of a region that moves with its part, or of a piece of furniture with one moving part."""
        site = env.env.object_sites_dict.get(name)
        (joint,) = (site or env.env.get_object(name)).joints
        return cls(env, joint)

    @property
    def _number(self) -> int:
        return int(self.env.sim.model.joint_name2id(self.joint))

    @property
    def slides(self) -> bool:
        return int(self.env.sim.model.jnt_type[self._number]) == _SLIDE

    @property
    def travel(self) -> float:
        """Of the joint [m or rad]."""
        return float(self.env.sim.data.get_joint_qpos(self.joint))

    @property
    def _axis(self) -> np.ndarray:
        return np.array(self.env.sim.data.xaxis[self._number])

    @property
    def _anchor_m(self) -> np.ndarray:
        return np.array(self.env.sim.data.xanchor[self._number])

    def motion(self, at_m: np.ndarray) -> np.ndarray:
        """The direction (3,) in which a point of it moves as the joint grows."""
        along = self._axis if self.slides else np.cross(self._axis, at_m - self._anchor_m)
        return np.asarray(along / np.linalg.norm(along))

    def moved(self, grip: Grip, by: float) -> Grip:
        """A grip that goes with the part, where it will be when the joint has grown by so much."""
        if self.slides:
            return grip.shifted(by * self._axis)
        turn = matrix_from_rotvec(by * self._axis)
        return Grip(
            self._anchor_m + turn @ (grip.position_m - self._anchor_m), turn @ grip.approach, turn @ grip.jaws
        )

    def followed(self, grip: Grip) -> Callable[[], Grip]:
        """Where a grip is at each moment that goes with the part from now on."""
        then = self.travel
        return lambda: self.moved(grip, self.travel - then)

    def lead(self, at_m: np.ndarray, to: float) -> float:
        """The joint's next bit of the way for a tool at a point of the part."""
        radius_m = float(np.linalg.norm(np.cross(self._axis, at_m - self._anchor_m)))
        most = _LEAD_M if self.slides else _LEAD_M / max(0.1, radius_m)
        return float(np.clip(to - self.travel, -most, most))

    def boxes(self) -> np.ndarray:
        """Corners (N, 8, 3) of the geoms that it collides with."""
        body = int(self.env.sim.model.jnt_bodyid[self._number])
        return of_body(self.env, body).corners.reshape(-1, 8, 3)

    def handle(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners (8, 3) of the geom that sticks out most the way that the part opens, and that way.

        Drawers and doors of LIBERO open as their joints shrink.
        """
        boxes = self.boxes()
        out = -self.motion(boxes.reshape(-1, 3).mean(0))
        return boxes[np.argmax(boxes.mean(1) @ out)], out


def pull(arm: Arm, part: Part, grip: Grip, to: float, until: Callable[[], bool]) -> Skill:
    """One try to take the part at a grip and to move its joint."""
    grip = arm.spared(grip, part.moved(grip, (to - part.travel) / 2))
    now = part.followed(grip)
    yield from go(arm, lambda: now().back(_BACK_M), OPEN, near_m=_PASSED_M)
    yield from go(arm, now, OPEN)
    yield from close(arm, now)
    while not until() and np.linalg.norm(now().position_m - arm.tool_m) < _HELD_M:
        yield arm.towards(part.moved(now(), part.lead(now().position_m, to)), CLOSED)
    yield from leave(arm, _BACK_M, _PASSED_M)


def push(arm: Arm, part: Part, contact: Grip, to: float, until: Callable[[], bool]) -> Skill:
    """One try to move the part's joint with closed fingers, from a grip at which they touch it."""
    contact = arm.spared(contact)
    now = part.followed(contact)
    way = np.sign(to - part.travel)

    def off() -> Grip:
        return contact.at(now().position_m - 0.06 * way * part.motion(now().position_m))

    above = off().shifted(0.12 * UP)
    if arm.tool_m[2] < above.position_m[2]:
        risen = above.at(np.append(arm.tool_m[:2], above.position_m[2]))
        yield from go(arm, lambda: risen, CLOSED, near_m=_PASSED_M)
    yield from go(arm, lambda: above, CLOSED, near_m=_PASSED_M)
    yield from go(arm, off, CLOSED, near_m=_PASSED_M)
    while not until() and np.linalg.norm(now().position_m - arm.tool_m) < _TOUCHED_M:
        ahead = part.moved(now(), part.lead(now().position_m, to))
        yield arm.towards(contact.at(ahead.position_m), CLOSED)
    yield from go(arm, off, CLOSED, near_m=_PASSED_M)


def open_part(env: Any, arm: Arm, name: str) -> Skill:
    part = Part.of(env, name)
    grip, to = (_drawer_grip(part), _OPEN_M) if part.slides else (_door_grip(part), _AJAR_RAD)

    def wide() -> bool:
        return reached(env, ("open", name)) and (not part.slides or part.travel < _WIDE_M)

    return pull(arm, part, grip, to, wide)


def close_part(env: Any, arm: Arm, name: str) -> Skill:
    part = Part.of(env, name)
    contact, to = (_drawer_contact(part), _SHUT_M) if part.slides else (_door_contact(part), _CLOSED_RAD)
    return push(arm, part, contact, to, lambda: reached(env, ("close", name)))


def turn_on(env: Any, arm: Arm, name: str) -> Skill:
    part = Part.of(env, name)
    return pull(arm, part, _knob_grip(part), _ON_RAD, lambda: reached(env, ("turnon", name)))


def turn_off(env: Any, arm: Arm, name: str) -> Skill:
    part = Part.of(env, name)
    return pull(arm, part, _knob_grip(part), _OFF_RAD, lambda: reached(env, ("turnoff", name)))


def leaning(away: np.ndarray, lean_rad: float) -> np.ndarray:
    """The approach of a tool whose hand leans that way from above its fingers."""
    return np.asarray(-np.sin(lean_rad) * away - np.cos(lean_rad) * UP)


def _drawer_grip(part: Part) -> Grip:
    """Almost level, one finger above the bar and one below: hands from above meet the drawer over it."""
    bar, out = part.handle()
    approach = leaning(out, np.radians(80))
    return Grip(bar.mean(0), approach, np.cross(np.cross(UP, out), approach))


def _drawer_contact(part: Part) -> Grip:
    bar, out = part.handle()
    return Grip(bar.mean(0) + 0.02 * out, leaning(out, np.radians(45)), np.cross(UP, out))


def _door_grip(part: Part) -> Grip:
    """From above, around the upright bar."""
    bar, out = part.handle()
    return Grip(np.append(bar.mean(0)[:2], bar[:, 2].max() - 0.03), -UP, np.cross(UP, out))


def _door_contact(part: Part) -> Grip:
    """Outside the middle of the panel, which the handle is not near, and just below its top."""
    boxes = part.boxes()
    panel = boxes[np.argmax(np.prod(np.ptp(boxes, axis=1), axis=1))]
    middle = panel.mean(0)
    out = -part.motion(middle)
    face = middle + (((panel - middle) @ out).max() + 0.015) * out
    return Grip(np.append(face[:2], panel[:, 2].max() - 0.02), -UP, np.array([0.0, 1.0, 0.0]))


def _knob_grip(part: Part) -> Grip:
    """Across the bar that stands on the disc. The hand leans away from the robot: knobs are near its foot."""
    boxes = part.boxes()
    tops_m = boxes[:, :, 2].max(1)
    bar = boxes[tops_m > tops_m.max() - 0.012].reshape(-1, 3)
    _, directions = np.linalg.eigh(np.cov(bar[:, :2].T))
    across, along = np.append(directions[:, 0], 0.0), np.append(directions[:, 1], 0.0)
    away = along * np.sign(along[0])
    return Grip(np.append(bar.mean(0)[:2], tops_m.max() - 0.012), leaning(away, np.radians(30)), across)
