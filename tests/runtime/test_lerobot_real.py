# ruff: noqa: N802, N815 (names of the makers' SDK)
"""lerobot's own followers, over servos made of numbers; only where lerobot is installed.

They are driven through the shipped adapter, and the stand-in of the other tests is compared with them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot.robots", reason="lerobot is not installed")

from lerobot_stand_in import MOTORS, Config, StandIn, calibrations
from test_lerobot_robots import LARGEST_FIRST_MOTION, MODES, SO101, first_motion, random_ticks

from kinema.runtime.lerobot_robots import LerobotRobot, make
from kinema.runtime.robot import Body
from kinema.schema import KinemaError


class Servos:
    """The registers of six servos, and the parts of the makers' SDK through which lerobot reaches them."""

    def __init__(self, table: dict[str, tuple[int, int]]) -> None:
        self.address = {name: address for name, (address, _) in table.items()}
        self.registers: dict[int, dict[int, int]] = {i: {} for i in range(1, 7)}
        self.start_address = self.data_length = 0
        self.ids: list[int] = []
        self.values: dict[int, int] = {}
        self.failing = 0  # of the next packets
        self.is_open = self.is_using = False

    def get(self, id_: int, name: str) -> int:
        return self.registers[id_].get(self.address[name], 0)

    def positions(self) -> dict[str, int]:
        return {name: self.get(i + 1, "Present_Position") for i, name in enumerate(MOTORS)}

    def put(self, id_: int, address: int, value: int) -> None:
        self.registers[id_][address] = value
        if address == self.address["Goal_Position"]:
            self.registers[id_][self.address["Present_Position"]] = value

    # the port
    def openPort(self) -> bool:
        self.is_open = True
        return True

    def closePort(self) -> None:
        self.is_open = False

    def clearPort(self) -> None: ...
    def setPacketTimeoutMillis(self, _: float) -> None: ...
    def setBaudRate(self, _: int) -> bool:
        return True

    # packets
    def ping(self, _: Any, id_: int) -> tuple[int, int, int]:
        return 777, 0, 0

    def read1ByteTxRx(self, _: Any, id_: int, address: int) -> tuple[int, int, int]:
        return self.registers[id_].get(address, 0), 0, 0

    read2ByteTxRx = read4ByteTxRx = read1ByteTxRx

    def writeTxRx(self, _: Any, id_: int, address: int, length: int, data: list[int]) -> tuple[int, int]:
        self.put(id_, address, sum(byte << 8 * i for i, byte in enumerate(data)))
        return 0, 0

    def getTxRxResult(self, _: int) -> str:
        return "[TxRxResult] There is no status packet!"

    # groups
    def clearParam(self) -> None:
        self.ids, self.values = [], {}

    def addParam(self, id_: int, data: list[int] | None = None) -> None:
        self.ids.append(id_)
        self.values[id_] = sum(byte << 8 * i for i, byte in enumerate(data or []))

    def txRxPacket(self) -> int:
        if self.failing:
            self.failing -= 1
            return -6
        return 0

    def getData(self, id_: int, address: int, length: int) -> int:
        return self.registers[id_].get(address, 0)

    def txPacket(self) -> int:
        for id_, value in self.values.items():
            self.put(id_, self.start_address, value)
        return 0


class Camera:
    def __init__(self, config: Any) -> None:
        self.height, self.width, self.is_connected, self.fault = config.height, config.width, False, None

    def connect(self) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def read_latest(self, max_age_ms: int = 500) -> np.ndarray:
        if self.fault is not None:
            raise self.fault
        return np.full((self.height, self.width, 3), 7, np.uint8)


def real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: dict[str, int], *, use_degrees: bool,
    limits: Any = None, kind: str = "so101_follower", **more: Any,
) -> tuple[LerobotRobot, Servos]:  # fmt: skip
    """lerobot's own robot, made by the adapter from its own configuration, on servos of ours."""
    module = pytest.importorskip("lerobot.robots.so_follower.so_follower")
    monkeypatch.setattr(
        module, "make_cameras_from_configs", lambda configs: {k: Camera(c) for k, c in configs.items()}
    )
    limits = limits or calibrations()
    (tmp_path / "arm.json").write_text(json.dumps({name: vars(c) for name, c in limits.items()}))
    camera = {"type": "opencv", "index_or_path": 0, "width": 64, "height": 48, "fps": 30}
    settings = {
        "port": "/dev/null",
        "id": "arm",
        "calibration_dir": str(tmp_path),
        "use_degrees": use_degrees,
    }
    robot = make(kind, {**settings, "cameras": {"front": camera, "wrist": camera}, **more})
    bus = robot.inner.bus
    servos = Servos(bus.model_ctrl_table["sts3215"])
    bus.port_handler = bus.packet_handler = bus.sync_reader = bus.sync_writer = servos
    for i, name in enumerate(MOTORS):
        registers = servos.registers[i + 1]
        registers[servos.address["Present_Position"]] = ticks[name]
        registers[servos.address["Min_Position_Limit"]] = limits[name].range_min
        registers[servos.address["Max_Position_Limit"]] = limits[name].range_max
    return robot, servos


@pytest.mark.parametrize("use_degrees", MODES)
@pytest.mark.parametrize("drive_mode", [0, 1])
def test_the_stand_in_is_as_lerobot_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_degrees: bool, drive_mode: int
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        limits = calibrations(**{m: tuple(sorted(rng.choice(4096, 2, replace=False))) for m in MOTORS})
        for each in limits.values():
            each.range_min, each.range_max = int(each.range_min), int(each.range_max)
            each.drive_mode = drive_mode
        ticks = {m: int(t) for m, t in zip(MOTORS, rng.integers(0, 4096, 6))}
        robot, servos = real(tmp_path, monkeypatch, ticks, use_degrees=use_degrees, limits=limits)
        ours = StandIn(ticks, Config(use_degrees=use_degrees), limits)
        for each in (robot.inner, ours):
            each.connect(calibrate=False)
        assert LerobotRobot(ours).units == robot.units
        assert LerobotRobot(ours).observation_features == robot.observation_features
        assert LerobotRobot(ours).action_features == robot.action_features
        theirs = robot.inner.get_observation()
        assert {k: v for k, v in theirs.items() if k.endswith(".pos")} == pytest.approx(
            {k: v for k, v in ours.get_observation().items() if k.endswith(".pos")}, abs=1e-12
        )
        action = {f"{m}.pos": float(v) for m, v in zip(MOTORS, rng.uniform(-99, 99, 6))}
        assert robot.inner.send_action(dict(action)) == ours.send_action(dict(action))
        assert {m: servos.get(i + 1, "Goal_Position") & 0x7FFF for i, m in enumerate(MOTORS)} == {
            m: abs(g) for m, g in ours.goals[-1].items()
        }


@pytest.mark.parametrize("use_degrees", MODES)
def test_the_first_motion_of_lerobots_own_robot_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_degrees: bool
) -> None:
    for seed in range(3):
        ticks = random_ticks(seed)
        robot, servos = real(tmp_path, monkeypatch, ticks, use_degrees=use_degrees)
        assert first_motion(robot, servos.positions) <= LARGEST_FIRST_MOTION


def test_torque_stays_on_when_it_lets_go_and_a_failed_read_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot, servos = real(tmp_path, monkeypatch, random_ticks(0), use_degrees=True)
    body = Body(SO101, robot)
    with body:
        servos.failing = 9
        with pytest.raises(ConnectionError, match="Failed to sync read 'Present_Position'"):
            body.observe("", 0.0)
        servos.failing = 0
        camera = robot.inner.cameras["front"]
        for fault in (TimeoutError("latest frame is too old"), RuntimeError("read thread is not running")):
            camera.fault = fault
            with pytest.raises(OSError, match=str(fault)):
                body.observe("", 0.0)
        camera.fault = None
        body.observe("", 0.0)
        assert servos.get(1, "Torque_Enable") == 1
    assert not servos.is_open
    assert [servos.get(i, "Torque_Enable") for i in range(1, 7)] == [1] * 6


def test_motors_with_another_calibration_than_the_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot, servos = real(tmp_path, monkeypatch, random_ticks(0), use_degrees=True)
    servos.registers[3][servos.address["Homing_Offset"]] = 50
    with pytest.raises(KinemaError, match="another calibration"):
        Body(SO101, robot).__enter__()
    assert not servos.is_open


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        ("so101_folower", {}, "has no robot 'so101_folower'; it has .*so101_follower"),
        ("so101_follower", {"prot": "/dev/null"}, "configuration is refused"),
        ("so101_follower", {"port": "x", "disable_torque_on_disconnect": True}, "hold.torque_on_exit"),
        (
            "so101_follower",
            {"port": "/dev/null", "id": "never_calibrated"},
            "no calibration file .*never_calib",
        ),
        (
            "koch_follower",
            {"port": "/dev/null", "id": "never_calibrated"},
            "no calibration file .*never_calib",
        ),
        ("viperx", {}, "has no robot 'viperx'"),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path: Path, kind: str, settings: Any, says: str) -> None:
    with pytest.raises(KinemaError, match=says):
        make(kind, {**settings, **({"calibration_dir": str(tmp_path)} if "id" in settings else {})})


@pytest.mark.parametrize("kind", ["omx_follower", "lekiwi"])
def test_units_of_followers_with_other_motors(tmp_path: Path, kind: str) -> None:
    prefix = "arm_" if kind == "lekiwi" else ""
    (tmp_path / "arm.json").write_text(
        json.dumps({f"{prefix}{n}": vars(c) for n, c in calibrations().items()})
    )
    settings = {"id": "arm", "port": "/dev/null", "calibration_dir": str(tmp_path), "cameras": {}}
    robot = make(kind, settings)
    assert set(robot.units) == set(robot.action_features)
    assert robot.units[f"{prefix}gripper.pos"].name == "percent"
    if kind == "lekiwi":
        assert {k: u.name for k, u in robot.units.items() if "vel" in k} == {
            "x.vel": "m/s",
            "y.vel": "m/s",
            "theta.vel": "deg/s",
        }
    (tmp_path / "arm.json").write_text(json.dumps({"motor": vars(calibrations()["gripper"])}))
    with pytest.raises(KinemaError, match=r"arm\.json lacks"):
        make(kind, settings)


@pytest.mark.parametrize("kind", ["so100_follower", "koch_follower", "bi_so_follower"])
def test_units_of_the_other_followers(tmp_path: Path, kind: str) -> None:
    arm = {name: vars(c) for name, c in calibrations().items()}
    for name in ("arm", "arm_left", "arm_right"):
        (tmp_path / f"{name}.json").write_text(json.dumps(arm))
    settings: dict[str, Any] = {"port": "/dev/null"}
    if kind.startswith("bi_"):
        settings = {"left_arm_config": dict(settings), "right_arm_config": dict(settings)}
    robot = make(kind, {"id": "arm", "calibration_dir": str(tmp_path), **settings})
    assert set(robot.units) == set(robot.action_features)
    names = {key: unit.name for key, unit in robot.units.items()}
    sides = ("left_", "right_") if kind.startswith("bi_") else ("",)
    assert {k: v for k, v in names.items() if "gripper" in k} == {f"{s}gripper.pos": "percent" for s in sides}
    body = {v for k, v in names.items() if "gripper" not in k}
    assert body == {"range_m100_100" if kind == "koch_follower" else "deg"}
    robot.keep_torque = True
    assert robot.keep_torque
    parts = [robot.inner] if len(sides) == 1 else [robot.inner.left_arm, robot.inner.right_arm]
    assert not any(part.config.disable_torque_on_disconnect for part in parts)
