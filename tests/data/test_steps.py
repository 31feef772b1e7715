"""Looks at long tasks on disk: written and read they are the same, joined they keep their questions."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from kinema.data.steps import NONE, StepLooks, read_steps, with_places, write_steps
from kinema.schema import KinemaError

LOOKS = StepLooks(
    card="panda", things=("red block", "blue bowl"), cameras=("front",),
    images=np.arange(2 * 16 * 16 * 3, dtype=np.uint8).reshape(2, 1, 16, 16, 3),
    state=np.ones((2, 7), np.float32), seed=np.array([5, 6]), back=np.array([True, False]),
    look=np.array([0, 1, 1]), thing=np.array([0, 0, 0]), place=np.array([1, 1, NONE]),
    done=np.array([False, True, False]),
)  # fmt: skip


def test_written_and_read_they_are_the_same(tmp_path: Path) -> None:
    write_steps(tmp_path / "0.npz", LOOKS)
    read = read_steps(tmp_path)
    for one in fields(StepLooks):
        np.testing.assert_array_equal(getattr(read, one.name), getattr(LOOKS, one.name))


def test_the_questions_of_a_second_shard_are_about_its_own_looks(tmp_path: Path) -> None:
    write_steps(tmp_path / "0.npz", LOOKS)
    write_steps(tmp_path / "1.npz", replace(LOOKS, seed=np.array([7, 8])))
    read = read_steps(tmp_path)
    assert list(read.seed[read.look]) == [5, 6, 6, 7, 8, 8]


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match="kinema data make steps"):
        read_steps(tmp_path)
    write_steps(tmp_path / "0.npz", LOOKS)
    write_steps(tmp_path / "1.npz", replace(LOOKS, things=("red block", "green bowl")))
    with pytest.raises(KinemaError, match=r"1\.npz is of another body, other cameras or other things"):
        read_steps(tmp_path)
    (tmp_path / "1.npz").write_bytes(b"no zip")
    with pytest.raises(KinemaError, match=r"1\.npz is damaged"):
        read_steps(tmp_path)


def test_counts_must_fit() -> None:
    with pytest.raises(KinemaError, match="2 pictures"):
        replace(LOOKS, state=np.ones((1, 7), np.float32))
    with pytest.raises(KinemaError, match="3 questions"):
        replace(LOOKS, done=np.array([True]))
    with pytest.raises(KinemaError, match="looks 0"):
        replace(LOOKS, look=np.array([0, 1, 2]))


def test_names_become_numbers() -> None:
    named = [("red block", "blue bowl"), ("red block", "")]
    assert with_places(named, LOOKS.things) == ([0, 0], [1, NONE])
