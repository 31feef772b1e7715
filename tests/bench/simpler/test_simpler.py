"""Laws of SimplerEnv's adapter that need no SimplerEnv."""

from __future__ import annotations

import stat
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.conventions import check_same
from kinema.bench.simpler.benchmark import FOLDER, SimplerBenchmark, native_state
from kinema.bench.simpler.conventions import CARD, Conventions, of_card, taken
from kinema.bench.simpler.openpi import (
    bridge_state,
    matrix_from_roll_pitch_yaw,
    native_actions,
    roll_pitch_yaw,
)
from kinema.bench.simpler.placements import drawn
from kinema.card.load import load_card
from kinema.runtime.policy import hold_action
from kinema.runtime.wire import convert, pack, unpack
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec
from kinema.worlds.cameras import seen_from
from refusals import one_line

OURS = of_card(load_card(CARD))
OTHERS = {
    "control_hz": 3.0,
    "moves": OURS.moves[::-1],
    "turns": OURS.turns[::-1],
    "fingers": OURS.fingers[::-1],
    "tool": OURS.tool[::-1],
    "cameras": ("overhead_camera",),
    "picture_px": (512, 640),
}
TURNS = st.tuples(*[st.floats(-0.7, 0.7)] * 3).map(np.array)


def about(axis: int, angle_rad: float) -> np.ndarray:
    return matrix_from_rotvec(angle_rad * np.eye(3)[axis])


def test_conventions_that_went_over_the_wire_are_the_same() -> None:
    back = convert(unpack(pack(asdict(OURS))), Conventions)
    assert back == OURS
    check_same("SimplerEnv", OURS, back)


@pytest.mark.parametrize("name", [field.name for field in fields(Conventions)])
def test_every_convention_that_differs_is_named_with_both_values(name: str) -> None:
    theirs = replace(OURS, **{name: OTHERS[name]})
    with pytest.raises(KinemaError) as told:
        check_same("SimplerEnv", OURS, theirs)
    assert f"{name} is {OTHERS[name]} there and {getattr(OURS, name)} here" in str(told.value)
    assert str(told.value).count(" there and ") == 1


@given(turn=TURNS, opening=st.floats(0, 1))
def test_what_the_package_takes_is_the_same_motion_in_its_own_numbers(
    turn: np.ndarray, opening: float
) -> None:
    told = taken(np.array([0.01, -0.02, 0.03, *turn, opening]))
    np.testing.assert_array_equal(told[:3], [0.01, -0.02, 0.03])
    x, y, z = told[3:6]
    np.testing.assert_allclose(about(0, x) @ about(1, y) @ about(2, z), matrix_from_rotvec(turn), atol=1e-12)
    assert told[6] == 2 * opening - 1, "it closes at -1"
    assert load_card(CARD).actions[-1].opening(opening) == pytest.approx(opening)


@given(turn=TURNS, opening=st.floats(0, 1))
def test_the_state_is_the_turn_from_straight_down_and_the_opening(turn: np.ndarray, opening: float) -> None:
    finger_m = 0.015 + 0.022 * opening
    reading = {
        "position_m": np.array([0.3, 0.1, 0.2]),
        "R_robot_tool": matrix_from_rotvec(turn) @ np.diag([1.0, -1.0, -1.0]),
        "fingers_m": np.array([finger_m, finger_m]),
    }
    state = native_state(load_card(CARD), reading)
    assert state.dtype == np.float32
    np.testing.assert_allclose(state, [0.3, 0.1, 0.2, *turn, opening], atol=1e-5)


@given(turn=TURNS)
def test_a_server_is_told_and_tells_roll_pitch_and_yaw(turn: np.ndarray) -> None:
    told = bridge_state(np.array([0.3, 0.1, 0.2, *turn, 0.4], np.float32))
    assert told.dtype == np.float32
    np.testing.assert_allclose(told[[0, 1, 2, 6, 7]], [0.3, 0.1, 0.2, 0, 0.4], atol=1e-6)
    roll, pitch, yaw = told[3:6].astype(float)
    np.testing.assert_allclose(
        about(2, yaw) @ about(1, pitch) @ about(0, roll), matrix_from_rotvec(turn), atol=1e-5
    )
    asked = np.array([[0.01, 0.02, 0.03, roll, pitch, yaw, 0.6], [0, 0, 0, 0, 0, 0, 0.4]])
    first, second = native_actions(asked)
    np.testing.assert_allclose(first, [0.01, 0.02, 0.03, *turn, 1], atol=1e-5)
    np.testing.assert_allclose(second, np.zeros(7), atol=1e-12)


@given(turn=TURNS)
def test_roll_pitch_and_yaw_are_a_rotation_and_back(turn: np.ndarray) -> None:
    R = matrix_from_rotvec(turn)
    np.testing.assert_allclose(matrix_from_roll_pitch_yaw(roll_pitch_yaw(R)), R, atol=1e-9)


def test_doing_nothing_keeps_the_target_and_the_opening() -> None:
    state = np.array([0.3, 0.1, 0.2, 0.1, 0.2, 0.3, 0.7], np.float32)
    np.testing.assert_allclose(hold_action(load_card(CARD), state), [0, 0, 0, 0, 0, 0, 0.7], atol=1e-6)


GRID = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]) * 0.075
PLACES = np.array([[[*a, 0.9], [*b, 0.8]] for a in GRID for b in GRID if (a != b).any()])
QUATS = np.array([[[1.0, 0, 0, 0], [1, 0, 0, 0]], [[0, 0, 0, 1], [1, 0, 0, 0]]])


@given(seed=st.integers(1_000_000, 2_000_000))
def test_what_is_drawn_lies_near_the_configurations_and_is_none_of_them(seed: int) -> None:
    (places,), (quats,) = drawn(PLACES, QUATS, np.random.default_rng(seed))
    assert np.abs(places[:, :2]).max() <= 0.085
    np.testing.assert_array_equal(places[:, 2], [0.9, 0.8])
    assert np.linalg.norm(places[0, :2] - places[1, :2]) >= 0.15 - 1e-9
    assert np.abs(PLACES - places).max((1, 2)).min() > 1e-6
    np.testing.assert_array_equal(quats[1], [1, 0, 0, 0])
    np.testing.assert_allclose(np.linalg.norm(quats[0]), 1)
    again = drawn(PLACES, QUATS, np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0][0], places)


def test_a_goal_that_never_moves_stays() -> None:
    fixed = PLACES.copy()
    fixed[:, 1] = [0.5, 0.5, 1.0]
    (places,), _ = drawn(fixed, QUATS, np.random.default_rng(1))
    np.testing.assert_array_equal(places[1], [0.5, 0.5, 1.0])


def test_a_wide_picture_shows_more_to_the_sides() -> None:
    point = np.array([[0.4, 0.2, -1.0]])
    square = seen_from(np.zeros(3), np.eye(3), 0.9, point)
    wide = seen_from(np.zeros(3), np.eye(3), 0.9, point, 640 / 480)
    np.testing.assert_allclose(wide[0, 0] - 0.5, (square[0, 0] - 0.5) * 480 / 640)
    assert wide[0, 1] == square[0, 1]


def test_a_missing_environment_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(KinemaError, match=r"SimplerEnv's own environment is missing.*setup_simpler\.sh"):
        SimplerBenchmark()


def test_an_environment_that_does_not_work_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho No module named kinema >&2\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(KinemaError, match=r"exit code 1: No module named kinema; make it with") as told:
        SimplerBenchmark()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--policy", "hold", "--suites", "gym"], "--suites says nothing to simpler"),
        (["--policy", "hold"], "own environment is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_played_is_refused_in_one_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "nothing"))
    assert says in one_line(["eval", "simpler", *arguments, "--out", str(tmp_path / "out")], capsys)
