"""A run's page holds its curves, films and provenance, and nothing from outside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from kinema.commands.train.page import read_curves, write_page


def _run(out: Path) -> None:
    lines = [{"step": step, "loss/flow": 1 / step, "rate/samples_per_s": 9.0} for step in (25, 50, 75)]
    lines += [{"step": 50, "loss/flow": 7.0}, {"step": 60, "success/reach": 0.5}]  # taken again after a stop
    (out / "curves.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = {
        "recipe": "<b>line</b>",
        "steps": 75,
        "parameters": 4700000,
        "judged": {"the end": {"slope": 3.0}},
    }
    (out / "run.json").write_text(json.dumps(about))
    for number in (0, 1):
        videos = out / "evaluations" / f"00{number}" / "metaworld" / "videos" / "reach"
        videos.mkdir(parents=True)
        (videos / f"film_{number}.mp4").write_bytes(b"film" * (number + 1))


def test_of_a_step_that_was_taken_again_the_last_counts(tmp_path: Path) -> None:
    _run(tmp_path)
    steps, values = read_curves(tmp_path / "curves.jsonl")["loss/flow"]
    np.testing.assert_array_equal(steps, [25, 50, 75])
    np.testing.assert_allclose(values, [0.04, 7.0, 1 / 75])


def test_the_page_is_whole_and_holds_everything_itself(tmp_path: Path) -> None:
    _run(tmp_path)
    page = write_page(tmp_path).read_text()
    assert page.count("<polyline") == 3
    for told in ("Losses", "flow: 0.01333", "Acting", "reach: 0.5", "4,700,000", "the end: slope: 3.0"):
        assert told in page
    assert "<b>line</b>" not in page
    assert "film_1" in page
    assert "film_0" not in page  # the last evaluation alone
    assert not [src for src in re.findall(r'(?:src|href)="([^"]*)"', page) if not src.startswith("data:")]


def test_a_run_without_curves_or_films_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "line", "steps": 1}))
    assert "Made with" in write_page(tmp_path).read_text()
