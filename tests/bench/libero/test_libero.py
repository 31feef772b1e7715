"""Laws of LIBERO's adapter that need no LIBERO."""

from __future__ import annotations

import stat
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.conventions import check_same
from kinema.bench.libero.benchmark import CARD, LiberoBenchmark, native_state
from kinema.bench.libero.conventions import FINGER_TRAVEL_M, Conventions, of_card
from kinema.bench.libero.openpi import openpi_state
from kinema.bench.libero.suites import LIBERO, SUITES
from kinema.card.load import load_card
from kinema.runtime.wire import convert, pack, unpack
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec, quat_from_matrix
from refusals import one_line

OURS = of_card(load_card(CARD))
OTHERS = {
    "control_hz": 10.0,
    "low": (-2.0, *OURS.low[1:]),
    "high": OURS.high[:-1],
    "step": (OURS.step[3], *OURS.step[1:]),
    "relative": False,
    "gripper_closes": -1,
    "finger_travel_m": 0.08,
    "reading": OURS.reading[::-1],
    "quaternion": "wxyz",
    "cameras": OURS.cameras[::-1],
    "first_row": "top",
}


def test_conventions_that_went_over_the_wire_are_the_same() -> None:
    back = convert(unpack(pack(asdict(OURS))), Conventions)
    assert back == OURS
    check_same("LIBERO", OURS, back)


@pytest.mark.parametrize("name", [field.name for field in fields(Conventions)])
def test_every_convention_that_differs_is_named_with_both_values(name: str) -> None:
    theirs = replace(OURS, **{name: OTHERS[name]})
    with pytest.raises(KinemaError) as told:
        check_same("LIBERO", OURS, theirs)
    assert f"{name} is {OTHERS[name]} there and {getattr(OURS, name)} here" in str(told.value)
    assert str(told.value).count(" there and ") == 1


def reading(R_world_tool: np.ndarray, fingers_m: tuple[float, float], sign: float = 1.0) -> dict:
    return {
        "robot0_eef_pos": np.array([0.1, -0.2, 1.0]),
        "robot0_eef_quat": sign * np.roll(quat_from_matrix(R_world_tool), -1),
        "robot0_gripper_qpos": np.array(fingers_m),
    }


DOWN = np.diag([1.0, -1.0, -1.0])


@given(
    turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3), opening=st.floats(0, 1), sign=st.sampled_from([-1.0, 1.0])
)
def test_the_state_is_the_turn_from_straight_down_whatever_the_quaternions_sign(
    turn: tuple[float, float, float], opening: float, sign: float
) -> None:
    R_world_tool = matrix_from_rotvec(np.array(turn)) @ DOWN
    fingers = (opening * FINGER_TRAVEL_M, -opening * FINGER_TRAVEL_M)
    state = native_state(load_card(CARD), reading(R_world_tool, fingers, sign))
    assert state.dtype == np.float32
    np.testing.assert_allclose(state, [0.1, -0.2, 1.0, *turn, opening], atol=1e-5)


@given(turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3), opening=st.floats(0, 1))
def test_a_server_is_told_what_openpis_evaluation_makes_of_the_raw_reading(
    turn: tuple[float, float, float], opening: float
) -> None:
    R_world_tool = matrix_from_rotvec(np.array(turn)) @ DOWN
    fingers = (opening * FINGER_TRAVEL_M, -opening * FINGER_TRAVEL_M)
    raw = reading(R_world_tool, fingers)
    if raw["robot0_eef_quat"][0] < 0:  # the simulator's sign: see the test with LIBERO itself
        raw = reading(R_world_tool, fingers, -1.0)
    *axis, w = raw["robot0_eef_quat"]
    angle = np.array(axis) / np.sqrt(1 - w**2) * 2 * np.arccos(w)
    told = openpi_state(native_state(load_card(CARD), raw))
    assert told.dtype == np.float32
    np.testing.assert_allclose(told, [*raw["robot0_eef_pos"], *angle, *fingers], atol=1e-4)


def test_the_suites_have_the_published_sizes_and_step_limits() -> None:
    assert {name: suite.max_steps for name, suite in SUITES.items()} == {
        "spatial": 220, "object": 280, "goal": 300, "10": 520, "90": 400,
    }  # fmt: skip
    assert {name: suite.tasks for name, suite in SUITES.items()} == {
        "spatial": 10, "object": 10, "goal": 10, "10": 10, "90": 90,
    }  # fmt: skip


def test_a_missing_environment_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBERO.variable, str(tmp_path))
    with pytest.raises(KinemaError, match=r"own environment is missing.*setup_libero\.sh"):
        LiberoBenchmark()


@pytest.mark.parametrize("says", ["No module named kinema", "Segmentation fault"])
def test_an_environment_that_does_not_work_is_one_line(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\necho noise >&2\necho {says} >&2\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(LIBERO.variable, str(tmp_path))
    with pytest.raises(KinemaError) as told:
        LiberoBenchmark()
    assert str(told.value).startswith(f"the simulator's process died with exit code 1: {says}; make it with")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--policy", "expert", "--suites", "10,90"],
            "suites 90 have no expert yet; --suites spatial,object,goal,10 has",
        ),
        (["--policy", "hold", "--episodes", "51"], "50 start states"),
        (["--policy", "hold", "--episodes", "10", "--first", "41"], "50 start states"),
        (["--policy", "hold", "--robots", "panda"], "--robots says nothing to libero"),
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
    monkeypatch.setenv(LIBERO.variable, str(tmp_path / "nothing"))
    assert says in one_line(["eval", "libero", *arguments, "--out", str(tmp_path / "out")], capsys)


def test_an_unknown_suite_is_named_with_the_choices() -> None:
    with pytest.raises(KinemaError, match=r"'spatal'; choices: spatial, object"):
        LiberoBenchmark(suites=("spatal",))
