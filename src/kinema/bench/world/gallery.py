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
from kinema.bench.video import data_uri
from kinema.bench.world.scores import AVERAGED, COUNTED, LOWER_IS_BETTER

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
    out: Path, table: Mapping[str, Any], records: Sequence[EpisodeRecord], provenance: Mapping[str, Any]
) -> Path:
    """Write `out/gallery.html` from the run in `out`; returns its path."""
    path = out / "gallery.html"
    path.write_text(page(table, records, out / "videos", provenance), encoding="utf-8")
    return path


def page(
    table: Mapping[str, Any], records: Sequence[EpisodeRecord], videos: Path, provenance: Mapping[str, Any]
) -> str:
    """The whole page as text; films are read from `videos`."""
    errors = table["errors"]
    told = f"{errors} scenes crashed and enter no mean here; results.json counts them as failures."
    warning = f'<p class="warn">{told}</p>' if errors else ""
    body = [
        f"<h1>Real and imagined: {table['films']} held-out scenes</h1>",
        "<p>Above in each film what truly happened, below what was imagined from the first frames and the "
        "sentence alone; each row holds the views of all cameras.</p>",
        warning,
        "<h2>Films</h2>",
        _films(records, videos),
        "<h2>Measures</h2>",
        _table(table["contestants"]),
        "<p>Means with 95 % intervals (Wilson for shares, bootstrap for the rest). Detector and encoder: "
        f"{html.escape(json.dumps(table['eyes']))}</p>",
        "<h2>Made with</h2>",
        f"<pre>{html.escape(json.dumps(dict(provenance), indent=1))}</pre>",
    ]
    return _PAGE.replace("@body@", "\n".join(filter(None, body)))


def _table(contestants: Mapping[str, Mapping[str, Any]]) -> str:
    names = [name for name in _WHO if name in contestants]
    lines = ["<tr><th></th>" + "".join(f"<th>{html.escape(_WHO[name])}</th>" for name in names) + "</tr>"]
    for measure in (*COUNTED, *AVERAGED, "frechet_distance"):
        arrow = "↓" if measure in LOWER_IS_BETTER else "↑"
        cells = "".join(f"<td>{_cell(measure, contestants[name].get(measure))}</td>" for name in names)
        lines.append(f'<tr><td class="name">{html.escape(_TITLES[measure])} {arrow}</td>{cells}</tr>')
    return '<div class="scroll"><table>' + "".join(lines) + "</table></div>"


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
    figures, left = [], _FILM_BYTES
    for record in sorted(records, key=lambda r: (r.index, r.task)):
        path = videos / record.video if record.video else None
        if path is None or not path.exists() or path.stat().st_size > left:
            continue
        left -= path.stat().st_size
        uri = data_uri(path)
        film = (
            f'<img src="{uri}" alt="">'
            if path.suffix == ".gif"
            else f'<video src="{uri}" autoplay muted loop playsinline></video>'
        )
        figures.append(f"<figure>{film}<figcaption>{_caption(record)}</figcaption></figure>")
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else "<p>No films were kept.</p>"


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


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Real and imagined</title>
<style>
:root { color-scheme: light; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 1200px; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 34px 0 10px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); vertical-align: bottom; max-width: 9em; }
th, td { padding: 4px 12px; border-bottom: 1px solid var(--line); text-align: right; }
td.name { text-align: left; white-space: nowrap; }
td small { display: block; color: var(--soft); white-space: nowrap; font-size: 11px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 18px; }
figure { margin: 0; } figcaption { font-size: 13px; color: var(--soft); margin-top: 4px; }
figcaption b { color: var(--ink); }
.good { color: #1a7f37; } .bad, .warn { color: #b42318; } .warn { font-weight: 600; }
video, img { width: 100%; border-radius: 4px; image-rendering: pixelated; display: block; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
</style></head><body>
@body@
</body></html>
"""
