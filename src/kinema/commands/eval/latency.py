"""`kinema eval latency`: which bodies are judged while the world goes on, and the table of the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema.commands.policies import tabletop_bodies
from kinema.commands.terminal import table

if TYPE_CHECKING:
    from kinema.bench.benchmark import Factory

BODIES = ("panda", "ur5e")


def benchmark(bodies: Sequence[str]) -> Factory:
    from kinema.bench.benchmark import Factory

    standing = tabletop_bodies(bodies)
    return Factory(target="kinema.bench.latency:LatencyBenchmark", arguments={"bodies": standing})


def summary(out: Path) -> str:
    """Write latency.json and say what is in it."""
    from kinema.bench.journal import read_records
    from kinema.bench.latency_table import save_table, settings_table

    rows = settings_table(read_records(out))
    save_table(out, rows)
    header = (
        "strategy",
        "ms",
        "episodes",
        "errors",
        "success",
        "95 % interval",
        "of no latency",
        "steps",
        "jerk m/s³",
        "idle",
        "age s",
    )
    return table([_row(row) for row in rows], header)


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    def shown(key: str, form: str) -> str:
        return "-" if row[key] is None else format(row[key], form)

    low, high = row["published_ci95"]
    return (
        row["strategy"],
        str(row["latency_ms"]),
        str(row["episodes"]),
        str(row["errors"]),
        shown("published_rate", ".1%"),
        f"{low:.1%} to {high:.1%}",
        shown("of_reference", ".1%"),
        shown("steps_of_successes", ".1f"),
        shown("jerk_m_s3", ".1f"),
        shown("idle", ".1%"),
        shown("age_s", ".2f"),
    )
