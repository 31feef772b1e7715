"""RoboCasa-GR1's adapter: our side of it, and what is missing where the package is absent."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.gr1.benchmark import CARD, GR1
from kinema.bench.gr1.conventions import BENT_RAD, KEYS, by_key, of_card, to_card, to_package
from kinema.bench.gr1.openpi import Gr1Server
from kinema.bench.gr1.tasks import TASKS
from kinema.card.load import load_card
from kinema.schema import Observation
from laws import examples
from refusals import one_line

CARD_GR1 = load_card(CARD)
LOW, HIGH = np.array([channel.range for channel in CARD_GR1.actions]).T


def vectors() -> st.SearchStrategy[np.ndarray]:
    shares = st.lists(st.floats(0, 1), min_size=29, max_size=29)
    return shares.map(lambda share: LOW + np.array(share) * (HIGH - LOW))


@given(vectors())
@examples(30)
def test_the_packages_numbers_are_the_cards_in_other_words(values: np.ndarray) -> None:
    np.testing.assert_allclose(to_card(CARD_GR1, to_package(CARD_GR1, values)), values, atol=1e-12)


@given(st.lists(st.floats(-3, 3), min_size=29, max_size=29))
@examples(30)
def test_a_target_beyond_what_a_hand_heeds_is_its_limit(rad: list[float]) -> None:
    told = np.array(rad)
    heeded = told.copy()
    heeded[14:26] = np.clip(told[14:26], 0.0, np.tile(BENT_RAD, 2))
    np.testing.assert_allclose(to_package(CARD_GR1, to_card(CARD_GR1, told)), heeded, atol=1e-12)


def test_every_number_goes_to_its_key() -> None:
    names = [channel.name for channel in CARD_GR1.actions]
    values = np.arange(29.0)
    values[[i for i, name in enumerate(names) if name.startswith(("left_", "right_"))]] = 1.0  # stretched
    parts = by_key(CARD_GR1, to_package(CARD_GR1, values))
    assert tuple(parts) == KEYS
    assert {key: len(part) for key, part in parts.items()} == dict(zip(KEYS, (7, 7, 6, 6, 3)))
    assert [names[int(i)] for i in parts["waist"]] == [
        "torso_waist_yaw", "torso_waist_pitch", "torso_waist_roll"
    ]  # fmt: skip
    assert names[int(parts["left_arm"][3])] == "l_elbow_pitch"
    assert names[int(parts["right_arm"][6])] == "r_wrist_pitch"
    np.testing.assert_array_equal(parts["left_hand"], 0.0)


def test_a_server_is_told_and_tells_the_packages_numbers() -> None:
    server = Gr1Server("ws://localhost:1")
    state = np.where(HIGH == 1, 0.25, 0.1)
    told = server.state(Observation(images={}, state=state, instruction="", time_s=0.0))
    np.testing.assert_allclose(told[14:26], 0.75 * np.tile(BENT_RAD, 2), rtol=1e-6)
    np.testing.assert_allclose(server.native(told[None])[0], state, atol=1e-6)


def test_the_tasks_are_the_24() -> None:
    kinds = list(TASKS.values())
    assert (kinds.count("articulated"), kinds.count("rearrangement")) == (6, 18)


def test_the_cards_places_are_told_with_the_arms_bases_on_the_waist() -> None:
    told = of_card(CARD_GR1)
    assert [len(told.places_m[key]) for key in ("left_arm", "right_arm", "waist")] == [8, 8, 3]
    assert told.places_m["left_arm"][0] == (0.0, 0.12661, 0.21727)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that holds nothing but this one's packages."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(GR1.variable, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("environment", "RoboCasa-GR1's own environment is missing"),
        ("package", "praxis-robocasa-gr1 is not installed in RoboCasa-GR1's environment"),
    ],
)
def test_what_is_missing_is_one_line(
    missing: str, says: str, bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing == "environment":
        monkeypatch.setenv(GR1.variable, str(bare / "nothing"))
    told = ["eval", "gr1", "--policy", "hold", "--episodes", "1", "--out", str(bare / "out")]
    assert says in one_line(told, capsys)


def test_there_is_no_expert(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["eval", "gr1", "--policy", "expert", "--episodes", "1", "--out", str(bare / "out")]
    assert "RoboCasa-GR1 has no expert" in one_line(told, capsys)
