"""The results page as a marked part of a Markdown file; what stands around it is written by people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kinema.bench.board.runs import Run, linked
from kinema.bench.board.sections import NONE_OF_OURS, Section, Table
from kinema.schema import KinemaError

BEGIN = "<!-- begin: written by `kinema results` -->"
END = "<!-- end: written by `kinema results` -->"


def with_board(page: Path, sections: Sequence[Section]) -> str:
    """The page's text with the board between its two marks. Raises KinemaError for a page without them."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise KinemaError(f"{page} has no place for the board; put these lines into it: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{board(sections, page.parent)}\n{END}{after}"


def board(sections: Iterable[Section], where: Path) -> str:
    """where: the page's folder, from which films are linked"""
    return "\n".join(line for section in sections for line in _lines(section, where))


def _lines(section: Section, where: Path) -> list[str]:
    lines = [f"### {section.title}", "", *([] if section.runs else [NONE_OF_OURS, ""])]
    for table in section.tables:
        lines += [f"{table.caption}:", "", *_table(table), ""]
    if section.differences:
        lines += ["What ours does otherwise:", "", *(f"- {told}" for told in section.differences), ""]
    for run in section.runs:
        if links := _films(run, where):
            lines += [f"{run.policy} failing, on film: {links}.", ""]
    return lines


def _table(table: Table) -> list[str]:
    rows = [table.heads, ("---",) * len(table.heads), *table.rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def _films(run: Run, where: Path) -> str:
    links = (f"[{one.task} {one.index}]({linked(film, where)})" for one, film in run.films)
    return ", ".join(links)
