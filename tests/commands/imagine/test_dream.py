"""`kinema dream`: from a first picture and a sentence to a data set that says it was dreamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema import cli
from kinema.bench.metrics.tracks import Eyes, track
from kinema.card.load import load_card
from kinema.commands.imagine import dream
from kinema.commands.imagine.dream_points import named_things, point_labels
from kinema.data.lerobot import Dataset
from kinema.schema import Film
from kinema.space.motion import Motion, targets_along

THINGS = ("red block", "blue bowl", "green button")


class ToyEyes:
    """Sees the first thing at the top left of the first camera's pictures, and the others nowhere."""

    things, version = THINGS, "toy"
    error: Mapping[str, Any] = {}

    def locate(self, pictures: np.ndarray) -> np.ndarray:
        found = np.zeros((len(pictures), len(THINGS), 3), np.float32)
        found[:, 0] = [0.1, -0.2, 0.9]
        found[:, 1:, 2] = 0.2
        return found

    def features(self, pictures: np.ndarray) -> list[np.ndarray]:
        return []


def toy_film(instruction: str = "press the green button") -> Film:
    frames = np.zeros((4, 2, 8, 8, 3), np.uint8)
    return Film(frames=frames, cameras=("front", "wrist"), fps=10 / 3, card="panda", instruction=instruction)


def test_sentences_say_what_to_point_at() -> None:
    assert named_things("put the red block in the blue bowl") == ("red block", "blue bowl")
    assert named_things("push the red block to the green area") == ("red block", "green area")
    assert named_things("stack the red block on the blue block") == ("red block", "blue block")
    assert named_things("press the green button") == ("green button", "green button")
    assert named_things("open the drawer") is None
    assert named_things("tidy up the table") is None


def test_points_are_where_the_eyes_see_them_and_nothing_where_they_do_not() -> None:
    tracks = track(toy_film(), ToyEyes())
    labels = point_labels(tracks, "put the red block in the blue bowl")
    assert labels is not None
    assert labels.shape == (4, 2, 2, 3)
    np.testing.assert_allclose(labels[:, :, 0], np.broadcast_to([0.1, 0.0, 1.0], (4, 2, 3)))
    assert (labels[:, :, 1] == 0).all()
    assert point_labels(tracks, "open the drawer") is None
    assert point_labels(tracks, "put the red block on the green plate") is None


class PerfectReader:
    """Remembers what the oracle's expert does: reads any film of the scene right, or adds a jump."""

    provenance: Mapping[str, Any] = {}

    def __init__(self, jump_m: float = 0.0) -> None:
        self.jump_m = jump_m
        self.model = type("M", (), {"config": type("C", (), {"image_size": 32})})

    def codec(self, card_name: str) -> None:
        load_card(card_name)

    def read(self, film: Film, first_state: np.ndarray | None = None) -> Motion:
        assert first_state is not None
        states = np.tile(first_state.astype(float), (len(film.frames), 1))
        states[:, 2] -= np.linspace(0, 0.1, len(states))
        states[len(states) // 2 :, 1] += self.jump_m
        return Motion(
            card=film.card,
            states=states,
            actions=targets_along(load_card(film.card), states, 3),
            drift=np.zeros(len(states) - 1),
            fps=film.fps,
            control_hz=10.0,
        )


def dreamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: PerfectReader, eyes: Eyes | None = None
) -> tuple[int, Path]:
    monkeypatch.setattr(dream, "film_reader", lambda name: reader)
    monkeypatch.setattr(dream, "_eyes", lambda: eyes)
    out = tmp_path / "dreams"
    words = [
        "dream",
        "--world",
        "oracle",
        "--families",
        "button",
        "--episodes",
        "2",
        "--replay",
        "--out",
        str(out),
    ]
    return cli.exit_code(words), out


def test_dreams_are_written_marked_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out = dreamed(tmp_path, monkeypatch, PerfectReader())
    assert code == 0
    dataset = Dataset.open(out / "panda")
    assert dataset.num_episodes == 2
    assert (dataset.column("dreamed") == 1).all()
    about, *fates = [json.loads(line) for line in (out / "dreamed.jsonl").read_text().splitlines()]
    assert about["provenance"] == "dreamed"
    assert about["world"] == "oracle"
    assert [fate["kept"] for fate in fates] == [True, True]
    assert all(fate["seed"] >= dream.FIRST_SEED for fate in fates)
    assert all(fate["success"] is False for fate in fates), "going straight down presses no button"


def test_implausible_dreams_are_left_out_and_the_reason_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = dreamed(tmp_path, monkeypatch, PerfectReader(jump_m=0.3))
    assert code == 0
    assert not (out / "panda" / "meta" / "info.json").exists()
    _, *fates = [json.loads(line) for line in (out / "dreamed.jsonl").read_text().splitlines()]
    assert not any(fate["kept"] for fate in fates)
    assert all("m/s" in fate["faults"][0] for fate in fates)


def test_dreams_that_do_not_show_what_was_asked_for_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Still(ToyEyes):
        colours = ("red", "yellow", "green", "blue", "purple")
        things = (*(f"{c} button" for c in colours), *(f"{c} pressed button" for c in colours), "gripper")

        def locate(self, pictures: np.ndarray) -> np.ndarray:
            found = np.zeros((len(pictures), len(self.things), 3), np.float32)
            found[:, :5] = [0.5, 0.5, 0.9]
            return found

    code, out = dreamed(tmp_path, monkeypatch, PerfectReader(), Still())
    assert code == 0
    _, *fates = [json.loads(line) for line in (out / "dreamed.jsonl").read_text().splitlines()]
    assert not any(fate["kept"] for fate in fates)
    assert all("moves nothing, not the" in fate["faults"][0] for fate in fates)


def test_a_missing_reader_or_world_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.exit_code(["dream", "--reader", str(tmp_path / "none"), "--out", str(tmp_path / "d")]) == 2
    assert "kinema train nano_inverse" in capsys.readouterr().err


def test_fates_are_counted_with_intervals() -> None:
    def fate(kept: bool, success: bool) -> dream.Fate:
        return dream.Fate(
            card="panda", family="button", seed=1, instruction="x", kept=kept, faults=(), drift=0.0,
            success=success,
        )  # fmt: skip

    text = dream.report([fate(True, True), fate(True, True), fate(False, False)])
    assert "2 of 3" in text
    assert "2/2" in text
    assert "0/1" in text
