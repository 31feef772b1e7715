"""Do policies rank in the imagined world as they do in the true one? The table, its numbers and a page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kinema.bench.metrics.correlation import chance_of, pearson, spearman
from kinema.runtime.html_page import html_page, section, table
from kinema.schema import KinemaError

FEWEST = 5


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One policy: its skill in the imagined world, its success in the true one, and 95 % intervals."""

    policy: str
    skill: float
    skill_ci95: tuple[float, float]
    success: float
    success_ci95: tuple[float, float]
    episodes: int
    tasks: Mapping[str, tuple[float, float]]  # skill and success by task


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """policies in the order of their true success; `chance`: of such a rank correlation in a random order."""

    policies: Sequence[Ranked]
    spearman: float
    pearson: float
    chance: float
    scenes: int
    provenance: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Write ranking.json and ranking.html."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ranking.json").write_text(json.dumps(asdict(self), indent=1) + "\n")
        (folder / "ranking.html").write_text(page(self))


def rank(policies: Sequence[Ranked], *, scenes: int, provenance: Mapping[str, Any]) -> Ranking:
    """Correlate. Raises KinemaError for fewer than five policies: an order of so few says nothing."""
    if len(policies) < FEWEST:
        raise KinemaError(f"a ranking needs at least {FEWEST} policies; got {len(policies)}")
    ordered = sorted(policies, key=lambda one: -one.success)
    imagined, true = [one.skill for one in ordered], [one.success for one in ordered]
    return Ranking(
        policies=ordered,
        spearman=round(spearman(imagined, true), 4),
        pearson=round(pearson(imagined, true), 4),
        chance=round(chance_of(imagined, true), 6),
        scenes=scenes,
        provenance=provenance,
    )


def page(ranking: Ranking) -> str:
    """A page of its own: the numbers, the table and the two axes against each other."""
    rows = (
        (
            html.escape(one.policy),
            f"{one.skill:.3f}",
            f"{one.skill_ci95[0]:.3f} to {one.skill_ci95[1]:.3f}",
            f"{one.success:.1%}",
            f"{one.success_ci95[0]:.1%} to {one.success_ci95[1]:.1%}",
            str(one.episodes),
        )
        for one in ranking.policies
    )
    heads = ("policy", "imagined skill", "95 %", "true success", "95 %", "true episodes")
    parts = [
        f"<h1>Policies judged in imagination</h1><p>Spearman {ranking.spearman:.2f}, Pearson "
        f"{ranking.pearson:.2f} over {len(ranking.policies)} policies and {ranking.scenes} scenes; a random "
        f"order ranks as well with probability {ranking.chance:.3f}.</p>",
        _scatter(ranking),
        table(heads, rows),
        section("Made with", f"<pre>{html.escape(json.dumps(dict(ranking.provenance), indent=1))}</pre>"),
    ]
    return html_page("Ranking of policies", parts)


def _scatter(ranking: Ranking, width: int = 520, height: int = 340) -> str:
    low = min(0.0, *(one.skill for one in ranking.policies))
    high = max(1.0, *(one.skill for one in ranking.policies))
    marks = ""
    for one in ranking.policies:
        x = 50 + (width - 80) * (one.skill - low) / (high - low)
        y = height - 40 - (height - 70) * one.success
        marks += f"<circle cx='{x:.0f}' cy='{y:.0f}' r='5' fill='#2a6'/>"
        marks += f"<text x='{x + 8:.0f}' y='{y - 6:.0f}' font-size='11'>{html.escape(one.policy)}</text>"
    return (
        f"<svg viewBox='0 0 {width} {height}' style='max-width: {width}px' role='img' "
        "aria-label='skill against success'>"
        f"<line x1='50' y1='{height - 40}' x2='{width - 20}' y2='{height - 40}' stroke='#888'/>"
        f"<line x1='50' y1='20' x2='50' y2='{height - 40}' stroke='#888'/>"
        f"<text x='{width / 2:.0f}' y='{height - 12}' font-size='12'>imagined skill, {low:.2g} to {high:.2g}"
        f"</text><text x='8' y='16' font-size='12'>true success, 0 to 1</text>{marks}</svg>"
    )
