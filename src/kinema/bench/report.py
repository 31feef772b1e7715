"""One benchmark run as one HTML file: numbers with intervals, films of successes and failures, provenance.

Everything is inside the file (films as data URIs, bars as SVG), so it can be mailed and opened offline.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.bench.episode import EpisodeRecord
from kinema.bench.results import Results
from kinema.runtime.html_page import definitions, film, gallery, html_page, section, table
from kinema.schema import Result

_FILMS_PER_RESULT = 12
_FILM_BYTES = 12_000_000  # of all films together, before base64


def write_report(out: Path, results: Results, records: Iterable[EpisodeRecord]) -> Path:
    """Write `out/report.html` from the run in `out`; returns its path."""
    path = out / "report.html"
    path.write_text(page(results, list(records), out / "videos"), encoding="utf-8")
    return path


def page(results: Results, records: Sequence[EpisodeRecord], videos: Path) -> str:
    """The whole page as text; films are read from `videos`."""
    films = _films(records, videos)
    sections = [
        _headline(results),
        section("Beside it, in the same scenes", counts_table(_baselines(results))),
        section("Groups", counts_table(results.groups, ("kind", "tasks"))),
        section("Tasks", counts_table(results.tasks)),
        section("Failures on film", _gallery(films[Result.FAILURE])),
        section("Successes on film", _gallery(films[Result.SUCCESS])),
        section("Errors", _errors(records)),
        section("Made with", _provenance(results.provenance)),
    ]
    return html_page(f"{results.benchmark}: {_percent(results.mean_of_groups)}", sections)


def _headline(results: Results) -> str:
    overall = results.overall
    policy = results.provenance.get("policy", {})
    state = "" if results.complete else '<p class="warn">This run is not complete.</p>'
    if overall["errors"]:
        state += (
            f'<p class="warn">{overall["errors"]} episodes crashed and count as failures here; of those that '
            f"were scored {_percent(overall['success_rate'])} succeeded.</p>"
        )
    for warning in results.warnings:
        state += f'<p class="warn">{html.escape(warning)}</p>'
    figures = {
        "mean of groups": _percent(results.mean_of_groups),
        "its 95 % interval": _interval(results.mean_of_groups_ci95),
        "mean of tasks": _percent(results.mean_of_tasks),
        "episodes": f"{overall['successes']} of {overall['episodes']} succeeded",
        "their 95 % interval": _interval(overall["published_ci95"]),
    }
    boxes = "".join(
        f'<div class="number"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in figures.items()
    )
    told = html.escape(str(policy.get("policy") or policy.get("target", "")))
    return (
        f"<h1>{html.escape(results.benchmark)}</h1><p>Policy: {told}</p>"
        f'{state}<div class="numbers">{boxes}</div>'
    )


def _baselines(results: Results) -> dict[str, Mapping[str, Any]]:
    return {name: told["overall"] for name, told in results.baselines.items()}


def counts_table(rows: Mapping[str, Mapping[str, Any]], more: tuple[str, ...] = ()) -> str:
    """Counts as `Results` holds them, by name, with the columns `more` of theirs: HTML, "" of none."""
    if not rows:
        return ""
    heads = (
        "", *more, "success", "95 % interval", "", "successes", "failures", "errors", "of scored", "steps",
    )  # fmt: skip
    return table(heads, (_cells(name, row, more) for name, row in rows.items()))


def _cells(name: str, row: Mapping[str, Any], more: tuple[str, ...]) -> list[str]:
    errors, steps = row["errors"], row["mean_steps_of_successes"]
    return [
        html.escape(name),
        *(html.escape(str(row[key])) for key in more),
        _percent(row["published_rate"]),
        _interval(row["published_ci95"]),
        _bar(row["published_rate"], row["published_ci95"]),
        str(row["successes"]),
        str(row["failures"]),
        f'<span class="warn">{errors}</span>' if errors else "0",
        _percent(row["success_rate"]) if errors else "",
        "" if steps is None else f"{steps:.0f}",
    ]


def _bar(rate: float | None, interval: Sequence[float]) -> str:
    """The rate as a bar, the interval as a whisker over it."""
    if rate is None:
        return ""
    low, high = (200 * end for end in interval)
    return (
        '<svg class="bar" viewBox="0 0 200 16" width="200" height="16" preserveAspectRatio="none">'
        '<rect width="200" height="16" fill="#eef1f4"/>'
        f'<rect width="{200 * rate:.1f}" height="16" fill="#54aeff"/>'
        f'<path d="M{low:.1f} 8H{high:.1f}M{low:.1f} 4V12M{high:.1f} 4V12" stroke="#0a3069"/>'
        "</svg>"
    )


def _films(records: Sequence[EpisodeRecord], videos: Path) -> dict[str, list[tuple[EpisodeRecord, Path]]]:
    """Up to _FILMS_PER_RESULT of each result, tasks in turn, first episodes first."""
    chosen: dict[str, list[tuple[EpisodeRecord, Path]]] = {Result.SUCCESS: [], Result.FAILURE: []}
    budget = dict.fromkeys(chosen, _FILM_BYTES // 2)
    for record in sorted(records, key=lambda r: (r.index, r.task)):
        path = videos / record.video if record.video else None
        if record.result not in chosen or path is None or not path.exists():
            continue
        size = path.stat().st_size
        if len(chosen[record.result]) < _FILMS_PER_RESULT and size <= budget[record.result]:
            budget[record.result] -= size
            chosen[record.result].append((record, path))
    return chosen


def _gallery(films: list[tuple[EpisodeRecord, Path]]) -> str:
    return gallery((film(path), html.escape(_caption(record))) for record, path in films)


def _caption(record: EpisodeRecord) -> str:
    told = f"{record.task}, episode {record.index}, seed {record.seed}: {record.steps} steps"
    return told + (f"; {record.cause}" if record.cause else "")


def _errors(records: Sequence[EpisodeRecord]) -> str:
    failed = [record for record in records if record.result == Result.ERROR]
    items = (
        f"<li>{html.escape(record.task)}, episode {record.index}: {html.escape(record.cause)}</li>"
        for record in failed[:50]
    )
    note = "" if len(failed) <= 50 else f"<p>and {len(failed) - 50} more in episodes.jsonl</p>"
    return f"<ul>{''.join(items)}</ul>{note}" if failed else ""


def _provenance(provenance: Mapping[str, Any]) -> str:
    return definitions(
        {
            name: value if isinstance(value, str) else json.dumps(value, indent=1)
            for name, value in provenance.items()
        }
    )


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"


def _interval(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f} %"
