"""The house world: a base that is told in a sentence where to go, seen from its camera.

The motion is computed here, on the grid of free space; MuJoCo only draws it. The base stops for good, and so
says that it has arrived, when it stands still for a second. Axes: V cameras, N steps that were taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kinema.card.card import Camera, EmbodimentCard
from kinema.card.load import load_card
from kinema.schema import KinemaError, Observation
from kinema.worlds.house.errands import ERRANDS, PERSON_AHEAD_M, SUCCESS_M, Errand, draw
from kinema.worlds.house.free_space import CELL_M, FreeSpace
from kinema.worlds.house.generate import generate
from kinema.worlds.house.house import House
from kinema.worlds.house.scene import HouseScene
from kinema.worlds.variation import SEEN, Variation

LIMIT_S = 60.0  # of an episode
STOP_S = 1.0
STILL_M, STILL_RAD = 0.05, 0.05  # a waypoint no further away is no motion
_SUBSTEP_M = 0.05
_PERSON_M_S = 0.7
_IN_VIEW_RAD = np.radians(45)
_LINGER_S = 2.0  # after whoever is followed has arrived


class HouseEnv:
    """One kind of errand, a house of its own for every seed.

    Pixels are rendered only by `observe`; close it to free them.
    positions:   (2,) after every step, the start first
    distances_m: to the goal, at the same moments
    """

    def __init__(
        self,
        *,
        errand: str = "instruction",
        card: EmbodimentCard | None = None,
        variation: Variation = SEEN,
        image_size: int = 96,
        houses: Sequence[House] = (),
    ) -> None:
        """houses: those that are played in, by turns of the seed; none: one is drawn for every seed

        Raises KinemaError for an unknown errand or a body that does not take waypoints."""
        if errand not in ERRANDS:
            raise KinemaError(f"a house has no errand {errand!r}; choices: {', '.join(ERRANDS)}")
        self.card = card or load_card("wheeled_base")
        if self.card.control != "waypoints":
            raise KinemaError(
                f"{self.card.name} takes no waypoints; a house is for cards with control: waypoints"
            )
        self.family, self.variation = errand, variation
        self._image_size, self._houses = image_size, tuple(houses)
        self._present = {camera: _present_of(self.card, camera) for camera in self.card.cameras}
        self._step_units = np.array([channel.step or 1.0 for channel in self.card.actions])
        self._scene: HouseScene | None = None
        self.instruction = ""
        self.max_steps = round(LIMIT_S * self.card.control_hz)

    def reset(self, seed: int) -> None:
        """Draw house, errand, colours and sentence from the seed."""
        rng = np.random.default_rng([seed, 0x65727261])
        if self._houses:
            house = self._houses[seed % len(self._houses)]
        else:
            house = generate(seed, held_out_shades=self.variation.color)
        errand = draw(self.family, house, FreeSpace(house), rng, held_out=self.variation.instruction)
        self.begin(house, errand, rng)

    def begin(self, house: House, errand: Errand, rng: np.random.Generator) -> None:
        """An errand in a house. rng: draws the colours of floors and walls"""
        self.house, self.errand = house, errand
        self.space, self.sight = FreeSpace(house), FreeSpace(house, 0.0, sight=True)
        self.instruction = errand.instruction
        self.close()
        self._scene = HouseScene(
            self.house, self.card, self._image_size, rng, held_out=self.variation.background
        )
        self.restart()

    def restart(self) -> None:
        """The same episode from its beginning."""
        self.pose = self.errand.start.copy()
        self._poses = [self.pose.copy()]
        self._seen: dict[int, dict[Camera, np.ndarray]] = {}  # by step
        self._still_s, self.bumps = 0.0, 0
        self.stopped = False
        self.kept_up: list[bool] = []  # with whoever is followed, after each step
        if self.person is not None:
            seconds = float(self.distances_m[0] - PERSON_AHEAD_M) / _PERSON_M_S + _LINGER_S
            self.max_steps = round(seconds * self.card.control_hz)

    @property
    def steps(self) -> int:
        return len(self._poses) - 1

    @property
    def time_s(self) -> float:
        return self.steps / self.card.control_hz

    @property
    def positions(self) -> np.ndarray:
        """(N + 1, 2)"""
        return np.array(self._poses)[:, :2]

    @property
    def distances_m(self) -> np.ndarray:
        """(N + 1,)"""
        return np.array([self.errand.distances[self.space.cell(place)] for place in self.positions])

    @property
    def person(self) -> np.ndarray | None:
        """x, y, heading of whoever is followed."""
        return self._person_at(self.steps)

    def _person_at(self, step: int) -> np.ndarray | None:
        """On the shortest way, a little ahead at first, then at a stroller's pace to its end."""
        if self.family != "follow":
            return None
        along = PERSON_AHEAD_M + _PERSON_M_S * step / self.card.control_hz
        steps = np.linalg.norm(np.diff(self.errand.way, axis=0), axis=1)
        i = min(int(np.searchsorted(np.cumsum(steps), along)), len(steps) - 1)
        ahead = self.errand.way[i + 1] - self.errand.way[max(i - 2, 0)]
        return np.array([*self.errand.way[i + 1], np.arctan2(ahead[1], ahead[0])])

    def step(self, action: np.ndarray) -> None:
        """Go to the next waypoint; once stopped, stay. Raises KinemaError for what is no action."""
        action = np.asarray(action, np.float64)
        if action.shape != (3,) or not np.isfinite(action).all():
            raise KinemaError(f"an action is (dx, dy, dtheta), all finite; got {action}")
        dx, dy, turn = self.clamp(action) * self._step_units
        still = np.hypot(dx, dy) < STILL_M and abs(turn) < STILL_RAD
        self._still_s = self._still_s + 1 / self.card.control_hz if still else 0.0
        if not self.stopped:
            self._move(np.array([dx, dy]), turn)
        self._poses.append(self.pose.copy())
        if self.person is None:
            self.stopped |= self._still_s > STOP_S - 1e-9
        else:
            self.kept_up.append(self._keeps_up(self.person))

    def _move(self, way: np.ndarray, turn: float) -> None:
        """In small steps; where one is blocked the base slides along what is in its way."""
        cosine, sine = np.cos(self.pose[2]), np.sin(self.pose[2])
        ahead = np.array([[cosine, -sine], [sine, cosine]]) @ way
        count = max(1, int(np.ceil(np.linalg.norm(ahead) / _SUBSTEP_M)))
        for _ in range(count):
            small = ahead / count
            for part in (small, small * [1, 0], small * [0, 1]):
                if self.space.is_free(self.pose[:2] + part):
                    self.pose[:2] += part
                    self.bumps += part is not small
                    break
        self.pose[2] = _wrapped(self.pose[2] + turn)

    def _keeps_up(self, person: np.ndarray) -> bool:
        """Whether whoever is followed is near, ahead and not behind a wall."""
        offset = person[:2] - self.pose[:2]
        bearing = _wrapped(float(np.arctan2(offset[1], offset[0])) - self.pose[2])
        near = np.linalg.norm(offset) < SUCCESS_M["follow"]
        return bool(near and abs(bearing) < _IN_VIEW_RAD and self.sight.sees(self.pose[:2], person[:2]))

    def clamp(self, action: np.ndarray) -> np.ndarray:
        low, high = np.array([channel.range for channel in self.card.actions]).T
        return np.clip(action, low, high)

    def observe(self, render: bool = True) -> Observation:
        """What the base senses now; without `render`, no images."""
        images = {camera.name: self._picture(camera) for camera in self.card.cameras} if render else {}
        return Observation(
            images=images, state=self.state(), instruction=self.instruction, time_s=self.time_s
        )

    def _picture(self, camera: Camera) -> np.ndarray:
        """uint8 (S, S, 3): what a camera sees, or saw that long ago; before the start, what it saw then."""
        step = max(0, self.steps - round(camera.ago_s * self.card.control_hz))
        if step not in self._seen:
            scene = self._show(step)
            self._seen[step] = dict(zip(self.card.present, scene.pictures(), strict=True))
        return self._seen[step][self._present[camera]].copy()

    def _show(self, step: int) -> HouseScene:
        if self._scene is None:
            raise KinemaError("a house is drawn by reset(seed); call it first")
        self._scene.show(self._poses[step], self._person_at(step))
        return self._scene

    def from_above(self) -> np.ndarray:
        """The whole house and the base in it, uint8 (S, S, 3), for people."""
        return self._show(self.steps).from_above()

    def state(self) -> np.ndarray:
        """x, y, heading since the start, in its frame (3,) float32."""
        start = self.errand.start
        cosine, sine = np.cos(start[2]), np.sin(start[2])
        x, y = np.array([[cosine, sine], [-sine, cosine]]) @ (self.pose[:2] - start[:2])
        return np.array([x, y, _wrapped(self.pose[2] - start[2])], np.float32)

    def points(self) -> np.ndarray:
        """Pointing labels (V, 2, 3): the floor where the way leads next, and its end where that is in sight.

        Cameras of the past have none.
        """
        ahead, goal = self.ahead(), self.goal()
        places = np.array([[*ahead, 0.05], [*goal, 0.3]])
        seen = self._show(self.steps).project(places)
        if not self.sight.sees(self.pose[:2], goal):
            seen[:, 1] = 0.0
        of = {camera: seen[i] for i, camera in enumerate(self.card.present)}
        nothing = np.zeros((2, 3), np.float32)
        return np.stack([of.get(camera, nothing) for camera in self.card.cameras])

    def goal(self) -> np.ndarray:
        """Where to go (2,)."""
        return self.errand.goal if self.person is None else self.person[:2]

    def ahead(self, reach_m: float = 1.0) -> np.ndarray:
        """The furthest point (2,) of the shortest way that is in a straight line and within reach."""
        way = self.space.way(self._to_goal(), self.pose[:2])[1 : 1 + round(reach_m / CELL_M)]
        straight = [place for place in way if self.space.sees(self.pose[:2], place)]
        return straight[-1] if straight else (way[0] if len(way) else self.pose[:2].copy())

    def _to_goal(self) -> np.ndarray:
        """Distances (H, W) to the goal."""
        if self.person is None:
            return self.errand.distances
        goal = np.zeros_like(self.space.free)
        goal[self.space.cell(self.person[:2])] = True
        return self.space.distances(goal)

    def success(self) -> bool:
        """Whether it has stopped near enough to the goal; of who follows, whether it still does."""
        if self.person is not None:
            return self.steps >= self.max_steps and self.kept_up[-1]
        return self.stopped and bool(self.distances_m[-1] < SUCCESS_M[self.family])

    def over(self) -> bool:
        """Nothing can be made good any more."""
        return self.stopped

    def measures(self) -> Mapping[str, float]:
        measured = {"time_s": self.time_s, "distance_m": float(self.distances_m[-1]), "bumps": self.bumps}
        if self.kept_up:
            measured["kept_up"] = float(np.mean(self.kept_up))
        return measured

    def close(self) -> None:
        if self._scene is not None:
            self._scene.close()
            self._scene = None


def _present_of(card: EmbodimentCard, camera: Camera) -> Camera:
    found = card.present_of(camera)
    if found is None:
        raise KinemaError(f"{card.name}: camera {camera.name} shows the past of no camera at its place")
    return found


def _wrapped(angle_rad: float) -> float:
    """The same angle in [-pi, pi)."""
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)
