"""The safety evaluation as one HTML file: judges side by side, the promise, the episodes, the films."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.bench.video import data_uri

_HAZARD_ORDER = ("any collision", "collision", "intruder", "torque", "drop")


def write_report(path: Path, results: Mapping[str, Any], films: Mapping[str, Sequence[Path]]) -> Path:
    """Write the page. films: by "misses" and "false_stops", in the order of `results["worst"]`."""
    sections = [
        "<h1>Safety of the gate</h1>",
        _episodes(results["episodes"]),
        _promise(results["chunks"]["promise"]),
        _judges(results["chunks"]),
        _groups(results["chunks"]["groups"]),
        _latency(results["latency"]),
        _films("Worst misses", results["worst"]["misses"], films.get("misses", ())),
        _films("Worst false stops", results["worst"]["false_stops"], films.get("false_stops", ())),
        "<h2>Made with</h2><pre>" + html.escape(json.dumps(results["provenance"], indent=1)) + "</pre>",
        "<h2>The gate</h2><pre>" + html.escape(json.dumps(results["gate"], indent=1)) + "</pre>",
    ]
    path.write_text(_PAGE.replace("@body@", "\n".join(sections)), encoding="utf-8")
    return path


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{lines}</table></div>'


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _judges(chunks: Mapping[str, Any]) -> str:
    parts = [
        f"<h2>Judges beside each other</h2><p>{chunks['chunks']} held-out chunks from {chunks['states']} "
        f"states of {chunks['episodes']} episodes, each played in the simulator. The other judges are set to "
        "stop as much that is harmless as the gate does.</p>"
    ]
    for hazard in _HAZARD_ORDER:
        rows = [
            (
                row["judge"], f"{row['harmful'] - row['misses']} of {row['harmful']}",
                _percent(row["prevented"]), _interval(row["prevented_ci95"]),
                _percent(row["false_stops"]), _interval(row["false_stops_ci95"]),
                _number(row["auroc"]), _number(row["calibration_error"]),
            )
            for row in chunks["rows"] if row["hazard"] == hazard
        ]  # fmt: skip
        heads = ("judge", "stopped", "prevented", "95 %", "false stops", "95 %", "AUROC", "calibration error")
        parts.append(f"<h3>{hazard}</h3>" + _table(heads, rows))
    return "".join(parts)


def _interval(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f} %"


def _promise(promise: Mapping[str, Any]) -> str:
    rows = [
        (
            hazard, _percent(p["promised"]), f"{p['misses']} of {p['harmful_chunks']}",
            f"{p['episode_misses']} of {p['episodes']}",
            f"{100 * p['ci95'][0]:.2f}–{100 * p['ci95'][1]:.2f} %",
            "held" if p["held"] else "broken",
        )
        for hazard, p in promise.items()
    ]  # fmt: skip
    heads = ("hazard", "promised", "misses, all chunks", "misses, one chunk per episode", "exact 95 %", "")
    return "<h2>Does the stated miss rate hold?</h2>" + _table(heads, rows)


def _episodes(episodes: Mapping[str, Any]) -> str:
    rows = []
    for which, found in episodes.items():
        for hazard in _HAZARD_ORDER:
            harm = found[hazard]
            rows.append(
                (which, str(found["episodes"]), _percent(found["success_without"]),
                 _percent(found["success_with"]), hazard,
                 str(harm["harmed_without"]), str(harm["harmed_with"]), _percent(harm["prevented"]))
            )  # fmt: skip
    heads = (
        "scenes", "episodes", "success without", "success with", "hazard", "harmed without", "harmed with",
        "prevented",
    )  # fmt: skip
    return "<h2>In closed loop, with and without the gate</h2>" + _table(heads, rows)


def _groups(groups: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    rows = [
        (name, str(g["harmful"]), _percent(g["prevented"]), str(g["harmless"]), _percent(g["false_stops"]))
        for name, g in groups["any collision"].items()
    ]
    heads = ("chunks", "harmful", "prevented", "harmless", "false stops")
    return "<h2>Collisions by body, intruder and kind of chunk</h2>" + _table(heads, rows)


def _latency(latency: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        (body, *(f"{found[key]:.1f} ms" for key in ("p50", "p95", "p99"))) for body, found in latency.items()
    ]
    return "<h2>Eight candidates of one second</h2>" + _table(("body", "median", "p95", "p99"), rows)


def _films(title: str, cases: Sequence[Mapping[str, Any]], films: Sequence[Path]) -> str:
    figures = []
    for case, film in zip(cases, films):
        caption = (
            f"{case['body']}, {case['kind']} chunk, intruder: {case['intruder']}; "
            f"risk {case['risk']:.3f}, limit {case['limit']:.3f}"
        )
        if film.suffix == ".gif":
            shown = f'<img src="{data_uri(film)}" alt="">'
        else:
            shown = f'<video src="{data_uri(film)}" autoplay muted loop playsinline></video>'
        figures.append(f"<figure>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>")
    note = "<p>Green: where the tool really went. Orange: where the gate foresaw it.</p>" if figures else ""
    return f'<h2>{title}</h2>{note}<div class="gallery">{"".join(figures)}</div>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Safety of the gate</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; margin: 0 auto; max-width: 1100px;
       padding: 24px 20px; }
h1 { font-size: 26px; }
h2 { font-size: 18px; margin: 34px 0 10px; } h3 { font-size: 15px; margin: 16px 0 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { color: #59636e; } th, td { padding: 3px 10px; border-bottom: 1px solid #d1d9e0; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 14px; }
figure { margin: 0; } figcaption { color: #59636e; font-size: 13px; }
video, img { width: 100%; image-rendering: pixelated; border-radius: 4px; }
pre { white-space: pre-wrap; font-size: 12px; }
</style></head><body>
@body@
</body></html>
"""
