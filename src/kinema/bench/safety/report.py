"""The safety evaluation as one HTML file: judges side by side, the promise, the episodes, the films."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.runtime.html_page import film, gallery, html_page, section, table

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
        section("Made with", f"<pre>{html.escape(json.dumps(results['provenance'], indent=1))}</pre>"),
        section("The gate", f"<pre>{html.escape(json.dumps(results['gate'], indent=1))}</pre>"),
    ]
    path.write_text(html_page("Safety of the gate", sections), encoding="utf-8")
    return path


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(heads, ([html.escape(cell) for cell in row] for row in rows))


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
    for case, path in zip(cases, films):
        caption = (
            f"{case['body']}, {case['kind']} chunk, intruder: {case['intruder']}; "
            f"risk {case['risk']:.3f}, limit {case['limit']:.3f}"
        )
        figures.append((film(path), html.escape(caption)))
    note = "<p>Green: where the tool really went. Orange: where the gate foresaw it.</p>" if figures else ""
    return section(title, note + gallery(figures)) if figures else ""
