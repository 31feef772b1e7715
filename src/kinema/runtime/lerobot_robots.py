"""lerobot's robots behind kinema's interface: keys and numbers as they are, their units said.

lerobot's keys have no units. What they are follows from each motor's norm mode: degrees from the middle of
the calibrated range, per cent of that range (grippers), or -100 to 100 over it, which is an angle only
together with the calibration file. lerobot is imported here alone, and only when a robot is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from math import pi
from pkgutil import iter_modules
from typing import Any, Literal

from kinema.runtime.robot import parts_of, say_torque
from kinema.runtime.wiring import UNITS, Unit
from kinema.schema import KinemaError

_SPEEDS = {"lekiwi": {"x.vel": "m/s", "y.vel": "m/s", "theta.vel": "deg/s"}}  # of bases
_IN_DEGREES = ("rebot_b601_follower",)  # arms whose driver converts by itself, without lerobot's motor bus


class LerobotRobot:
    """One of lerobot's robots, made already. `make` makes one by its type.

    It never calibrates: that is done once, by a person, with lerobot's own command.
    """

    def __init__(self, inner: Any) -> None:
        self.inner, self.name = inner, f"lerobot {getattr(inner, 'name', type(inner).__name__)}"
        for _, part in parts_of(inner):
            if hasattr(part, "bus") and not part.calibration:
                raise KinemaError(
                    f"{self.name}: no calibration file {getattr(part, 'calibration_fpath', '')}; without it "
                    "its numbers have no meaning; `lerobot-calibrate` with this robot's type, port and id "
                    "writes it"
                )
        self.units = _units(inner)
        self._half_ticks = _half_ticks(inner)

    @property
    def observation_features(self) -> Mapping[str, Any]:
        return dict(self.inner.observation_features)

    @property
    def action_features(self) -> Mapping[str, Any]:
        return dict(self.inner.action_features)

    @property
    def is_connected(self) -> bool:
        return bool(self.inner.is_connected)

    @property
    def keep_torque(self) -> bool:
        """Whether the motors keep their torque at `disconnect`; lerobot's own default is that they do not."""
        configs = [getattr(part, "config", None) for _, part in parts_of(self.inner)]
        return not any(getattr(config, "disable_torque_on_disconnect", False) for config in configs)

    @keep_torque.setter
    def keep_torque(self, keep: bool) -> None:
        say_torque(self.inner, keep)

    def connect(self, calibrate: bool = True) -> None:
        """Connect. lerobot lets go of the torque for a moment here, so the arm must be at rest.

        Raises KinemaError when the motors do not hold the calibration of the file.
        """
        with _faults(KinemaError):
            self.inner.connect(calibrate=False)
            if not self.inner.is_calibrated:
                self.inner.disconnect()
                raise KinemaError(
                    f"{self.name}: the motors hold another calibration than the file, so its numbers have no "
                    "meaning; run `lerobot-calibrate` with this robot's type, port and id"
                )

    def get_observation(self) -> dict[str, Any]:
        """A reading. Raises ConnectionError or TimeoutError when the bus or a camera gave none."""
        with _faults(ConnectionError):
            return dict(self.inner.get_observation())

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Send goals, each to the motor's nearest tick; without that an arm that is told to stay creeps."""
        half = {key: tick for key, tick in self._half_ticks.items() if key in action}
        with _faults(ConnectionError):
            taken = dict(self.inner.send_action(action | {k: action[k] + h for k, h in half.items()}))
        return taken | {key: taken[key] - tick for key, tick in half.items() if key in taken}

    def disconnect(self) -> None:
        self.inner.disconnect()


def make(kind: str, settings: Mapping[str, Any]) -> LerobotRobot:
    """The robot of lerobot's type `kind` (`so101_follower`), with the settings of its configuration.

    settings: as in lerobot's own configuration: port, id, cameras: {front: {type: opencv, ...}}, ...
    Raises KinemaError when lerobot is not installed, has no such robot, or refuses the settings.
    """
    if "disable_torque_on_disconnect" in settings:
        raise KinemaError(
            f"lerobot:{kind}: disable_torque_on_disconnect is not set here; the card's hold.torque_on_exit "
            "says it"
        )
    with _faults(KinemaError, f"lerobot:{kind}: "):
        return LerobotRobot(made("robot", kind, settings))


def made(what: Literal["robot", "teleoperator"], kind: str, settings: Mapping[str, Any]) -> Any:
    """lerobot's own robot or teleoperator, as it is. Raises KinemaError as `make` does."""
    try:
        package = import_module(f"lerobot.{what}s")
    except ImportError as error:
        raise KinemaError(
            f"lerobot:{kind} needs the package lerobot with what its motors need "
            f"(pip install 'lerobot[feetech]' or 'lerobot[dynamixel]'): {error}"
        ) from None
    missing = _register(f"lerobot.{what}s")
    configurations = getattr(package, f"{what.capitalize()}Config")
    known = configurations.get_known_choices()
    if kind not in known:
        lacking = f"; not loaded for want of a package: {', '.join(missing)}" if missing else ""
        raise KinemaError(
            f"lerobot {version('lerobot')} has no {what} {kind!r}; "
            f"it has {', '.join(sorted(known))}{lacking}. An installed package lerobot_{what}_* adds others"
        )
    if "type" in settings:
        raise KinemaError(f"lerobot:{kind}: type is not set here; the {what}'s name says it")
    with _faults(KinemaError, f"lerobot:{kind}: "):
        config = _decoded(configurations, {"type": kind, **settings}, kind)
        return getattr(package, f"make_{what}_from_config")(config)


def _units(inner: Any) -> dict[str, Unit]:
    """What lerobot's classes say, key by key; nothing where they say nothing."""
    units: dict[str, Unit] = {}
    for prefix, part in parts_of(inner):
        name, features = getattr(part, "name", ""), part.observation_features
        if name in _IN_DEGREES:
            units |= dict.fromkeys((f"{prefix}{key}" for key in part.action_features), UNITS["deg"])
        for motor, description in _motors(part):
            units[f"{prefix}{motor}.pos"] = _unit(part, motor, description)
            for key, unit in ((f"{motor}.vel", "deg/s"), (f"{motor}.torque", "N m")):
                units |= {f"{prefix}{key}": UNITS[unit]} if key in features else {}
        units |= {f"{prefix}{key}": UNITS[unit] for key, unit in _SPEEDS.get(name, {}).items()}
    return units


def _motors(part: Any) -> list[tuple[str, Any]]:
    """The motors of a robot's bus whose positions are among its keys, each known to its calibration."""
    motors = getattr(getattr(part, "bus", None), "motors", {})
    shown = [(m, description) for m, description in motors.items() if f"{m}.pos" in part.observation_features]
    if lacking := sorted(motor for motor, _ in shown if motor not in part.calibration):
        raise KinemaError(
            f"{part.name}: {getattr(part, 'calibration_fpath', 'its calibration')} lacks {lacking}"
        )
    return shown


def _unit(part: Any, motor: str, description: Any) -> Unit:
    mode = str(getattr(description.norm_mode, "value", description.norm_mode))
    if mode == "degrees":
        return UNITS["deg"]
    if mode == "range_0_100":
        return UNITS["percent"]
    if mode != "range_m100_100":
        raise KinemaError(
            f"{part.name}: {motor} is in lerobot's norm mode {mode!r}, which kinema does not know"
        )
    limits = part.calibration[motor]
    turn = part.bus.model_resolution_table[description.model] - 1  # lerobot's own count of ticks in a turn
    half_rad = (limits.range_max - limits.range_min) / 2 * 2 * pi / turn
    backwards = part.bus.apply_drive_mode and limits.drive_mode
    return Unit(name=mode, of="rad", scale=(-half_rad if backwards else half_rad) / 100)


def _half_ticks(inner: Any) -> dict[str, float]:
    """Half a tick of each motor in its own number: lerobot's buses cut goals down to whole ticks."""
    halves = {}
    for prefix, part in parts_of(inner):
        bus: Any = getattr(part, "bus", None)
        if not hasattr(bus, "apply_drive_mode"):  # a bus whose motors take any number
            continue
        for motor, description in _motors(part):
            limits, mode = part.calibration[motor], str(getattr(description.norm_mode, "value", ""))
            if mode == "degrees":
                half = 180 / (bus.model_resolution_table[description.model] - 1)
            else:
                half = (100 if mode == "range_m100_100" else 50) / (limits.range_max - limits.range_min)
                half = -half if bus.apply_drive_mode and limits.drive_mode else half
            halves[f"{prefix}{motor}.pos"] = half
    return halves


def _register(kinds: str) -> list[str]:
    """Import everything of this package, and cameras, that registers itself; the names of what cannot be."""
    missing = []
    for package in (kinds, "lerobot.cameras"):
        for found in iter_modules(import_module(package).__path__):
            if found.ispkg:
                try:
                    import_module(f"{package}.{found.name}")
                except ImportError as error:
                    missing.append(f"{found.name} ({error.name or error})")
    plugins = getattr(import_module("lerobot.utils.import_utils"), "register_third_party_plugins", None)
    if plugins is not None:
        plugins()
    return missing


def _decoded(config_class: Any, tree: dict[str, Any], kind: str) -> Any:
    draccus = import_module("draccus")
    try:
        return draccus.decode(config_class, tree)
    except (draccus.utils.DraccusException, TypeError, ValueError) as error:
        raise KinemaError(f"lerobot:{kind}: its configuration is refused: {error}") from None


@contextmanager
def _faults(as_error: type[Exception], what: str = "") -> Iterator[None]:
    """lerobot raises RuntimeError and ValueError for motors, cameras and settings alike."""
    try:
        yield
    except (RuntimeError, ValueError, NotImplementedError, ImportError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise as_error(f"{what}{words}") from error
