"""A line plot as a piece of SVG: enough for a report, with nothing to install."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WIDTH, _HEIGHT = 320, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 8, 24, 26


@dataclass(frozen=True, kw_only=True)
class Series:
    name: str
    y: np.ndarray  # (N,)
    colour: str


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """The data window and where it lies on the canvas."""

    x0: float
    x1: float
    y0: float
    y1: float

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Canvas coordinates, float64 (N, 2)."""
        u = _LEFT + (x - self.x0) / (self.x1 - self.x0) * (_WIDTH - _LEFT - _RIGHT)
        v = _HEIGHT - _BOTTOM - (y - self.y0) / (self.y1 - self.y0) * (_HEIGHT - _TOP - _BOTTOM)
        return np.stack([u, v], axis=-1)


def line_plot(
    *,
    title: str,
    x: np.ndarray,
    series: Sequence[Series],
    x_label: str,
    limits: tuple[float, float] | None = None,
) -> str:
    """One `<svg>` with the series over x (N,); `limits` are drawn dashed and always lie inside the window.

    Values that are not finite leave a gap.
    """
    axes = _window(x, [s.y for s in series], limits)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}" '
        'font-family="system-ui, sans-serif" font-size="10">',
        f'<text x="{_LEFT}" y="14" font-size="12" font-weight="600">{html.escape(title)}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT - _TOP - _BOTTOM}" '
        'fill="none" stroke="#d1d9e0"/>',
        *_ticks(axes, x_label),
    ]
    if limits is not None:
        parts += [_dashed(axes, limit) for limit in limits]
    for s in series:
        parts += [_polyline(axes, x[run], s.y[run], s.colour) for run in _finite_runs(s.y)]
    return "".join(parts) + "</svg>"


def _window(x: np.ndarray, ys: Sequence[np.ndarray], limits: tuple[float, float] | None) -> _Axes:
    values = np.concatenate([*ys, np.array(limits or ())])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.06
    x0, x1 = (float(x[0]), float(x[-1])) if len(x) else (0.0, 1.0)
    return _Axes(x0=x0, x1=x1 if x1 > x0 else x0 + 1.0, y0=float(low - margin), y1=float(high + margin))


def _ticks(axes: _Axes, x_label: str) -> list[str]:
    labels = []
    for y in (axes.y0, (axes.y0 + axes.y1) / 2, axes.y1):
        _, v = axes.at(np.array(axes.x0), np.array(y))
        labels.append(
            f'<text x="{_LEFT - 4}" y="{v + 3:.0f}" text-anchor="end" fill="#59636e">{_short(y)}</text>'
        )
    bottom = _HEIGHT - _BOTTOM + 14
    labels.append(f'<text x="{_LEFT}" y="{bottom}" fill="#59636e">{_short(axes.x0)}</text>')
    right = f"{_short(axes.x1)} {html.escape(x_label)}"
    labels.append(f'<text x="{_WIDTH - _RIGHT}" y="{bottom}" text-anchor="end" fill="#59636e">{right}</text>')
    return labels


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 1e-9 else "0"


def _dashed(axes: _Axes, y: float) -> str:
    (u0, v), (u1, _) = axes.at(np.array([axes.x0, axes.x1]), np.array([y, y]))
    ends = f'x1="{u0:.1f}" y1="{v:.1f}" x2="{u1:.1f}" y2="{v:.1f}"'
    return f'<line {ends} stroke="#cf222e" stroke-dasharray="4 3"/>'


def _polyline(axes: _Axes, x: np.ndarray, y: np.ndarray, colour: str) -> str:
    points = " ".join(f"{u:.1f},{v:.1f}" for u, v in axes.at(x, y))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _finite_runs(y: np.ndarray) -> list[slice]:
    """Stretches of finite values, so that a gap in the data is a gap in the line."""
    finite = np.concatenate([[False], np.isfinite(y), [False]])
    edges = np.flatnonzero(finite[1:] != finite[:-1])
    return [slice(start, stop) for start, stop in zip(edges[::2], edges[1::2])]
