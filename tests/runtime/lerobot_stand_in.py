"""Bodies that behave as lerobot's followers do, for machines without lerobot.

Read from lerobot 0.4.4 and 0.6.1: positions in ticks are calibrated, normalised and cut off as its motor bus
does, goals lose what is less than a tick, `disconnect` lets go of the torque by default, and what fails
raises what it raises there. `test_lerobot_real.py` compares this with lerobot's own classes where it is
installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

MOTORS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
TICKS = 4096


class NormMode(Enum):
    RANGE_0_100 = "range_0_100"
    RANGE_M100_100 = "range_m100_100"
    DEGREES = "degrees"


class DeviceNotConnectedError(ConnectionError):
    pass


@dataclass
class Motor:
    id: int
    model: str
    norm_mode: NormMode


@dataclass
class Calibration:
    id: int
    range_min: int
    range_max: int
    drive_mode: int = 0
    homing_offset: int = 0


@dataclass
class Config:
    port: str = "/dev/ttyACM0"
    use_degrees: bool = True
    disable_torque_on_disconnect: bool = True
    max_relative_target: float | None = None
    cameras: tuple[str, ...] = ("front", "wrist")


@dataclass
class Bus:
    motors: dict[str, Motor]
    apply_drive_mode: bool = True
    model_resolution_table: dict[str, int] = field(default_factory=lambda: {"sts3215": TICKS})


def calibrations(**limits: tuple[int, int]) -> dict[str, Calibration]:
    """As a person's arm has them: about the ranges of the maker's model, a full turn of the roll."""
    usual = {
        "shoulder_pan": (800, 3300),
        "shoulder_lift": (900, 3180),
        "elbow_flex": (950, 3150),
        "wrist_flex": (970, 3130),
        "wrist_roll": (0, 4095),
        "gripper": (2030, 3400),
    }
    return {
        name: Calibration(id=i + 1, range_min=low, range_max=high)
        for i, (name, (low, high)) in enumerate((usual | limits).items())
    }


class StandIn:
    """lerobot's SOFollower over servos that go where they are told, at most `reach` ticks at once."""

    name = "so_follower"
    calibration_fpath = "so_follower/my_arm.json"

    apply_drive_mode = True  # Feetech; Dynamixel motors turn round by themselves

    def __init__(
        self, ticks: dict[str, int], config: Config | None = None, calibration: Any = None, reach: int = TICKS
    ) -> None:
        self.config = config or Config()
        body = NormMode.DEGREES if self.config.use_degrees else NormMode.RANGE_M100_100
        self.bus = Bus(
            {
                name: Motor(i + 1, "sts3215", NormMode.RANGE_0_100 if name == "gripper" else body)
                for i, name in enumerate(ticks)
            },
            apply_drive_mode=self.apply_drive_mode,
        )
        self.calibration = calibrations() if calibration is None else calibration
        self.is_calibrated = True
        self.ticks, self.torque, self.reach = dict(ticks), True, reach
        self.goals: list[dict[str, int]] = []
        self.failures: list[Exception] = []  # raised by the next readings, one each
        self._open = False

    @property
    def is_connected(self) -> bool:
        return self._open

    @property
    def action_features(self) -> dict[str, Any]:
        return {f"{motor}.pos": float for motor in self.bus.motors}

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, **{name: (48, 64, 3) for name in self.config.cameras}}

    def connect(self, calibrate: bool = True) -> None:
        if not self.is_calibrated and calibrate:
            raise AssertionError("lerobot would ask a person to calibrate here")
        self._open = True

    def get_observation(self) -> dict[str, Any]:
        self._require()
        if self.failures:
            raise self.failures.pop(0)
        pictures = {name: np.full((48, 64, 3), 7, np.uint8) for name in self.config.cameras}
        return {f"{m}.pos": self.normalised(m, t) for m, t in self.ticks.items()} | pictures

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self._require()
        goals = {key.removesuffix(".pos"): value for key, value in action.items() if key.endswith(".pos")}
        most = self.config.max_relative_target
        if most is not None:
            now = {m: self.normalised(m, t) for m, t in self.ticks.items()}
            goals = {m: now[m] + max(min(g - now[m], most), -most) for m, g in goals.items()}
        raw = {motor: self.raw(motor, goal) for motor, goal in goals.items()}
        self.goals.append(raw)
        for motor, goal in raw.items():
            self.ticks[motor] += max(min(goal - self.ticks[motor], self.reach), -self.reach)
        return {f"{motor}.pos": goal for motor, goal in goals.items()}

    def disconnect(self) -> None:
        self._require()
        self._open, self.torque = False, not self.config.disable_torque_on_disconnect

    def now(self) -> dict[str, int]:
        return dict(self.ticks)

    def normalised(self, motor: str, ticks: int) -> float:
        low, high, backwards = self._limits(motor)
        cut = min(high, max(low, ticks))
        mode = self.bus.motors[motor].norm_mode
        if mode is NormMode.DEGREES:
            return (ticks - (low + high) / 2) * 360 / (TICKS - 1)
        part = (cut - low) / (high - low)
        if mode is NormMode.RANGE_M100_100:
            return -(part * 200 - 100) if backwards else part * 200 - 100
        return 100 - part * 100 if backwards else part * 100

    def raw(self, motor: str, value: float) -> int:
        low, high, backwards = self._limits(motor)
        mode = self.bus.motors[motor].norm_mode
        if mode is NormMode.DEGREES:
            return int(value * (TICKS - 1) / 360 + (low + high) / 2)
        if mode is NormMode.RANGE_M100_100:
            value = -value if backwards else value
            return int((min(100.0, max(-100.0, value)) + 100) / 200 * (high - low) + low)
        value = 100 - value if backwards else value
        return int(min(100.0, max(0.0, value)) / 100 * (high - low) + low)

    def _limits(self, motor: str) -> tuple[int, int, bool]:
        calibration = self.calibration[motor]
        backwards = self.apply_drive_mode and bool(calibration.drive_mode)
        return calibration.range_min, calibration.range_max, backwards

    def _require(self) -> None:
        if not self._open:
            raise DeviceNotConnectedError("SOFollower is not connected. Run `.connect()` first.")


class ViperX(StandIn):
    """lerobot 0.3's ViperX, which that release cannot make: two joints with a second motor, -100 to 100."""

    name = "viperx"
    apply_drive_mode = False
    JOINTS = (
        "waist", "shoulder", "shoulder_shadow", "elbow", "elbow_shadow", "forearm_roll", "wrist_angle",
        "wrist_rotate", "gripper",
    )  # fmt: skip

    def __init__(self, share: float, cameras: tuple[str, ...] = ()) -> None:
        limits = {n: Calibration(i + 1, 700 + 10 * i, 3300, drive_mode=1) for i, n in enumerate(self.JOINTS)}
        ticks = {n: int(c.range_min + share * (c.range_max - c.range_min)) for n, c in limits.items()}
        super().__init__(ticks, Config(use_degrees=False, cameras=cameras), limits)


class TwoArms:
    """lerobot's bimanual robots: two arms, their keys with left_ and right_, cameras of the robot without."""

    name = "bi_so_follower"

    def __init__(self, left: StandIn, right: StandIn, cameras: tuple[str, ...] = ()) -> None:
        self.left_arm, self.right_arm, self._cameras = left, right, cameras

    @property
    def is_connected(self) -> bool:
        return self.left_arm.is_connected and self.right_arm.is_connected

    @property
    def is_calibrated(self) -> bool:
        return self.left_arm.is_calibrated and self.right_arm.is_calibrated

    @property
    def action_features(self) -> dict[str, Any]:
        return self._prefixed(lambda arm: arm.action_features)

    @property
    def observation_features(self) -> dict[str, Any]:
        return self._prefixed(lambda arm: arm.observation_features) | dict.fromkeys(
            self._cameras, (48, 64, 3)
        )

    def connect(self, calibrate: bool = True) -> None:
        self.left_arm.connect(calibrate)
        self.right_arm.connect(calibrate)

    def get_observation(self) -> dict[str, Any]:
        pictures = {name: np.full((48, 64, 3), 7, np.uint8) for name in self._cameras}
        return self._prefixed(lambda arm: arm.get_observation()) | pictures

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        def part(prefix: str) -> dict[str, Any]:
            return {k.removeprefix(prefix): v for k, v in action.items() if k.startswith(prefix)}

        left, right = self.left_arm.send_action(part("left_")), self.right_arm.send_action(part("right_"))
        return {f"left_{k}": v for k, v in left.items()} | {f"right_{k}": v for k, v in right.items()}

    def disconnect(self) -> None:
        self.left_arm.disconnect()
        self.right_arm.disconnect()

    def _prefixed(self, of: Any) -> dict[str, Any]:
        left, right = of(self.left_arm), of(self.right_arm)
        return {f"left_{k}": v for k, v in left.items()} | {f"right_{k}": v for k, v in right.items()}
