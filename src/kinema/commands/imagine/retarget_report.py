"""What `kinema retarget` made as one HTML page: films, and the numbers of each. Everything is inside it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema.bench.video import data_uri

_NUMBERS = {
    "tool_error_mm": "tool from the path, mm", "tool_error_max_mm": "at most, mm",
    "track_error_mm": "tracked path from the true one, mm", "psnr_db": "PSNR against the true film, dB",
    "replayed": "replayed in the true world",
}  # fmt: skip


def write_page(out: Path, report: Mapping[str, Any]) -> Path:
    """Write `out/report.html` from what report.json holds; returns its path."""
    figures = "".join(_figure(row) for row in report["episodes"])
    left = "".join(
        f"<p>Episode {html.escape(number)} is left out: {html.escape(fault)}</p>"
        for number, fault in report.get("untracked", {}).items()
    )
    title = f"{report['robot']} in a person's place"
    by = html.escape(str(report["composed_by"]))
    body = f"<h1>{html.escape(title)}</h1><p>Composed by: {by}</p>{figures}{left}"
    path = out / "report.html"
    path.write_text(_PAGE.replace("@title@", html.escape(title)).replace("@body@", body), encoding="utf-8")
    return path


def _figure(row: Mapping[str, Any]) -> str:
    numbers = "; ".join(f"{name}: {_shown(row[key])}" for key, name in _NUMBERS.items() if key in row)
    film = data_uri(Path(row["strip"]))
    return (
        f'<figure><video src="{film}" autoplay muted loop playsinline controls></video>'
        f"<figcaption><b>{html.escape(row['instruction'])}</b><br>{html.escape(row['shows'])}<br>"
        f"{html.escape(numbers)}</figcaption></figure>"
    )


def _shown(value: float | bool) -> str:
    if isinstance(value, bool):
        return "success" if value else "failure"
    return f"{value:.2f}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@title@</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; margin: 0 auto; padding: 24px;
       max-width: 1200px; }
h1 { font-size: 26px; margin: 0; } figure { margin: 18px 0; } figcaption { font-size: 13px; color: #59636e; }
video { width: 100%; border-radius: 4px; image-rendering: pixelated; display: block; }
</style></head><body>
@body@
</body></html>
"""
