"""What kinema's pages share: the frame, the look, and their tables, lists and films.

A page holds everything it shows (films and pictures as data URIs), so it can be mailed and opened offline;
all but `film_beside`.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

_KINDS = {".mp4": "video/mp4", ".gif": "image/gif", ".png": "image/png"}


def html_page(title: str, parts: Iterable[str]) -> str:
    """A whole page. `title` is text and is escaped; the parts are HTML and stand as they are."""
    body = "\n".join(filter(None, parts))
    return _PAGE.replace("@title@", html.escape(title)).replace("@body@", body)


def section(title: str, content: str) -> str:
    """Nothing where there is no content."""
    return f"<h2>{html.escape(title)}</h2>\n{content}" if content else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML, heads are text."""
    lines = ["".join(f"<th>{html.escape(head)}</th>" for head in heads)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f'<div class="scroll"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def definitions(pairs: Mapping[str, str]) -> str:
    """Names and values, both text; a value's lines stay lines."""
    rows = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in pairs.items())
    return f"<dl>{''.join(rows)}</dl>"


def film(path: Path) -> str:
    """The MP4 (or GIF or PNG) itself; it plays while it is seen."""
    uri = f"data:{_KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    if path.suffix != ".mp4":
        return f'<img src="{uri}" alt="">'
    return f'<video src="{uri}" controls muted loop playsinline></video>'


def film_beside(address: str) -> str:
    """An MP4 (or GIF) that stays a file of its own, by its address as seen from the page."""
    address = html.escape(quote(address))
    if not address.endswith(".mp4"):
        return f'<img src="{address}" alt="">'
    return f'<video src="{address}" controls muted loop playsinline preload="none"></video>'


def gallery(figures: Iterable[tuple[str, str]]) -> str:
    """Films beside each other, each with its caption; both are HTML."""
    shown = "".join(f"<figure>{film}<figcaption>{told}</figcaption></figure>" for film, told in figures)
    return f'<div class="gallery">{shown}</div>' if shown else ""


def some_films(paths: Iterable[Path], most: int = 8, most_bytes: int = 12_000_000) -> str:
    """The first of these films with their names, as many as a page holds that can be mailed."""
    shown: list[tuple[str, str]] = []
    for path in paths:
        most_bytes -= path.stat().st_size
        if most_bytes < 0 or len(shown) == most:
            break
        shown.append((film(path), html.escape(path.stem)))
    return gallery(shown)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@title@</title>
<style>
:root { color-scheme: light; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 1100px; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 10px; }
h3 { font-size: 15px; margin: 16px 0 4px; }
.top { display: flex; flex-wrap: wrap; gap: 24px; margin-top: 18px; }
.top > * { flex: 1 1 380px; min-width: 0; }
.numbers { display: flex; flex-wrap: wrap; gap: 14px; margin-top: 16px; }
.number { border: 1px solid var(--line); border-radius: 6px; padding: 10px 16px; }
.number b { display: block; font-size: 21px; } .number span, figcaption, dt { color: var(--soft); }
.badge { display: inline-block; color: #fff; border-radius: 4px; padding: 1px 9px; }
.good { color: #1a7f37; } .bad, .warn { color: #b42318; } .warn { font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; max-width: 9em; }
th, td { padding: 3px 10px; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
.said { text-align: left; min-width: 6em; max-width: 22em; white-space: normal; overflow-wrap: anywhere; }
td small { display: block; color: var(--soft); white-space: nowrap; font-size: 11px; }
.gallery, .plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 14px; }
.wide { grid-column: 1 / -1; }
figure { margin: 0 0 14px; }
figcaption { font-size: 13px; margin-top: 4px; } figcaption b { color: var(--ink); }
video, img { width: 100%; border-radius: 4px; display: block; }
figure video, figure img { image-rendering: pixelated; }
svg { width: 100%; height: auto; } svg.bar { display: block; width: auto; }
blockquote { margin: 0; padding: 10px 14px; background: #f6f8fa; border-left: 3px solid var(--line); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 0; }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
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
    const fit = () => v.closest("figure")?.classList.toggle("wide", v.videoWidth > 2.5 * v.videoHeight);
    v.readyState > 0 ? fit() : v.addEventListener("loadedmetadata", fit);
  });
});
</script>
</body></html>
"""
