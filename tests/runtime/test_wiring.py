"""No unit is assumed and nothing is taken on trust: what does not fit is an error before anything moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_body import ToyRobot

from kinema.card.load import card_names, load_card
from kinema.runtime.robot import Body, ReadingError, read_once
from kinema.runtime.wiring import UNITS, Line, Plan, Wire, card_units, wiring_for
from kinema.runtime.wiring_file import read_wiring
from kinema.runtime.wiring_guess import first_wiring
from kinema.schema import KinemaError
from laws import examples

PANDA = load_card("panda")
KEYS = [f"{c.name}.pos" for c in PANDA.states]
# not Meta-World's, whose actions have the names of its states and another meaning
DRIVEN = [n for n in card_names() if all(c.unit != "normalised" for c in load_card(n).actions)]


class AnyRobot:
    """A robot of any card, within its ranges, with the card's names and units unless told otherwise."""

    name = "any"

    def __init__(self, card: Any, units: dict[str, str] | None = None, at: float = 0.6) -> None:
        self.card, self.units = card, card_units(card) if units is None else units
        self.numbers = {
            f"{c.name}.pos": c.range[0] + at * (c.range[1] - c.range[0])
            for c in (*card.actions, *card.states)
        }
        self.driven = [f"{c.name}.pos" for c in card.actions]
        self.is_connected, self.sent = False, []  # type: ignore[var-annotated]
        self.spoil: Callable[[dict[str, Any]], Any] = lambda raw: raw
        self.answer: Callable[[dict[str, Any]], Any] = lambda action: dict(action)

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.driven, float)

    @property
    def observation_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.numbers, float) | {name: (8, 8, 3) for name in self.card.camera_names}

    def connect(self, calibrate: bool = True) -> None:
        self.is_connected = True

    def get_observation(self) -> Any:
        pictures = {name: np.zeros((8, 8, 3), np.uint8) for name in self.card.camera_names}
        return self.spoil(self.numbers | pictures)

    def send_action(self, action: dict[str, Any]) -> Any:
        self.sent.append(action)
        return self.answer(action)

    def disconnect(self) -> None:
        self.is_connected = False


def moved(robot: AnyRobot) -> float:
    """The largest difference between what was sent and where the robot stands."""
    return max(
        (abs(v - robot.numbers.get(k, v)) for sent in robot.sent for k, v in sent.items()), default=0.0
    )


@pytest.mark.parametrize("name", DRIVEN)
def test_every_card_begins_where_the_body_stands_in_any_unit(name: str) -> None:
    card = load_card(name)
    others = {"rad": "deg", "fraction": "percent", "m": "mm", "rad/s": "deg/s"}
    units = {key: others.get(unit, unit) for key, unit in card_units(card).items()}
    robot = AnyRobot(card, units)
    robot.numbers = {k: v / UNITS[units[k]].scale for k, v in robot.numbers.items()}
    with Body(card, robot) as body:
        seen = body.observe("", 0.0).state
    low, high = np.array([c.range for c in card.states]).T
    np.testing.assert_allclose(seen, low + 0.6 * (high - low), rtol=1e-5, atol=1e-6)
    if card.hold.action == "position":
        for key, value in robot.sent[0].items():
            assert value == pytest.approx(robot.numbers[key], rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("name", DRIVEN)
def test_without_units_no_card_begins(name: str) -> None:
    card = load_card(name)
    for units in (None, {}):
        robot = AnyRobot(card, {})
        robot.units = units  # type: ignore[assignment]
        with pytest.raises(KinemaError, match=r"nobody says in which unit .*wiring file.*unit: "):
            Body(card, robot)
        del robot.units
        with pytest.raises(KinemaError, match="nobody says in which unit"):
            Body(card, robot)
        assert not robot.sent


@pytest.mark.parametrize(
    ("units", "says"),
    [
        ({"x.pos": "metre"}, "unknown unit 'metre' of 'x.pos'; choices: .*mm"),
        ({"x.pos": "deg"}, "is in deg, which cannot become the m of 'x'; units that can: m, cm, mm"),
        ("m", "units is a mapping"),
    ],
)
def test_units_that_cannot_be_are_named(units: Any, says: str) -> None:
    robot = AnyRobot(PANDA)
    robot.units = units if isinstance(units, str) else robot.units | units
    with pytest.raises(KinemaError, match=says):
        Body(PANDA, robot)


ODD = st.sampled_from(
    [None, "0.3", b"1", [1.0, 2.0], {}, np.zeros(3), object(), True, 1j, np.zeros((8, 8, 3))]
)


@given(st.data())
def test_a_spoilt_reading_is_a_clear_error_at_any_time(data: st.DataObject) -> None:
    robot = AnyRobot(PANDA)
    key = data.draw(st.sampled_from([*KEYS, *PANDA.camera_names, "all"]))
    how = data.draw(st.sampled_from(["lacking", "renamed", "odd"]))
    odd = data.draw(ODD)

    def spoil(raw: dict[str, Any]) -> Any:
        if key == "all":
            return odd
        raw = dict(raw)
        value = raw.pop(key)
        return raw if how == "lacking" else raw | ({f"{key}_": value} if how == "renamed" else {key: odd})

    later = data.draw(st.booleans())
    if not later:
        robot.spoil = spoil
        with pytest.raises(KinemaError, match=r"robot 'any': (get_observation|camera)"):
            Body(PANDA, robot).__enter__()
        assert not robot.sent
        assert not robot.is_connected
        return
    with Body(PANDA, robot) as body:
        body.observe("", 0.0)
        robot.spoil = spoil
        with pytest.raises(ReadingError, match="robot 'any'") as caught:
            body.observe("", 0.0)
        assert isinstance(caught.value, OSError), "the loop takes it for one missing observation"
        robot.spoil = lambda raw: raw
        body.observe("", 0.0)
    assert moved(robot) < 1e-6


@given(odd=ODD, key=st.sampled_from([*KEYS, "all", "lacking", "renamed"]))
def test_a_spoilt_answer_is_a_clear_error_before_anything_moves(odd: Any, key: str) -> None:
    robot = AnyRobot(PANDA)

    def answer(action: dict[str, Any]) -> Any:
        if key == "all":
            return odd
        if key == "lacking":
            return dict(list(action.items())[:-1])
        if key == "renamed":
            return {k.removesuffix(".pos"): v for k, v in action.items()}
        return action | {key: odd}

    robot.answer = answer
    with pytest.raises(KinemaError, match="robot 'any': send_action"):
        Body(PANDA, robot).__enter__()
    assert moved(robot) < 1e-6
    assert not robot.is_connected


@pytest.mark.parametrize("features", [None, [], {1: float}, {"x.pos": "float"}, {"x.pos": (3,)}])
def test_features_that_say_nothing_are_refused(features: Any) -> None:
    class Odd(AnyRobot):
        @property
        def observation_features(self) -> Any:
            return features

    with pytest.raises(KinemaError, match="robot 'any'"):
        Body(PANDA, Odd(PANDA))


def test_commands_that_no_channel_gives_are_named_and_can_be_fixed_or_follow() -> None:
    robot = AnyRobot(PANDA)
    robot.driven += ["base.vel", "x_shadow.pos"]
    with pytest.raises(KinemaError, match=r"wants commands for \['base\.vel', 'x_shadow\.pos'\] too.*fixed"):
        Body(PANDA, robot)
    robot.units["x_shadow.pos"] = "mm"
    plan = Plan(fixed={"base.vel": 0.0}, also={"x_shadow.pos": "x"})
    with Body(PANDA, robot, wiring_for(PANDA, robot, plan)):
        sent = robot.sent[0]
    assert sent["base.vel"] == 0.0
    assert sent["x_shadow.pos"] == pytest.approx(1000 * sent["x.pos"])


def test_two_channels_on_one_key_and_names_of_nobody_are_refused() -> None:
    robot = AnyRobot(PANDA)
    robot.driven.remove("y.pos")
    with pytest.raises(KinemaError, match=r"\['x', 'y'\] are all wired to \['x\.pos'\]"):
        wiring_for(PANDA, robot, Plan(channels={"y": Line(key="x.pos")}))
    for plan, says in (
        (Plan(channels={"q": Line()}), r"wires for \['q'\]"),
        (Plan(cameras={"top": "front"}), r"cameras \['top'\]"),
        (Plan(torques={"right.q": Line()}), r"torques of \['right\.q'\]"),
        (Plan(fixed={"q": 0.0}), r"fixed: robot 'any' has no \['q'\]"),
        (Plan(also={"x.pos": "q"}), r"followers of \['q'\]"),
        (Plan(cameras={"front": "nowhere"}), r"lacks the cameras \['nowhere'\]"),
    ):
        with pytest.raises(KinemaError, match=says):
            wiring_for(PANDA, AnyRobot(PANDA), plan)


def test_a_state_in_another_unit_does_not_begin_and_names_the_line() -> None:
    card = load_card("so101")
    robot = AnyRobot(card)
    robot.numbers["elbow_flex.pos"] = 70.0  # degrees, declared as rad
    with pytest.raises(KinemaError, match=r"elbow_flex reads 70 rad.*-1\.69 to 1\.69.*`elbow_flex: \{key:"):
        Body(card, robot).__enter__()
    assert not robot.sent
    assert not robot.is_connected


# -- the file

FILE = """\
version: 1
card: so101
channels:
  shoulder_pan: {key: pan, unit: deg, reversed: true, zero: 10}
  gripper: {scale: 0.02, offset: -0.5}
cameras: {front: webcam}
torques: {right.elbow_flex: {key: load, unit: N m}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "wiring.yaml"
    path.write_text(text)
    return path


def test_a_wiring_file_says_key_unit_sign_and_zero(tmp_path: Path) -> None:
    card = load_card("so101")
    robot = AnyRobot(card)
    robot.numbers["pan"] = robot.numbers.pop("shoulder_pan.pos")
    robot.numbers["load"] = 0.5
    robot.driven[0] = "pan"
    del robot.units["gripper.pos"]
    plan = read_wiring(written(tmp_path, FILE.replace("{front: webcam}", "{}")), card)
    wiring = wiring_for(card, robot, plan)
    assert wiring.states["shoulder_pan"].native(10.0) == pytest.approx(0.0)
    assert wiring.states["shoulder_pan"].native(100.0) == pytest.approx(-np.pi / 2)
    assert wiring.actions["gripper"] == Wire(key="gripper.pos", scale=0.02, offset=-0.5)
    assert wiring.torques["right.elbow_flex"].key == "load"
    for wire in wiring.actions.values():
        assert wire.raw(wire.native(0.3)) == pytest.approx(0.3)
    with pytest.raises(KinemaError, match=r"lacks the cameras \['webcam'\]"):
        wiring_for(card, robot, read_wiring(written(tmp_path, FILE), card))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("unit: deg", 'unit: "deg?"', "channels.shoulder_pan.unit: is a guess.*'deg\\?'"),
        ("key: pan", 'key: "?"', "channels.shoulder_pan.key: is a guess"),
        ("front: webcam", 'front: "?"', "cameras.front: is a guess"),
        ("unit: deg", "unit: degree", "unknown unit; did you mean 'deg'"),
        ("unit: deg", "unite: deg", "channels.shoulder_pan.unite: unknown key; did you mean 'unit'"),
        ("cameras:", "camera:", "camera: unknown key; did you mean 'cameras'"),
        ("zero: 10", 'zero: "10"', "channels.shoulder_pan.zero"),
        ("scale: 0.02", "scale: 0", "scale must not be 0"),
        ("scale: 0.02, ", "", "offset stands beside scale"),
        ("scale: 0.02", "unit: percent, scale: 0.02", "do not stand beside"),
        ("scale: 0.02", "scale: .nan", "not a finite number"),
        ("card: so101", "card: panda", "it is for 'panda', not for 'so101'"),
        ("version: 1", "version: 2", "version"),
        ("channels:", "channels: [", "wiring.yaml"),
    ],
)
def test_a_wiring_file_is_read_strictly(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in FILE
    with pytest.raises(KinemaError, match=says):
        read_wiring(written(tmp_path, FILE.replace(old, new, 1)), load_card("so101"))


@examples(15)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_are_a_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("w") / "wiring.yaml"
    path.write_bytes(data)
    with pytest.raises(KinemaError, match=r"wiring\.yaml"):
        read_wiring(path, load_card("so101"))


def test_a_file_that_contradicts_the_driver_is_refused(tmp_path: Path) -> None:
    card = load_card("so101")
    text = "version: 1\ncard: so101\nchannels: {elbow_flex: {unit: deg}}\n"
    plan = read_wiring(written(tmp_path, text), card)
    with pytest.raises(KinemaError, match=r"'elbow_flex\.pos' is in deg, robot 'any' says it is in rad"):
        wiring_for(card, AnyRobot(card), plan)


# -- the first file, guessed from one observation


@pytest.mark.parametrize("name", DRIVEN)
@pytest.mark.parametrize("foreign", [False, True], ids=["own", "foreign"])
def test_a_guess_names_the_unit_and_is_refused_until_settled(
    tmp_path: Path, name: str, foreign: bool
) -> None:
    card = load_card(name)
    others = {"rad": "deg", "fraction": "percent"} if foreign else {}
    units = {key: others.get(unit, unit) for key, unit in card_units(card).items()}
    robot = AnyRobot(card, {}, at=0.7)
    robot.numbers = {k: v / UNITS[units[k]].scale for k, v in robot.numbers.items()}
    text = first_wiring(card, robot, read_once(card, robot))
    assert not robot.sent
    assert not robot.is_connected
    for channel in card.states:
        assert (
            f'  {channel.name}: {{key: {channel.name}.pos, unit: "{units[f"{channel.name}.pos"]}?",' in text
        )
    path = written(tmp_path, text)
    with pytest.raises(KinemaError, match="is a guess"):
        read_wiring(path, card)
    path.write_text("\n".join(line.split("#")[0].replace("?", "") for line in text.splitlines()))
    with Body(card, robot, wiring_for(card, robot, read_wiring(path, card))) as body:
        state = body.observe("", 0.0).state
    low, high = np.array([c.range for c in card.states]).T
    np.testing.assert_allclose(state, low + 0.7 * (high - low), rtol=1e-5, atol=1e-6)


def test_a_pose_near_zero_tells_no_unit_and_ticks_are_named() -> None:
    card = load_card("so101")
    robot = AnyRobot(card, {})
    robot.numbers = dict.fromkeys(robot.numbers, 0.0)
    text = first_wiring(card, robot, robot.get_observation())
    assert text.count('unit: "?"') == len(card.states)
    assert "near 0, which fits every unit" in text
    robot.numbers = {key: float(2048 + 300 * i) for i, key in enumerate(robot.numbers)}
    assert "encoder ticks" in first_wiring(card, robot, robot.get_observation())


def test_what_the_driver_declares_is_not_guessed(tmp_path: Path) -> None:
    card = load_card("so101")
    robot = AnyRobot(card)
    path = written(tmp_path, first_wiring(card, robot, robot.get_observation()))
    wiring = wiring_for(card, robot, read_wiring(path, card))
    assert wiring == wiring_for(card, robot)


def test_followers_bases_and_torques_are_put_to_the_person() -> None:
    robot = AnyRobot(PANDA)
    robot.driven += ["x_shadow.pos", "base.vel"]
    robot.numbers["right.joint1.torque"] = 1.0
    text = first_wiring(PANDA, robot, robot.get_observation())
    assert "  x_shadow.pos: x\n" in text
    assert '  base.vel: "?"\n' in text
    assert "{right.joint1: {key: right.joint1.torque, unit: N m}}" in text


def test_commands_may_have_keys_and_units_of_their_own() -> None:
    card = load_card("sawyer_metaworld")
    robot = AnyRobot(card)
    robot.units = {f"{c.name}.pos": c.unit for c in card.states}
    robot.numbers = {f"{c.name}.pos": sum(c.range) / 2 for c in card.states}
    robot.driven = [f"{c.name}.step" for c in card.actions]
    text = first_wiring(card, robot, robot.get_observation())
    assert '\nactions:\n  x: {key: "?", unit: "?"}  # -1 to 1 normalised\n' in text
    actions = {c.name: Line(key=f"{c.name}.step", unit="normalised") for c in card.actions}
    with Body(card, robot, wiring_for(card, robot, Plan(actions=actions))) as body:
        np.testing.assert_allclose(
            body.observe("", 0.0).state, [sum(c.range) / 2 for c in card.states], rtol=1e-6
        )
    assert robot.sent == [dict.fromkeys(robot.driven, 0.0)], "doing nothing is no displacement"


def test_the_toy_robot_stays_a_robot() -> None:
    robot = ToyRobot(PANDA)
    with Body(PANDA, robot) as body:
        np.testing.assert_allclose(body.observe("", 0.0).state, [0.45, 0, 0.3, 0, 0, 0, 1.0], rtol=1e-6)
