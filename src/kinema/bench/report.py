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
from kinema.bench.video import data_uri
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
        _section("Beside it: what knows nothing", _table(_baselines(results), ())),
        _section("Groups", _table(results.groups, ("kind", "tasks"))),
        _section("Tasks", _table(results.tasks, ())),
        _section("Failures on film", _gallery(films[Result.FAILURE])),
        _section("Successes on film", _gallery(films[Result.SUCCESS])),
        _section("Errors", _errors(records)),
        _section("Made with", _provenance(results.provenance)),
    ]
    title = html.escape(f"{results.benchmark}: {_percent(results.mean_of_groups)}")
    return _PAGE.replace("@title@", title).replace("@body@", "\n".join(filter(None, sections)))


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
        f'<div class="figure"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in figures.items()
    )
    told = html.escape(str(policy.get("policy") or policy.get("target", "")))
    return (
        f"<h1>{html.escape(results.benchmark)}</h1><p>Policy: {told}</p>"
        f'{state}<div class="figures">{boxes}</div>'
    )


def _baselines(results: Results) -> dict[str, Mapping[str, Any]]:
    return {name: told["overall"] for name, told in results.baselines.items()}


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{content}" if content else ""


def _table(rows: Mapping[str, Mapping[str, Any]], more: tuple[str, ...]) -> str:
    if not rows:
        return ""
    heads = [
        "",
        *more,
        "success",
        "95 % interval",
        "",
        "successes",
        "failures",
        "errors",
        "of scored",
        "steps",
    ]
    lines = ["<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in heads) + "</tr>"]
    for name, row in rows.items():
        steps = row["mean_steps_of_successes"]
        cells = [
            f'<td class="name">{html.escape(name)}</td>',
            *(f"<td>{html.escape(str(row[key]))}</td>" for key in more),
            f"<td>{_percent(row['published_rate'])}</td>",
            f"<td>{_interval(row['published_ci95'])}</td>",
            f"<td>{_bar(row['published_rate'], row['published_ci95'])}</td>",
            *(f"<td>{row[key]}</td>" for key in ("successes", "failures")),
            f'<td class="{"warn" if row["errors"] else ""}">{row["errors"]}</td>',
            f"<td>{_percent(row['success_rate']) if row['errors'] else ''}</td>",
            f"<td>{'' if steps is None else f'{steps:.0f}'}</td>",
        ]
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return '<div class="scroll"><table>' + "".join(lines) + "</table></div>"


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
    figures = []
    for record, path in films:
        uri = data_uri(path)
        film = (
            f'<img src="{uri}" alt="">'
            if path.suffix == ".gif"
            else f'<video src="{uri}" controls muted loop playsinline preload="metadata"></video>'
        )
        caption = f"{record.task}, episode {record.index}, seed {record.seed}: {record.steps} steps"
        caption += f"; {record.cause}" if record.cause else ""
        figures.append(f"<figure>{film}<figcaption>{html.escape(caption)}</figcaption></figure>")
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else ""


def _errors(records: Sequence[EpisodeRecord]) -> str:
    failed = [record for record in records if record.result == Result.ERROR]
    items = (
        f"<li>{html.escape(record.task)}, episode {record.index}: {html.escape(record.cause)}</li>"
        for record in failed[:50]
    )
    note = "" if len(failed) <= 50 else f"<p>and {len(failed) - 50} more in episodes.jsonl</p>"
    return f"<ul>{''.join(items)}</ul>{note}" if failed else ""


def _provenance(provenance: Mapping[str, Any]) -> str:
    rows = []
    for name, value in provenance.items():
        shown = value if isinstance(value, str) else json.dumps(value, indent=1)
        rows.append(f"<dt>{html.escape(name)}</dt><dd><pre>{html.escape(shown)}</pre></dd>")
    return f"<dl>{''.join(rows)}</dl>"


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"


def _interval(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f} %"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@title@</title>
<style>
:root { color-scheme: light; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 1100px; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 34px 0 10px; }
.figures { display: flex; flex-wrap: wrap; gap: 14px; margin-top: 16px; }
.figure { border: 1px solid var(--line); border-radius: 6px; padding: 10px 16px; }
.figure b { display: block; font-size: 21px; } .figure span, figcaption, dt { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); }
th, td { padding: 3px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
td.name, th:first-child { text-align: left; }
.bar { display: block; }
.warn { color: #b42318; font-weight: 600; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 14px; }
.wide { grid-column: 1 / -1; }
figure { margin: 0; } figcaption { font-size: 13px; }
video, img { width: 100%; background: #000; border-radius: 4px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 0; }
dd { margin: 0; min-width: 0; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
</style></head><body>
@body@
<script>
addEventListener("DOMContentLoaded", () => {
  const seen = new IntersectionObserver(entries => entries.forEach(e =>
    e.isIntersecting ? e.target.play().catch(() => {}) : e.target.pause()));
  document.querySelectorAll("video").forEach(v => {
    seen.observe(v);
    // several views side by side are too small in a column
    const fit = () => v.closest("figure").classList.toggle("wide", v.videoWidth > 2.5 * v.videoHeight);
    v.readyState > 0 ? fit() : v.addEventListener("loadedmetadata", fit);
  });
});
</script>
</body></html>
"""
