"""Six things that an arm is asked to do, as sentences with places and the courses that do them.

    reach   a place, the joints' shortest way        shift  some way along an axis, straight
    lift    take what is somewhere, and lift it      carry  take it from one place to another
    circle  around a point beside the tool           home   the pose that the card calls so

Places are in the body's own axes (forward, left, up) from the robot's origin, to the centimetre.

Axes: n courses, L control points, 3 forward, left and up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

POINTS = 55  # of a course: six to each of nine legs, and one to begin with
_ABOVE_M = 0.08  # what is taken is come to from above
_LOWEST = 0.2  # of the places: where things lie
_WORDS = (("ahead", "behind"), ("to the left", "to the right"), ("up", "below"))
_TOWARDS = ("forward", "back", "left", "right", "up", "down")


@dataclass(frozen=True, kw_only=True)
class Course:
    """What the tool does, and the sentence that asks for it.

    way: "tool" along `tool_m`; "joints" the joints' own way to its end, or to the pose called "home"
    """

    sentences: Sequence[str]  # n
    tool_m: np.ndarray  # (n, L, 3)
    opening: np.ndarray  # (n, L), 0 closed to 1 open
    way: Literal["tool", "joints", "home"] = "tool"


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where a tool may go: a box (3, 2), and places in it (m, 3), to the centimetre, that the arm reaches."""

    box_m: np.ndarray
    places_m: np.ndarray

    def anywhere(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Places (n, 3)."""
        return self.places_m[rng.integers(len(self.places_m), size=count)]

    def lying(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Places (n, 3) among the lowest, where things lie."""
        heights = self.places_m[:, 2]
        lowest = self.places_m[heights <= np.quantile(heights, _LOWEST)]
        return lowest[rng.integers(len(lowest), size=count)]


# What makes courses from chance, starts (n, 3) and where an arm's tool may go.
Template = Callable[[np.random.Generator, np.ndarray, Room], Course]


def reach(rng: np.random.Generator, start_m: np.ndarray, room: Room) -> Course:
    goal_m = room.anywhere(rng, len(start_m))
    verbs = rng.choice(["move the tool to the place", "go to the point", "reach"], len(goal_m))
    return Course(
        sentences=[f"{verb} {_place(goal)}" for verb, goal in zip(verbs, goal_m)],
        tool_m=_legs(start_m, goal_m), opening=_kept(rng, len(goal_m)), way="joints",
    )  # fmt: skip


def shift(rng: np.random.Generator, start_m: np.ndarray, room: Room) -> Course:
    rows, axis = np.arange(len(start_m)), rng.integers(0, 3, len(start_m))
    by_m = np.round((room.anywhere(rng, len(rows)) - start_m)[rows, axis], 2)
    inwards = np.sign(room.box_m.mean(1)[axis] - start_m[rows, axis])
    by_m = np.where(np.abs(by_m) < 0.02, 0.05 * np.where(inwards == 0, 1, inwards), by_m)
    goal_m = start_m.copy()
    goal_m[rows, axis] += by_m
    towards = [_TOWARDS[2 * a + (d < 0)] for a, d in zip(axis, by_m)]
    return Course(
        sentences=[f"move {_cm(abs(d))} {where}" for d, where in zip(by_m, towards)],
        tool_m=_legs(start_m, goal_m), opening=_kept(rng, len(rows)),
    )  # fmt: skip


def circle(rng: np.random.Generator, start_m: np.ndarray, room: Room) -> Course:
    rows = len(start_m)
    radius_m = np.round(rng.uniform(0.02, min(0.08, np.ptp(room.box_m, axis=1)[:2].min() / 4), rows), 2)
    quarter, turns = rng.integers(0, 4, rows), rng.choice([-1.0, 1.0], rows)
    from_centre = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])[quarter]  # forward, back, left, right
    angle = 2 * np.pi * turns[:, None] * progress(np.linspace(0, 1, POINTS))
    cosine, sine = np.cos(angle), np.sin(angle)
    tool_m = np.repeat(start_m[:, None], POINTS, 1)
    x, y = (radius_m * from_centre.T)[:, :, None]
    tool_m[..., 0] += x * (cosine - 1) - y * sine
    tool_m[..., 1] += x * sine + y * (cosine - 1)
    senses = np.where(turns > 0, "anticlockwise", "clockwise")
    return Course(
        sentences=[
            f"draw a circle {sense} around the point {_cm(r)} {_TOWARDS[q]}"
            for sense, r, q in zip(senses, radius_m, quarter)
        ],
        tool_m=tool_m, opening=_kept(rng, rows),
    )  # fmt: skip


def home(rng: np.random.Generator, start_m: np.ndarray, room: Room) -> Course:
    words = rng.choice(["go home", "move back to the home pose", "return to the start pose"], len(start_m))
    return Course(
        sentences=words.tolist(), tool_m=_legs(start_m, start_m), opening=_kept(rng, len(words)), way="home"
    )


def lift(rng: np.random.Generator, start_m: np.ndarray, room: Room) -> Course:
    thing_m = room.lying(rng, len(start_m))
    most_m = min(0.3, np.ptp(room.box_m[2]) / 2)
    by_m = np.round(rng.uniform(min(0.05, most_m), most_m, len(start_m)), 2)
    raised_m = thing_m + by_m[:, None] * np.array([0, 0, 1])
    verbs = rng.choice(["pick up what is", "take the thing"], len(by_m))
    return Course(
        sentences=[f"{v} {_place(p)} and lift it {_cm(h)}" for v, p, h in zip(verbs, thing_m, by_m)],
        tool_m=_legs(start_m, _above(thing_m, room), thing_m, thing_m, raised_m),
        opening=_opening(len(by_m), 1, 1, 1, 0, 0),
    )  # fmt: skip


def carry(rng: np.random.Generator, start_m: np.ndarray, room: Room) -> Course:
    thing_m, goal_m = (room.lying(rng, len(start_m)) for _ in range(2))
    over, beyond = _above(thing_m, room), _above(goal_m, room)
    return Course(
        sentences=[f"put what is {_place(a)} down {_place(b)}" for a, b in zip(thing_m, goal_m)],
        tool_m=_legs(start_m, over, thing_m, thing_m, over, beyond, goal_m, goal_m, beyond),
        opening=_opening(len(goal_m), 1, 1, 1, 0, 0, 0, 0, 1, 1),
    )  # fmt: skip


TEMPLATES: dict[str, Template] = {
    "reach": reach, "shift": shift, "lift": lift, "carry": carry, "circle": circle, "home": home
}  # fmt: skip


def _above(place_m: np.ndarray, room: Room) -> np.ndarray:
    higher = np.minimum(place_m[:, 2] + _ABOVE_M, room.box_m[2, 1])
    return np.column_stack([place_m[:, :2], higher])


def _legs(*stops_m: np.ndarray) -> np.ndarray:
    """Courses (n, L, ...) from stop to stop (n, ...), all legs in the same time, each at rest at its ends."""
    at = np.linspace(0, len(stops_m) - 1, POINTS)
    leg = np.minimum(at.astype(int), len(stops_m) - 2)
    stops = np.stack(stops_m, 1)
    share = progress(at - leg).reshape(-1, *[1] * (stops.ndim - 2))
    return stops[:, leg] + share * (stops[:, leg + 1] - stops[:, leg])


def progress(share: np.ndarray) -> np.ndarray:
    """The way covered in a share of the time by the motion of least jerk (Flash and Hogan 1985)."""
    return share**3 * (10 - 15 * share + 6 * share**2)


def _opening(count: int, *stops: float) -> np.ndarray:
    return _legs(*(np.full(count, float(stop)) for stop in stops))


def _kept(rng: np.random.Generator, count: int) -> np.ndarray:
    """A tool that is open or closed, and stays so."""
    return np.repeat(rng.integers(0, 2, (count, 1)).astype(float), POINTS, 1)


def _cm(length_m: float) -> str:
    return f"{100 * length_m:.0f} cm"


def _place(place_m: np.ndarray) -> str:
    ahead, left, up = (f"{_cm(abs(x))} {words[bool(x < 0)]}" for x, words in zip(place_m, _WORDS))
    return f"{ahead}, {left} and {up}"
