"""A run of reinforcement as one HTML page: success by round, what was learnt, and films of the last round."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinema.runtime.html_page import definitions, html_page, section, some_films
from kinema.runtime.plot import Series, line_plot
from kinema.train.reinforce.loop import CURVE

_TITLES = {
    "value_loss": "the value head's loss", "loss": "the policy's loss",
    "weight_most": "largest weight of a chunk", "ratio_off": "mean distance of a ratio from one",
}  # fmt: skip


def write_page(out: Path) -> Path:
    """Write `report.html` into the folder of a run that has shipped its artifact; returns its path."""
    lines = [json.loads(line) for line in (out / CURVE).read_text().splitlines()]
    about = json.loads((out / "artifact" / "provenance.json").read_text())["reinforced"]
    judged = {int(number): rate for number, rate in about["judged"].items()}
    plots = [
        _rates("success while trying", {line["round"]: line["won"] / line["episodes"] for line in lines})
    ]
    if judged:
        plots.append(_rates("success on the kept scenes", judged))
    for name, title in _TITLES.items():
        if values := {line["round"]: line[name] for line in lines if name in line}:
            plots.append(_plot(title, values))
    title = f"{len(lines)} rounds, {sum(line['episodes'] for line in lines)} episodes"
    sections = [
        section("By round", f'<div class="plots">{"".join(plots)}</div>'),
        section("Films of the last round", _films(out)),
        section("Made with", definitions(_told(about))),
    ]
    path = out / "report.html"
    path.write_text(html_page(title, [f"<h1>{html.escape(title)}</h1>", *sections]), encoding="utf-8")
    return path


def _rates(title: str, values: Mapping[int, float]) -> str:
    last = 100 * values[max(values)]
    return _plot(f"{title}: {last:.1f} %", {number: 100 * rate for number, rate in values.items()})


def _plot(title: str, values: Mapping[int, float]) -> str:
    series = [Series(name=title, y=np.array([values[n] for n in sorted(values)], float), colour="#1f6feb")]
    return line_plot(title=title, x=np.array(sorted(values)), series=series, x_label="rounds")


def _films(out: Path) -> str:
    folders = sorted(out.glob("round_*/*/videos"))
    return some_films(sorted(folders[-1].glob("**/*.mp4")) if folders else ())


def _told(about: Mapping[str, Any]) -> dict[str, str]:
    settings = {
        **about["about"],
        **about["config"]["learn"],
        "start": about["start"],
        "kept": about["rounds"],
    }
    return {name.replace("_", " "): str(value) for name, value in settings.items()}
