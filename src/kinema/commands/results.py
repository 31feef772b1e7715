"""`kinema results`: the results page of the runs below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinema.commands.terminal import examples

EXAMPLES = examples(
    "kinema results docs/results --page docs/results.md",
    "kinema results out --board out/board.html",
)


def results(
    folder: Annotated[
        Path,
        typer.Argument(help="Where the runs are, as `kinema eval --out FOLDER/NAME` leaves them."),
    ],
    page: Annotated[
        Path | None, typer.Option(help="A Markdown file whose marked part is written anew.")
    ] = None,
    board: Annotated[
        Path | None, typer.Option(help="The HTML file. Default: board.html in the folder.")
    ] = None,
) -> None:
    """Put all runs into one HTML board, beside what others published (FOLDER/published.yaml)."""
    from kinema.bench.board.markdown import with_board
    from kinema.bench.board.page import page as html_board
    from kinema.bench.board.published import read_published
    from kinema.bench.board.runs import collect
    from kinema.bench.board.sections import sections

    shown = sections(collect(folder), read_published(folder))
    target = board or folder / "board.html"
    texts = {target: html_board(shown, target.parent)}
    if page is not None:
        texts[page] = with_board(page, shown)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"board: {path}")
