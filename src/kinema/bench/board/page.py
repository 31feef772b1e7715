"""The results page as one HTML file; films stay beside it and are linked."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from kinema.bench.board.runs import Run, linked
from kinema.bench.board.sections import NONE_OF_OURS, Section, Table
from kinema.bench.report import counts_table
from kinema.runtime.html_page import film_beside, gallery, html_page, section, table


def page(sections: Sequence[Section], where: Path) -> str:
    """where: the page's folder, from which films are linked"""
    parts = [section(one.title, _section(one, where)) for one in sections]
    return html_page("kinema: results", ["<h1>Results</h1>", *parts])


def _section(one: Section, where: Path) -> str:
    parts = [] if one.runs else [f"<p>{NONE_OF_OURS}</p>"]
    parts += [f"<h3>{html.escape(shown.caption)}</h3>{_table(shown)}" for shown in one.tables]
    if one.differences:
        told = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in one.differences)
        parts.append(f"<h3>What ours does otherwise</h3><ul>{told}</ul>")
    parts += [_run(run, where) for run in one.runs]
    return "\n".join(parts)


def _table(shown: Table) -> str:
    form = '<div class="said">{}</div>' if shown.words else "{}"
    return table(shown.heads, ([form.format(html.escape(cell)) for cell in row] for row in shown.rows))


def _run(run: Run, where: Path) -> str:
    """Every task with its interval, and what failed on film."""
    tasks = counts_table(run.results.tasks)
    films = gallery(_films(run, where))
    return f"<details><summary>{html.escape(run.policy)}: every task</summary>{tasks}{films}</details>"


def _films(run: Run, where: Path) -> Iterable[tuple[str, str]]:
    for record, film in run.films:
        told = f"{record.task}, episode {record.index}, seed {record.seed}: {record.cause}"
        yield film_beside(linked(film, where)), html.escape(told)
