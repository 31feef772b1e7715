"""What `kinema retarget` made as one HTML page: films, and the numbers of each. Everything is inside it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema.runtime.html_page import film, gallery, html_page

_NUMBERS = {
    "tool_error_mm": "tool from the path, mm", "tool_error_max_mm": "at most, mm",
    "track_error_mm": "tracked path from the true one, mm", "psnr_db": "PSNR against the true film, dB",
    "replayed": "replayed in the true world",
}  # fmt: skip


def write_page(out: Path, report: Mapping[str, Any]) -> Path:
    """Write `out/report.html` from what report.json holds; returns its path."""
    films = gallery((film(Path(row["strip"])), _caption(row)) for row in report["episodes"])
    left = "".join(
        f"<p>Episode {html.escape(number)} is left out: {html.escape(fault)}</p>"
        for number, fault in report.get("untracked", {}).items()
    )
    title = f"{report['robot']} in a person's place"
    by = html.escape(str(report["composed_by"]))
    parts = [f"<h1>{html.escape(title)}</h1><p>Composed by: {by}</p>", films, left]
    path = out / "report.html"
    path.write_text(html_page(title, parts), encoding="utf-8")
    return path


def _caption(row: Mapping[str, Any]) -> str:
    numbers = "; ".join(f"{name}: {_shown(row[key])}" for key, name in _NUMBERS.items() if key in row)
    return (
        f"<b>{html.escape(row['instruction'])}</b><br>{html.escape(row['shows'])}<br>{html.escape(numbers)}"
    )


def _shown(value: float | bool) -> str:
    if isinstance(value, bool):
        return "success" if value else "failure"
    return f"{value:.2f}"
