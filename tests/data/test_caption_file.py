"""Captions beside a data set: kept, resumed, damaged lines named, both lengths drawn alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinema.data.captions import FILE, CaptionFile, draw_caption, read_captions
from kinema.schema import Captions, KinemaError


def _captions(goal: str = "go") -> Captions:
    return Captions(
        goal=goal, action="a", feedback="f", comprehensive="long", concise="short",
        embodiment="panda", task="push", scenario="table", view="front",
    )  # fmt: skip


def test_long_and_short_are_drawn_with_equal_chance() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_caption(_captions(), rng) for _ in range(4000)]
    assert set(drawn) == {"long", "short"}
    assert abs(drawn.count("long") / 4000 - 0.5) < 0.03


def test_what_was_written_is_read_and_added_to(tmp_path: Path) -> None:
    with CaptionFile(tmp_path).writing() as file:
        file.add(3, _captions("three"))
    again = CaptionFile(tmp_path)
    assert 3 in again
    assert 1 not in again
    with again.writing():
        again.add(1, _captions("one"))
    assert {e: c.goal for e, c in read_captions(tmp_path).items()} == {1: "one", 3: "three"}
    assert (tmp_path / FILE).read_text().startswith('{"episode_index": 1,')


def test_an_interruption_keeps_what_was_done(tmp_path: Path) -> None:
    def stopped() -> None:
        with CaptionFile(tmp_path).writing() as file:
            file.add(0, _captions())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert set(read_captions(tmp_path)) == {0}
    assert [p.name for p in (tmp_path / "meta").iterdir()] == ["captions.jsonl"]


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[]", "{}", '{"episode_index": 0, "goal": "x"}', '{"episode_index": "0"}', "null"],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    with CaptionFile(tmp_path).writing() as file:
        file.add(0, _captions())
    with (tmp_path / FILE).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(KinemaError, match="line 2: not captions"):
        read_captions(tmp_path)


def test_an_episode_described_twice_is_an_error(tmp_path: Path) -> None:
    with CaptionFile(tmp_path).writing() as file:
        file.add(0, _captions())
    path = tmp_path / FILE
    path.write_text(path.read_text() * 2)
    with pytest.raises(KinemaError, match="episode 0 is described twice"):
        read_captions(tmp_path)


def test_a_set_without_captions_has_none(tmp_path: Path) -> None:
    assert read_captions(tmp_path) == {}
