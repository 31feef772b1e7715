"""Devices as the system shows them: a terminal, a joystick's file, lerobot's teleoperators."""

from __future__ import annotations

import os
import pty
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import load_card
from kinema.runtime.teleop.gamepad import Gamepad
from kinema.runtime.teleop.intent import Intent, Together
from kinema.runtime.teleop.keyboard import HELD_S, Keyboard
from kinema.runtime.teleop.leader import Leader
from kinema.runtime.wiring import Wire, Wiring
from kinema.schema import KinemaError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="terminals and joysticks of Linux")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """What a person types into, and what the program reads from."""
    person, program = pty.openpty()
    yield person, program
    for file in (person, program):
        os.close(file)


def test_a_key_moves_while_it_repeats_and_a_little_longer(terminal: tuple[int, int]) -> None:
    person, program = terminal
    keyboard = Keyboard(program)
    assert not keyboard.read(0.0).moves
    os.write(person, b"w")
    assert keyboard.read(1.0).twist.tolist() == [1, 0, 0, 0, 0, 0]
    assert keyboard.read(1.0 + 0.9 * HELD_S).moves
    assert not keyboard.read(1.0 + 1.1 * HELD_S).moves
    os.write(person, b"wse")
    both = keyboard.read(2.0)
    assert both.twist.tolist() == [0] * 6
    assert both.grip == 1.0
    keyboard.close()


def test_what_is_said_comes_in_order_and_arrow_keys_say_nothing(terminal: tuple[int, int]) -> None:
    person, program = terminal
    keyboard = Keyboard(program)
    os.write(person, b" b\t\x1b[A\x1b[1;5C\n")
    assert keyboard.read(0.0).said == ("take over", "hand back", "other arm", "success")
    os.write(person, b"\x1b")
    assert keyboard.read(0.0).said == ("end",)
    keyboard.close()


@given(typed=st.binary(max_size=64))
def test_whatever_is_typed_is_no_error(typed: bytes) -> None:
    person, program = pty.openpty()
    try:
        keyboard = Keyboard(program)
        os.write(person, typed)
        intent = keyboard.read(0.0)
        assert np.abs(intent.twist).max() <= 2
        keyboard.close()
    finally:
        os.close(person)
        os.close(program)


def test_the_terminal_is_given_back_as_it_was(terminal: tuple[int, int]) -> None:
    import termios

    before = termios.tcgetattr(terminal[1])
    keyboard = Keyboard(terminal[1])
    assert termios.tcgetattr(terminal[1]) != before
    keyboard.close()
    assert termios.tcgetattr(terminal[1]) == before


def test_without_a_terminal_it_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        (tmp_path / "file").open() as file,
        pytest.raises(KinemaError, match="keys are read from a terminal"),
    ):
        Keyboard(file)


AXIS, BUTTON, INITIAL = 0x02, 0x01, 0x80


def event(kind: int, number: int, value: int) -> bytes:
    return struct.pack("<IhBB", 0, value, kind, number)


@pytest.fixture
def pad(tmp_path: Path) -> Iterator[tuple[int, Gamepad]]:
    """A pipe in a joystick's place: the kernel's bytes are written into it."""
    path = tmp_path / "js0"
    os.mkfifo(path)
    gamepad = Gamepad(path)
    kernel = os.open(path, os.O_WRONLY)
    yield kernel, gamepad
    gamepad.close()


def test_sticks_are_held_and_the_middle_is_nothing(pad: tuple[int, Gamepad]) -> None:
    kernel, gamepad = pad
    os.write(kernel, event(AXIS | INITIAL, 1, 900) + event(AXIS | INITIAL, 2, -32767))
    assert not gamepad.read(0.0).moves
    os.write(kernel, event(AXIS, 1, -32767))
    for _ in range(3):
        assert gamepad.read(0.0).twist.tolist() == [1, 0, 0, 0, 0, 0]
    os.write(kernel, event(AXIS, 1, 0) + event(AXIS, 5, 32767))
    seen = gamepad.read(0.0)
    assert not seen.twist.any()
    assert seen.grip == 1.0
    os.close(kernel)


def test_a_button_says_so_once_and_not_as_it_stood_at_first(pad: tuple[int, Gamepad]) -> None:
    kernel, gamepad = pad
    os.write(kernel, event(BUTTON | INITIAL, 0, 1) + event(BUTTON, 5, 1) + event(BUTTON, 5, 0))
    assert gamepad.read(0.0).said == ("take over",)
    assert gamepad.read(0.0).said == ()
    os.close(kernel)


def test_an_event_in_two_pieces_is_one(pad: tuple[int, Gamepad]) -> None:
    kernel, gamepad = pad
    whole = event(AXIS, 0, 32767)
    os.write(kernel, whole[:3])
    assert not gamepad.read(0.0).moves
    os.write(kernel, whole[3:])
    assert gamepad.read(0.0).twist.tolist() == [0, -1, 0, 0, 0, 0]
    os.close(kernel)


def test_a_pad_that_is_pulled_out_is_an_os_error(pad: tuple[int, Gamepad]) -> None:
    kernel, gamepad = pad
    os.write(kernel, event(AXIS, 0, 32767))
    gamepad.read(0.0)
    os.close(kernel)
    with pytest.raises(OSError, match="is gone"):
        gamepad.read(0.0)


def test_a_pad_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match=r"no gamepad at .*js7"):
        Gamepad(tmp_path / "js7")


class Led:
    """A teleoperator as lerobot's are, in degrees."""

    name = "led"

    def __init__(self, keys: list[str]) -> None:
        self.action_features: Mapping[str, Any] = dict.fromkeys(keys, float)
        self.told: dict[str, Any] = dict.fromkeys(keys, 90.0)
        self.is_connected = False

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate
        self.is_connected = True

    def get_action(self) -> Mapping[str, Any]:
        return self.told

    def disconnect(self) -> None:
        self.is_connected = False


CARD = load_card("so101")
KEYS = [f"{channel.name}.pos" for channel in CARD.actions]
WIRING = Wiring(
    actions={c.name: Wire(key=f"{c.name}.pos", scale=np.pi / 180) for c in CARD.actions},
    states={},
    cameras={},
)


def test_a_leaders_numbers_are_the_followers_commands() -> None:
    led = Led(KEYS)
    leader = Leader(CARD, led, WIRING)
    led.told["elbow_flex.pos"] = -45.0
    targets = leader.read(0.0).targets
    assert targets is not None
    wanted = [-np.pi / 4 if c.name == "elbow_flex" else np.pi / 2 for c in CARD.actions]
    np.testing.assert_allclose(targets, wanted)
    leader.close()
    assert not led.is_connected


@pytest.mark.parametrize("wrong", [None, "fast", float("nan")])
def test_a_leader_that_says_nonsense_is_an_os_error(wrong: object) -> None:
    led = Led(KEYS)
    leader = Leader(CARD, led, WIRING)
    led.told["elbow_flex.pos"] = wrong
    with pytest.raises(OSError, match="led"):
        leader.read(0.0)


def test_a_leader_that_lacks_a_joint_is_refused_by_its_name() -> None:
    with pytest.raises(KinemaError, match=r"led does not say gripper\.pos, which so101 is moved by"):
        Leader(CARD, Led(KEYS[:-1]), WIRING)


def test_two_devices_are_one() -> None:
    class Said:
        help = "keys"

        def read(self, now_s: float) -> Intent:
            return Intent(said=("success",), grip=1.0)

        def close(self) -> None:
            pass

    both = Together(Leader(CARD, Led(KEYS), WIRING), Said())
    intent = both.read(0.0)
    assert intent.said == ("success",)
    assert intent.targets is not None
    assert intent.grip == 0.0
