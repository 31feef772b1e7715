"""Does the named thing go to the named place? Judged from what is seen, never from a simulator's state.

The view of a camera that stands still is laid on the table: a thing at rest has a known height, so one
picture says where it lies. Places and tolerances are those of the tabletop's own goals, widened by what the
detector cannot resolve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinema.bench.metrics.geometry import Pinhole, fixed_camera
from kinema.bench.metrics.tracks import SAID_FROM, SEEN_FROM, Tracks
from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError
from kinema.worlds.tabletop.family import CONTAINER_RADIUS_M
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.scene import work_area

HALF_M = 0.0225  # of a block
MOVED_M = 0.03  # from where on a thing has moved
_ON_BUTTON_UV = 0.08  # of the picture: a gripper that presses is this near the button
_LOOK_BACK = 3  # frames at the end in which a hidden thing may still be looked for
# where the middle of a thing rests on a place, the place's own height, and how far off it may be [m]
_RESTS: dict[str, tuple[float, float, float]] = {
    "bowl": (0.004 + HALF_M, 0.004, CONTAINER_RADIUS_M - 0.008),
    "plate": (0.010 + HALF_M, 0.010, CONTAINER_RADIUS_M - 0.008),
    "area": (HALF_M, 0.0, 0.040),
    "block": (3 * HALF_M, HALF_M, 0.022),
    "box": (0.004 + HALF_M, 0.004, 0.080),
}
_SLACK_M = 0.010
_HANDLE_Z_M, _DRAWER_MOVED_M = 0.055, 0.05
_TRAY_HANDLE_Z_M, _LIFTED_M = 0.030, 0.05


@dataclass(frozen=True, kw_only=True)
class Followed:
    """moved: the things that moved, the farthest first; named: what the sentence names to be moved.

    distance_m: of the thing from its place at the end; NaN where a family has no place, or nothing is seen
    """

    named: str
    moved: tuple[str, ...]
    placed: bool
    distance_m: float

    @property
    def right_thing(self) -> bool:
        """The named thing moved, and nothing moved farther."""
        return self.moved[:1] == (self.named,)

    @property
    def success(self) -> bool:
        """Right thing and right place."""
        return self.right_thing and self.placed


def judge(tracks: Tracks, instruction: str, card: EmbodimentCard) -> Followed:
    """Whether a film shows what the sentence asks for. KinemaError when the sentence asks for what cannot be
    judged in one clip (tidying up), or no camera stands still."""
    request = parse_instruction(instruction)
    if request.family not in _JUDGES:
        raise KinemaError(f"{request.family} cannot be judged from one clip; what can: {', '.join(_JUDGES)}")
    camera, pinhole = fixed_camera(card)
    scene = _Scene(tracks=tracks, camera=camera, pinhole=pinhole, card=card)
    return _JUDGES[request.family](scene, request.thing, request.place, request.kind)


@dataclass(frozen=True, kw_only=True)
class _Scene:
    tracks: Tracks
    camera: str
    pinhole: Pinhole
    card: EmbodimentCard

    def first(self, thing: str) -> np.ndarray:
        """u, v (2,) in the first frame that shows it; NaN when none does."""
        seen = _finite(self.tracks.path(thing, self.camera, SAID_FROM))
        return seen[0] if len(seen) else np.full(2, np.nan)

    def last(self, thing: str) -> np.ndarray:
        """u, v (2,) in the last frame that shows it, not long before the end."""
        seen = _finite(self.tracks.path(thing, self.camera, SAID_FROM)[-_LOOK_BACK:])
        return seen[-1] if len(seen) else np.full(2, np.nan)

    def shift_m(self, thing: str, z_m: float) -> np.ndarray:
        """How far it has moved over the table (2,)."""
        return (
            self.pinhole.at_height(self.last(thing), z_m) - self.pinhole.at_height(self.first(thing), z_m)
        )[:2]

    def moved(self, kind: str) -> tuple[str, ...]:
        """The things of a kind seen at first that have moved, the farthest first."""
        distances = {
            name: float(np.linalg.norm(self.shift_m(name, HALF_M)))
            for name in self.tracks.present(kind, self.camera)
        }
        moved = [name for name, distance in distances.items() if distance > MOVED_M]
        return tuple(sorted(moved, key=lambda name: -distances[name]))


def _finite(points: np.ndarray) -> np.ndarray:
    return points[np.isfinite(points).all(1)]


def _onto(scene: _Scene, thing: str, place: str, kind: str) -> Followed:
    """A block goes onto a place of some kind and stays there."""
    rests_z_m, place_z_m, reach_m = _RESTS[kind]
    block, goal = f"{thing} block", f"{place} {kind}".strip()
    # what rests on it may hide the place: where it was at first, unless it is a block that can be moved
    where = scene.pinhole.at_height(scene.first(goal), place_z_m)
    at = scene.pinhole.at_height(scene.last(block), rests_z_m)
    distance_m = float(np.linalg.norm((at - where)[:2]))
    return Followed(
        named=block, moved=scene.moved("block"), placed=distance_m < reach_m + _SLACK_M, distance_m=distance_m
    )


def _tidy(scene: _Scene, thing: str, place: str, kind: str) -> Followed:
    """One named block goes into the box; all of them take longer than a clip."""
    if not thing:
        raise KinemaError(
            "tidying up takes longer than a clip; what can be judged: put the red block in the box"
        )
    return _onto(scene, thing, "", "box")


def _press(scene: _Scene, thing: str, place: str, kind: str) -> Followed:
    """Which buttons go down: seen up at first, and down in a later frame in which a gripper is on them."""
    tracks, nan = scene.tracks, float("nan")
    grippers = tracks.grippers(scene.camera)  # (F, A, 2)
    pressed: dict[str, float] = {}
    for name in tracks.present("button", scene.camera):
        down = tracks.probability(name.replace(" button", " pressed button"))
        away = np.nan_to_num(np.linalg.norm(grippers - scene.first(name), axis=-1), nan=np.inf).min(1)
        touched = (down >= SEEN_FROM) & (away < _ON_BUTTON_UV)
        if down[0] < SEEN_FROM and touched[1:].any():
            pressed[name] = float(down[1:].mean())
    moved = tuple(sorted(pressed, key=lambda name: -pressed[name]))
    named = f"{thing} button"
    return Followed(named=named, moved=moved, placed=moved == (named,), distance_m=nan)


def _drawer(scene: _Scene, thing: str, place: str, kind: str) -> Followed:
    """The handle moves towards the robot to open, away from it to close."""
    outwards = -work_area(scene.card).turn(1.0, 0.0)
    shift_m = float(scene.shift_m("drawer handle", _HANDLE_Z_M) @ outwards)
    wanted_m = shift_m if kind == "open" else -shift_m
    moved = ("drawer handle",) if abs(shift_m) > MOVED_M else ()
    return Followed(
        named="drawer handle", moved=moved, placed=wanted_m > _DRAWER_MOVED_M, distance_m=float("nan")
    )


def _lift(scene: _Scene, thing: str, place: str, kind: str) -> Followed:
    """Both handles of the tray rise straight up."""
    rises = {}
    for name in ("right tray handle", "left tray handle"):
        foot = scene.pinhole.at_height(scene.first(name), _TRAY_HANDLE_Z_M)
        last = scene.last(name)
        known = np.isfinite(foot).all() and np.isfinite(last).all()
        rises[name] = scene.pinhole.height_over(last, foot) - _TRAY_HANDLE_Z_M if known else float("nan")
    seen = [rise for rise in rises.values() if np.isfinite(rise)]
    up = bool(seen) and min(seen) > _LIFTED_M
    named = "right tray handle"
    moved = (named,) if seen and max(seen) > MOVED_M else ()
    return Followed(named=named, moved=moved, placed=up, distance_m=float("nan"))


_JUDGES: dict[str, Callable[[_Scene, str, str, str], Followed]] = {
    "pick_place": _onto,
    "push": lambda scene, thing, place, kind: _onto(scene, thing, place, "area"),
    "stack": lambda scene, thing, place, kind: _onto(scene, thing, place, "block"),
    "button": _press,
    "drawer": _drawer,
    "lift_two_arms": _lift,
    "tidy": _tidy,
}
FAMILIES = ("pick_place", "push", "stack", "button", "drawer", "lift_two_arms")  # each episode fits a clip
