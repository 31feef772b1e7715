"""The crossing's lanes as lines to follow. Right-hand traffic, two lanes each way; metres and radians.

Two roads cross at the origin. `approach` k in 0 ... 3 is the one on which a car comes with heading k * 90
degrees. Lane 0 is the inner (left) one, lane 1 the outer. Axes: N points along a line, a quarter metre apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.schema import KinemaError

LANE_M = 3.5
CROSSING_M = 11.0  # half the side of the paved square
STOP_LINE_M = 12.0  # of the crossing's middle
REACH_M = 60.0
MANOEUVRES = ("left", "straight", "right")
_SPACING_M = 0.25


@dataclass(frozen=True)
class Line:
    """A smooth line: points (N, 2) and its heading (N,) at each, both at equal distances along it."""

    points: np.ndarray
    heading: np.ndarray
    curvature: np.ndarray

    @property
    def length_m(self) -> float:
        return _SPACING_M * (len(self.points) - 1)

    def along(self, place: np.ndarray) -> float:
        """How far along the line its point nearest to `place` (2,) lies [m]."""
        return _SPACING_M * int(np.argmin(np.sum((self.points - place) ** 2, axis=1)))

    def aside(self, place: np.ndarray) -> float:
        """How far to the left of the line a place (2,) is [m]."""
        i = int(np.argmin(np.sum((self.points - place) ** 2, axis=1)))
        offset = place - self.points[i]
        return float(np.cos(self.heading[i]) * offset[1] - np.sin(self.heading[i]) * offset[0])

    def at(self, along_m: float) -> tuple[np.ndarray, float]:
        """Point (2,) and heading so far along; beyond its end the line goes on straight."""
        i = int(np.clip(along_m / _SPACING_M, 0, len(self.points) - 1))
        beyond = along_m - np.clip(along_m, 0, self.length_m)
        direction = np.array([np.cos(self.heading[i]), np.sin(self.heading[i])])
        return self.points[i] + beyond * direction, float(self.heading[i])

    def sharpest(self, along_m: float, ahead_m: float) -> float:
        """The largest curvature [1/m] within `ahead_m` from there."""
        i = int(np.clip(along_m / _SPACING_M, 0, len(self.points) - 2))
        return float(np.abs(self.curvature[i : i + int(ahead_m / _SPACING_M) + 1]).max())


def line(approach: int, lane: int, manoeuvre: str) -> Line:
    """The way over the crossing from a lane of an approach. Raises KinemaError naming the choices."""
    if manoeuvre not in MANOEUVRES or approach not in range(4) or lane not in (0, 1):
        raise KinemaError(
            f"no way {manoeuvre!r} from lane {lane} of approach {approach}; "
            f"choices: {', '.join(MANOEUVRES)}, lanes 0 and 1, approaches 0 to 3"
        )
    offset = (lane + 0.5) * LANE_M
    if manoeuvre == "straight":
        points = np.array([[-REACH_M, -offset], [REACH_M, -offset]])
    else:
        side = 1.0 if manoeuvre == "left" else -1.0
        radius = CROSSING_M + side * offset
        turn = np.linspace(0, np.pi / 2, 60)
        arc = np.stack([-CROSSING_M + radius * np.sin(turn), side * (CROSSING_M - radius * np.cos(turn))], 1)
        points = np.concatenate([[[-REACH_M, -offset]], arc, [[arc[-1, 0], side * REACH_M]]])
    return _resampled(points @ _rotation(approach).T)


def _rotation(approach: int) -> np.ndarray:
    """(2, 2) from the frame of a car that comes with heading 0 to the world's; exact quarter turns."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][approach]
    return np.array([[cosine, -sine], [sine, cosine]], np.float64)


def _resampled(points: np.ndarray) -> Line:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.arange(0.0, along[-1], _SPACING_M)
    dense = np.stack([np.interp(wanted, along, points[:, axis]) for axis in (0, 1)], 1)
    tangent = np.gradient(dense, axis=0)
    heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    return Line(dense, heading, np.gradient(heading, _SPACING_M))


def to_approach(approach: int, place: np.ndarray) -> np.ndarray:
    """A place (2,) in the frame in which a car of that approach comes along +x."""
    return _rotation(approach).T @ place


def on_the_road(place: np.ndarray, margin_m: float = 0.0) -> bool:
    """Whether a place (2,) is paved."""
    x, y = np.abs(place)
    wide = 2 * LANE_M + margin_m
    return bool(min(x, y) <= wide or max(x, y) <= CROSSING_M + margin_m)


def wrapped(angle_rad: float) -> float:
    """The same angle in [-pi, pi)."""
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)
