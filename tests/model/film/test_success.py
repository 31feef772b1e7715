"""The success check as an artifact: what is saved is what answers, and nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.model.film.detector import DetectorConfig, FilmDetector
from kinema.model.film.eyes import FilmEyes, fresh_eyes
from kinema.model.film.step_check import KINDS, StepCheckConfig, StepCheckNet, features_of
from kinema.model.film.success import SuccessCheck, save_check
from kinema.schema import KinemaError, Observation

THINGS = ("red block", "blue bowl", "red button", "red pressed button", "gripper")
STATE = np.arange(7, dtype=np.float32)


def _eyes(seed: int = 0) -> FilmEyes:
    torch.manual_seed(seed)
    model = FilmDetector(DetectorConfig(things=THINGS, image_size=32, widths=(4, 4, 8)))
    return fresh_eyes(model, error={}, provenance={})


def _names(step: str) -> tuple[str, str]:
    return ("red button", "") if "press" in step else ("red block", "blue bowl")


def _seen(time_s: float = 0.0, seed: int = 1) -> Observation:
    images = np.random.default_rng(seed).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    return Observation(
        images=dict(zip(("front", "wrist"), images)), state=STATE, instruction="", time_s=time_s
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    eyes = _eyes()
    points = np.zeros((2, len(THINGS), 3), np.float32)
    example = np.stack([features_of(eyes, points, STATE, "red block", "blue bowl")])
    torch.manual_seed(1)
    net = StepCheckNet(StepCheckConfig(features=example.shape[1], width=8))
    about = {
        "card": "panda", "cameras": ["front", "wrist"], "detector": eyes.version, "limit": 0.5,
        "error": {}, "provenance": {},
    }  # fmt: skip
    save_check(net, tmp_path / "check", about, example)
    return tmp_path / "check"


def test_a_loaded_check_answers_and_remembers_no_older_look(saved: Path) -> None:
    check = SuccessCheck.load(saved, _eyes(), _names)
    first, second = _seen(seed=1), _seen(seed=2)
    chances = [check.chance(one, "put it there") for one in (first, second, first)]
    assert chances[0] == chances[2] != chances[1]
    assert 0.0 < chances[0] < 1.0
    assert check.chance(first, "press it") != chances[0]
    assert set(check.sees(first, least=0.0)) == set(THINGS)


def test_other_eyes_are_refused(saved: Path) -> None:
    with pytest.raises(KinemaError, match="was trained on the film detector"):
        SuccessCheck.load(saved, _eyes(seed=3), _names)


def test_a_missing_camera_is_named(saved: Path) -> None:
    seen = _seen()
    blind = Observation(images={"front": seen.images["front"]}, state=STATE, instruction="", time_s=0.0)
    with pytest.raises(KinemaError, match="'wrist'"):
        SuccessCheck.load(saved, _eyes(), _names).chance(blind, "put it there")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("check.json", b"{", "damaged"),
        ("check.json", b'{"format": 9}', "format 9"),
        ("weights.safetensors", b"none", "damaged"),
        ("example.safetensors", None, "incomplete"),
    ],
)
def test_damage_is_named(saved: Path, name: str, content: bytes | None, told: str) -> None:
    (saved / name).unlink()
    if content is not None:
        (saved / name).write_bytes(content)
    with pytest.raises(KinemaError, match=f"(?s){name}.*{told}|{told}.*{name}"):
        SuccessCheck.load(saved, _eyes(), _names)


def test_another_networks_sizes_are_refused(saved: Path) -> None:
    about = json.loads((saved / "check.json").read_text())
    about["network"]["width"] = 16
    (saved / "check.json").write_text(json.dumps(about))
    with pytest.raises(KinemaError, match="does not fit"):
        SuccessCheck.load(saved, _eyes(), _names)


def test_features_say_where_things_are_apart_and_which_kind_it_is() -> None:
    eyes, points = _eyes(), np.zeros((2, len(THINGS), 3), np.float32)
    alone = features_of(eyes, points, STATE, "red block", "blue bowl")
    points[:, THINGS.index("blue bowl"), 0] = 0.5
    apart = features_of(eyes, points, STATE, "red block", "blue bowl")
    assert not np.array_equal(alone, apart)
    kinds = slice(len(alone) - len(KINDS), None)
    assert list(alone[kinds]) == [kind == "bowl" for kind in KINDS]
    pressed = features_of(eyes, points, STATE, "red button", "")
    assert list(pressed[kinds]) == [kind == "button" for kind in KINDS]
    with pytest.raises(KinemaError, match="green block"):
        features_of(eyes, points, STATE, "green block", "blue bowl")
