"""Real against imagined as one HTML page: the measures with intervals, and films that play beside each other.

Everything is inside the file (films as data URIs), so it can be mailed and opened offline.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.bench.episode import EpisodeRecord
from kinema.bench.world.scores import AVERAGED, COUNTED, LOWER_IS_BETTER
from kinema.runtime.html_page import film, gallery, html_page, section, table

_FILM_BYTES = 16_000_000  # of all films together, before base64
_SHOWN = ("followed", "hsd", "ndtw", "psnr_db", "ssim", "feature_distance", "views_apart_m")
_TITLES = {
    "followed": "right thing, right place", "right_thing": "right thing", "placed": "right place",
    "hsd": "HSD", "ndtw": "nDTW", "dyn": "DYN", "scene_consistency": "scene consistency",
    "psnr_db": "PSNR [dB]", "ssim": "SSIM", "feature_distance": "feature distance",
    "permanence": "permanence", "no_penetration": "no penetration", "gravity": "gravity",
    "inertia": "inertia", "views_apart_m": "views apart [mm]",
    "views_apart_aligned_m": "views apart, aligned [mm]", "frechet_distance": "Frechet distance",
}  # fmt: skip
_WHO = {
    "imagined": "imagined", "ceiling": "true film through the model's compression",
    "true": "true film", "repeat": "first frame repeated", "no_language": "without language",
    "other": "told to move another thing",
}  # fmt: skip


def write_gallery(
    out: Path, measured: Mapping[str, Any], records: Sequence[EpisodeRecord], provenance: Mapping[str, Any]
) -> Path:
    """Write `out/gallery.html` from the run in `out`; returns its path."""
    path = out / "gallery.html"
    path.write_text(page(measured, records, out / "videos", provenance), encoding="utf-8")
    return path


def page(
    measured: Mapping[str, Any], records: Sequence[EpisodeRecord], videos: Path, provenance: Mapping[str, Any]
) -> str:
    """The whole page as text; films are read from `videos`."""
    errors = measured["errors"]
    told = f"{errors} scenes crashed and enter no mean here; results.json counts them as failures."
    warning = f'<p class="warn">{told}</p>' if errors else ""
    body = [
        f"<h1>Real and imagined: {measured['films']} held-out scenes</h1>",
        "<p>Above in each film what truly happened, below what was imagined from the first frames and the "
        "sentence alone; each row holds the views of all cameras.</p>",
        warning,
        section("Films", _films(records, videos)),
        section(
            "Measures",
            _table(measured["contestants"])
            + "<p>Means with 95 % intervals (Wilson for shares, bootstrap for the rest). Detector and "
            f"encoder: {html.escape(json.dumps(measured['eyes']))}</p>",
        ),
        section("Made with", f"<pre>{html.escape(json.dumps(dict(provenance), indent=1))}</pre>"),
    ]
    return html_page("Real and imagined", body)


def _table(contestants: Mapping[str, Mapping[str, Any]]) -> str:
    names = [name for name in _WHO if name in contestants]
    rows = (
        [
            html.escape(_TITLES[measure]) + (" ↓" if measure in LOWER_IS_BETTER else " ↑"),
            *(_cell(measure, contestants[name].get(measure)) for name in names),
        ]
        for measure in (*COUNTED, *AVERAGED, "frechet_distance")
    )
    return table(["", *(_WHO[name] for name in names)], rows)


def _cell(measure: str, entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "–"
    shown = _number(measure, entry["mean"])
    if "ci95" not in entry:
        return shown
    low, high = (_number(measure, end) for end in entry["ci95"])
    return f"{shown}<small>{low} to {high}</small>"


def _number(measure: str, value: float) -> str:
    if measure in COUNTED:
        return f"{100 * value:.1f} %"
    if measure.endswith("_m"):
        return f"{1000 * value:.1f}"
    return f"{value:.1f}" if measure == "psnr_db" else f"{value:.3f}"


def _films(records: Sequence[EpisodeRecord], videos: Path) -> str:
    figures: list[tuple[str, str]] = []
    left = _FILM_BYTES
    for record in sorted(records, key=lambda r: (r.index, r.task)):
        path = videos / record.video if record.video else None
        if path is None or not path.exists() or path.stat().st_size > left:
            continue
        left -= path.stat().st_size
        figures.append((film(path), _caption(record)))
    return gallery(figures) or "<p>No films were kept.</p>"


def _caption(record: EpisodeRecord) -> str:
    sentence, _, verdict = record.cause.partition(": ")
    good = "good" if record.result == "success" else "bad"
    numbers = [
        f"{_TITLES[name]} {_number(name, record.measures[f'imagined.{name}'])}"
        for name in _SHOWN
        if f"imagined.{name}" in record.measures and name != "followed"
    ]
    return (
        f"<b>{html.escape(sentence)}</b><br>"
        f'<span class="{good}">{html.escape(verdict)}</span><br>'
        f"{html.escape(record.task)}, seed {record.seed}<br>{html.escape(', '.join(numbers))}"
    )
