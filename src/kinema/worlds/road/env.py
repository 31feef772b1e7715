"""The driving world: one car, told in a sentence what to do at a crossing with traffic.

The motion is computed here; MuJoCo only draws it. Axes: V cameras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.schema import KinemaError, Observation
from kinema.worlds.road.cars import NOSE_M, Pose, Traffic, collide, drive
from kinema.worlds.road.goals import GOALS, Goal, phrase
from kinema.worlds.road.lanes import (
    CROSSING_M,
    LANE_M,
    REACH_M,
    STOP_LINE_M,
    line,
    on_the_road,
    to_approach,
    wrapped,
)
from kinema.worlds.road.scene import RoadScene
from kinema.worlds.variation import COLORS, SEEN, Variation

LIMIT_S = 20.0  # of an episode
_WAYS = {"turn_left": "left", "turn_right": "right"}
_CALM_S = 0.5  # how long what is asked for must last
_SETTLED_S = 3.0  # a new lane: wheels that turn at random cross one too
# Before a car that is to go straight on, or to follow, another one waits: so long that whoever minds nobody
# runs into it, at any speed at which the goal can be reached in time.
_WAITS_S = {"go_straight": (8.0, 10.0), "follow": (4.0, 5.0)}
_NEARER_M = 10.0


class RoadEnv:
    """One goal, thousands of episodes. Pixels are rendered only by `observe`; close it to free them."""

    def __init__(
        self,
        *,
        goal: str,
        card: EmbodimentCard | None = None,
        variation: Variation = SEEN,
        image_size: int = 96,
    ) -> None:
        """Raises KinemaError for an unknown goal or a body that does not drive."""
        if goal not in GOALS:
            raise KinemaError(f"the road has no goal {goal!r}; choices: {', '.join(GOALS)}")
        self.card = card or load_card("car")
        if self.card.control != "drive":
            raise KinemaError(f"{self.card.name} does not drive; the road is for cards with control: drive")
        self.family, self.variation = goal, variation
        self.max_steps = round(LIMIT_S * self.card.control_hz)
        self._asked_s = _SETTLED_S if goal.startswith("change") else _CALM_S
        self._scene = RoadScene(self.card, image_size)
        self.instruction = ""

    def reset(self, seed: int) -> None:
        """Draw approach, lane, traffic, colours and sentence from the seed."""
        rng = np.random.default_rng([seed, 0x726F61])
        self.approach = int(rng.integers(4))
        self.lane = {"turn_left": 0, "turn_right": 1, "change_left": 1, "change_right": 0}.get(
            self.family, int(rng.integers(2))
        )
        colors = [str(color) for color in rng.permutation(list(COLORS))]
        way = _WAYS.get(self.family, "straight")
        if self.family == "follow":
            way = str(rng.choice(["straight", "left" if self.lane == 0 else "right"]))
        self.start_line = line(self.approach, self.lane, way)
        self.line = self.start_line
        if self.family.startswith("change"):
            self.line = line(self.approach, 1 - self.lane, "straight")
        along = float(rng.uniform(6.0, 16.0)) + (_NEARER_M if self.family == "go_straight" else 0.0)
        place, heading = self.start_line.at(along)
        self.car = Pose(x=float(place[0]), y=float(place[1]), heading=heading, speed=float(rng.uniform(3, 6)))
        self.traffic = self._draw_traffic(rng, along, way, colors)
        color = self.traffic[0].color if self.family == "follow" else ""
        self.goal: Goal = phrase(rng, self.family, color=color, held_out=self.variation.instruction)
        self.instruction = self.goal.text
        self.time_s, self._calm_s, self.crashed, self.left_road = 0.0, 0.0, False, False
        self._near = True
        self._scene.dress(rng, held_out=self.variation.background)
        self._scene.paint(rng, [car.color for car in self.traffic], held_out=self.variation.color)
        self._scene.show(self.car, self.traffic)

    def _draw_traffic(
        self, rng: np.random.Generator, along: float, way: str, colors: list[str]
    ) -> list[Traffic]:
        """Who else is there: a car to follow, some that come towards us, some that wait at the side roads,
        and one that waits for a while before a car that is to go straight on."""
        cars: list[Traffic] = []

        def add(approach: int, lane: int, at_m: float, speed: float, manoeuvre: str = "straight") -> None:
            way = line((self.approach + approach) % 4, lane, manoeuvre)
            cars.append(Traffic(way, at_m, speed, speed, colors[len(cars) % len(colors)]))

        if self.family == "go_straight":
            add(0, self.lane, REACH_M - STOP_LINE_M - NOSE_M - 1.0, float(rng.uniform(6.0, 8.0)))

        if self.family == "follow":
            add(0, self.lane, along + float(rng.uniform(10, 16)), float(rng.uniform(5.0, 6.5)), way)
        elif self.family.startswith("change") and rng.random() < 0.5:
            add(0, 1 - self.lane, along + float(rng.uniform(-6, 14)), float(rng.uniform(3, 7)))
        if self.family in _WAITS_S:
            cars[0] = replace(cars[0], speed=0.0, waits_s=float(rng.uniform(*_WAITS_S[self.family])))
        if way != "left" or self.family != "follow":  # whoever leads does not know how to give way
            for lane in (0, 1):
                if rng.random() < 0.5:
                    add(2, lane, float(rng.uniform(5, 60)), float(rng.uniform(4, 8)))
        for side in (1, 3):
            if rng.random() < 0.4:
                add(side, int(rng.integers(2)), REACH_M - STOP_LINE_M - NOSE_M - 1.0, 0.0)
        return cars

    def step(self, action: np.ndarray) -> None:
        """One control period with (speed, steering). Raises KinemaError when wrong or non-finite."""
        action = np.asarray(action, np.float64)
        if action.shape != (2,) or not np.isfinite(action).all():
            raise KinemaError(f"an action is (speed, steering), both finite; got {action}")
        speed, steering = self.clamp(action)
        dt_s = 1.0 / self.card.control_hz
        before = [self.car, *(car.pose for car in self.traffic)]
        self.car = drive(self.car, float(speed), float(steering), dt_s)
        self.traffic = [
            car.moved(dt_s, before[: i + 1] + before[i + 2 :]) for i, car in enumerate(self.traffic)
        ]
        self.time_s += dt_s
        self.crashed |= any(collide(self.car, car.pose) for car in self.traffic)
        self.left_road |= not on_the_road(self.car.center)
        self._calm_s = self._calm_s + dt_s if self.holds() else 0.0
        self._near &= self.family != "follow" or self._gap_m() < 25.0
        self._scene.show(self.car, self.traffic)

    def clamp(self, action: np.ndarray) -> np.ndarray:
        low, high = np.array([channel.range for channel in self.card.actions]).T
        return np.clip(action, low, high)

    def observe(self, render: bool = True) -> Observation:
        """What the car senses now; without `render`, no images."""
        return Observation(
            images=self._scene.render() if render else {},
            state=self.state(),
            instruction=self.instruction,
            time_s=self.time_s,
        )

    def state(self) -> np.ndarray:
        """x, y, heading, speed, steering (5,) float32."""
        car = self.car
        return np.array([car.x, car.y, wrapped(car.heading), car.speed, car.steering], np.float32)

    def points(self) -> np.ndarray:
        """Pointing labels (V, 2, 3): the car to follow (or the way 12 m ahead), and where the way leads."""
        ahead, _ = self.line.at(self.line.along(self.car.axle) + 12.0)
        thing = self.traffic[0].pose.center if self.family == "follow" else ahead
        return self._scene.project(np.array([[*thing, 0.7], [*self.aim(), 0.3]]))

    def aim(self) -> np.ndarray:
        """Where the goal is (2,)."""
        if self.family == "stop":
            return self.line.at(REACH_M - STOP_LINE_M)[0]
        if self.family.startswith("change"):
            return self.line.at(self.line.along(self.car.axle) + 15.0)[0]
        return self.line.at(self.line.length_m - REACH_M + CROSSING_M + 12.0)[0]

    def success(self) -> bool:
        """Whether the goal is reached, without a crash and on the road all the way."""
        return self._calm_s > self._asked_s - 1e-9 and not self.crashed and not self.left_road

    def over(self) -> bool:
        """Nothing can be made good any more."""
        return self.crashed or self.left_road

    def _gap_m(self) -> float:
        return float(np.linalg.norm(self.traffic[0].pose.center - self.car.center))

    def holds(self) -> bool:
        """Whether what is asked for is so at this moment."""
        x, _ = to_approach(self.approach, self.car.nose)
        along = self.line.along(self.car.axle)
        turned = abs(wrapped(self.car.heading - self.line.at(along)[1])) < np.radians(12)
        in_lane = abs(self.line.aside(self.car.axle)) < 0.3 * LANE_M and turned
        if self.family == "stop":
            return self.car.speed < 0.1 and -STOP_LINE_M - 4.0 < x < -STOP_LINE_M + 0.5
        if self.family.startswith("change"):
            return abs(self.line.aside(self.car.axle)) < 0.35 and turned and x < CROSSING_M
        passed = in_lane and along > self.line.length_m - REACH_M + CROSSING_M + 6.0
        return passed and (self.family != "follow" or (self._near and self._gap_m() < 20.0))

    def measures(self) -> Mapping[str, float]:
        return {"time_s": self.time_s, "speed_m_s": self.car.speed, "aside_m": self.line.aside(self.car.axle)}

    def close(self) -> None:
        self._scene.close()
