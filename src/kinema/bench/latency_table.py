"""What latency cost: success and motion of each strategy at each latency, from episodes that were played."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinema.bench.episode import EpisodeRecord
from kinema.bench.metrics.intervals import wilson95
from kinema.runtime.strategy import STRATEGIES
from kinema.schema import Result


def settings_table(records: Iterable[EpisodeRecord]) -> list[dict[str, Any]]:
    """One row for each strategy and latency: success, means of the measures, and `of_reference`.

    That is its successes against those of `synchronous` without latency, on the scenes that both have played.
    """
    by_setting: dict[tuple[str, int], list[EpisodeRecord]] = {}
    for record in records:
        _, how, delay = record.task.rsplit("/", 2)
        by_setting.setdefault((how, int(delay.removesuffix("ms"))), []).append(record)
    reference = _won_by_scene(by_setting.get((STRATEGIES[0], 0), []))
    order = {how: i for i, how in enumerate(STRATEGIES)}
    rows = []
    for how, latency_ms in sorted(by_setting, key=lambda key: (order[key[0]], key[1])):
        played = by_setting[how, latency_ms]
        rows.append(
            _row(how, latency_ms, played) | {"of_reference": _share(_won_by_scene(played), reference)}
        )
    return rows


def _won_by_scene(records: Sequence[EpisodeRecord]) -> dict[tuple[str, int], bool]:
    """An episode that crashed was not won."""
    return {(r.task.rsplit("/", 2)[0], r.index): r.result == Result.SUCCESS for r in records}


def _share(won: Mapping[tuple[str, int], bool], reference: Mapping[tuple[str, int], bool]) -> float | None:
    common = won.keys() & reference.keys()
    best = sum(reference[scene] for scene in common)
    return round(sum(won[scene] for scene in common) / best, 4) if best else None


def _row(how: str, latency_ms: int, records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    judged = [record for record in records if record.result != Result.ERROR]
    won = [record for record in judged if record.result == Result.SUCCESS]
    return {
        "strategy": how,
        "latency_ms": latency_ms,
        "episodes": len(records),
        "errors": len(records) - len(judged),
        "successes": len(won),
        "published_rate": round(len(won) / len(records), 4) if judged else None,
        "published_ci95": _interval(len(won), len(records) if judged else 0),
        "success_rate": round(len(won) / len(judged), 4) if judged else None,
        "ci95": _interval(len(won), len(judged)),
        "steps_of_successes": _mean([record.steps for record in won]),
        **{
            name: _mean([r.measures[name] for r in judged])
            for name in ("jerk_m_s3", "idle", "age_s", "changed")
        },
    }


def _interval(successes: int, episodes: int) -> list[float]:
    return [round(end, 4) for end in wilson95(successes, episodes)]


def _mean(values: Sequence[float]) -> float | None:
    return round(math.fsum(values) / len(values), 4) if values else None


def save_table(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `out/latency.json` whole or not at all; returns its path."""
    path, partial = out / "latency.json", out / "latency.partial"
    partial.write_text(json.dumps(list(rows), indent=1) + "\n")
    partial.replace(path)
    return path
