"""LIBERO-Plus: what its names say, and what is refused before its simulator is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.bench.libero.plus import AXES, PLUS, changed
from kinema.bench.libero.suites import CHOICES
from refusals import one_line


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("put_it_on_the_plate_view_7_0_100_0_0_initstate_0", "camera"),
        ("put_it_on_the_plate_view_0_0_115_0_0_initstate_0", "camera"),
        ("put_it_on_the_plate_view_0_0_100_2_352_initstate_0", "camera"),
        ("put_it_on_the_plate_view_0_0_100_0_0_initstate_283", "robot"),
        ("put_it_on_the_plate_view_0_0_100_0_0_initstate_0_noise_38", "noise"),
        ("put_it_on_the_plate_language_12_view_0_0_100_0_0_initstate_0", "language"),
        ("put_it_on_the_plate_light_3", "light"),
        ("put_it_on_the_plate_table_17", "background"),
        ("put_it_on_the_plate_tb_4", "background"),
        ("put_it_on_the_plate_add_20", "layout"),
        ("put_it_on_the_plate_moved_level2_sample3", "layout"),
    ],
)
def test_a_name_says_what_is_changed(name: str, axis: str) -> None:
    assert changed(name) == ("put_it_on_the_plate", axis)
    table = f"from_table_center_and_{name}"
    assert changed(table) == ("from_table_center_and_put_it_on_the_plate", axis)


def test_an_unchanged_name_says_nothing() -> None:
    assert changed("pick_up_the_black_bowl_from_table_center_and_place_it_on_the_plate") is None


def test_a_missing_environment_and_an_unknown_axis_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PLUS.variable, str(tmp_path / "nothing"))
    told = ["eval", "libero", "--policy", "hold", "--out", str(tmp_path / "out"), "--variation"]
    assert "LIBERO-Plus's own environment is missing" in one_line([*told, "plus-camera"], capsys)
    assert "unknown variation of LIBERO 'plus-lights'; did you mean plus-light" in one_line(
        [*told, "plus-lights"], capsys
    )
    assert set(CHOICES) >= {f"plus-{axis}" for axis in AXES}
