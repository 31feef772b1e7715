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

from kinema.bench.video import data_uri
from kinema.runtime.plot import Series, line_plot

_GROUPS = {
    "loss": "Losses", "held_out": "What was held out", "success": "Acting", "errors": "Acting: errors",
    "optim": "Gradients", "lr": "Learning rates", "rate": "Speed", "watched": "Data",
}  # fmt: skip
_POINTS = 400  # of a curve; more are not seen at its width
_FILMS, _FILM_BYTES = 8, 12_000_000


def write_page(out: Path) -> Path:
    """Write `report.html` into a run's folder, from the curves and `run.json` there; returns its path."""
    about = json.loads((out / "run.json").read_text())
    curves = read_curves(out / "curves.jsonl")
    sections = [_section(title, _plots(curves, group)) for group, title in _GROUPS.items()]
    sections += [_section("Films of the last evaluation", _films(out)), _section("Made with", _table(about))]
    title = html.escape(f"{about['recipe']}: {about['steps']} steps")
    page = _PAGE.replace("@title@", title).replace("@body@", "\n".join(filter(None, sections)))
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
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
    shown: list[str] = []
    left = _FILM_BYTES
    for path in sorted((evaluations[-1] / "videos").rglob("*.mp4")) if evaluations else ():
        left -= path.stat().st_size
        if left < 0 or len(shown) == _FILMS:
            break
        film = f'<video src="{data_uri(path)}" muted loop playsinline controls></video>'
        shown.append(f"<figure>{film}<figcaption>{html.escape(path.stem)}</figcaption></figure>")
    return f'<div class="plots">{"".join(shown)}</div>' if shown else ""


def _table(about: Mapping[str, Any]) -> str:
    rows = (
        f"<dt>{html.escape(name.replace('_', ' '))}</dt><dd>{html.escape(_shown(value))}</dd>"
        for name, value in about.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{body}" if body else ""


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@title@</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; margin: 0 auto; padding: 24px;
       max-width: 1100px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 28px 0 8px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 14px; }
figure { margin: 0; } figcaption { font-size: 13px; color: #59636e; } video { width: 100%; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; }
dt { color: #59636e; } dd { margin: 0; overflow-wrap: anywhere; }
</style></head><body>
<h1>@title@</h1>
@body@
</body></html>
"""
