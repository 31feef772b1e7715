"""A training run as one HTML page: its curves, the films of its last evaluation, and what it is made of.

Everything is inside the file (curves as SVG, films as data URIs), so it can be mailed and opened offline.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinema.runtime.html_page import definitions, html_page, section, some_films
from kinema.runtime.plot import Series, line_plot

_GROUPS = {
    "loss": "Losses", "held_out": "What was held out", "success": "Acting", "errors": "Acting: errors",
    "optim": "Gradients", "lr": "Learning rates", "rate": "Speed", "watched": "Data",
}  # fmt: skip
_POINTS = 400  # of a curve; more are not seen at its width


def write_page(out: Path) -> Path:
    """Write `report.html` into a run's folder, from the curves and `run.json` there; returns its path."""
    about = json.loads((out / "run.json").read_text())
    curves = read_curves(out / "curves.jsonl")
    sections = [section(title, _plots(curves, group)) for group, title in _GROUPS.items()]
    sections += [
        section("Films of the last evaluation", _films(out)),
        section("Made with", definitions(_told(about))),
    ]
    title = f"{about['recipe']}: {about['steps']} steps"
    path = out / "report.html"
    path.write_text(html_page(title, [f"<h1>{html.escape(title)}</h1>", *sections]), encoding="utf-8")
    return path


def read_curves(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and values of each curve. Of a step that was taken again after a stop the last line counts."""
    by_name: dict[str, dict[int, float]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        for name, value in row.items():
            if name != "step":
                by_name.setdefault(name, {})[row["step"]] = value
    return {
        name: (np.array(sorted(values)), np.array([values[step] for step in sorted(values)], float))
        for name, values in by_name.items()
    }


def _plots(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], group: str) -> str:
    drawn = []
    for name, (steps, values) in curves.items():
        if name.split("/")[0] == group:
            every = -(-len(steps) // _POINTS)
            series = [Series(name=name, y=values[::every], colour="#1f6feb")]
            title = f"{name.partition('/')[2].replace('_', ' ')}: {values[-1]:.4g}"
            drawn.append(line_plot(title=title, x=steps[::every], series=series, x_label="steps"))
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def _films(out: Path) -> str:
    evaluations = sorted((out / "evaluations").glob("*/"))
    return some_films(sorted(evaluations[-1].glob("*/videos/**/*.mp4")) if evaluations else ())


def _told(about: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): _shown(value) for name, value in about.items()}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
