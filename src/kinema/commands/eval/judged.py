"""What all evaluations share on the command line: the options of a run, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from kinema.commands.terminal import saved_on_interrupt, say_error, table, writable

if TYPE_CHECKING:
    from kinema.bench.results import Results
    from kinema.bench.settings import RunSettings

SEED_HELP = (
    "Decides every scene and all noise: `fresh` (from the hash of what is judged: nobody has chosen it, for "
    "numbers that are published), `dev` (0, for looking at while developing), or a number."
)


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """How a run is played, apart from what is judged.

    seed:     as `kinema.bench.seeds.seed_of` takes it
    ray:      the address of a cluster whose nodes play
    baseline: also play random, hold and the expert in the same scenes
    """

    out: Path
    episodes: int
    seed: str = "fresh"
    workers: int = 1
    ray: str | None = None
    retry_errors: bool = False
    baseline: bool = False

    def __post_init__(self) -> None:
        if self.ray is not None:
            from kinema.pool.on_ray import OnRay

            OnRay(self.ray)  # says what is wrong with it before anything is done


def play(settings: RunSettings, sitting: Sitting) -> Results:
    """Play what is missing in `sitting.out`, and the baselines in the same scenes where asked for."""
    from kinema.bench.run import run

    settings = replace(settings, retry_errors=sitting.retry_errors)
    with saving(writable(sitting.out)):
        results = run(settings, sitting.out, workers=sitting.workers, ray=sitting.ray)
        if sitting.baseline:
            from kinema.commands.eval.baselines import with_baselines

            results = with_baselines(results, settings, sitting)
    return results


def saving(out: Path) -> AbstractContextManager[None]:
    """Say on Ctrl-C where the episodes are that have been played."""
    return saved_on_interrupt(lambda: f"Finished episodes are in {out}; the same command goes on from there.")


def finish(out: Path, *results: Results) -> None:
    """Say what a reader has to know beside the numbers. Exits with 1 when an episode was an error."""
    for warning in dict.fromkeys(warning for one in results for warning in one.warnings):
        print(f"note: {warning}", file=sys.stderr)
    errors = sum(_errors(one) for one in results)
    if not errors:
        return
    first = next(one.first_error for one in results if one.first_error)
    tell_errors(out, errors, f"{first['task']}, episode {first['index']}: {first['cause']}")


def tell_errors(out: Path, errors: int, first: str) -> NoReturn:
    """One line about episodes that crashed, and exit code 1."""
    count = f"{errors} episode was an error" if errors == 1 else f"{errors} episodes were errors"
    say_error(
        f"{count}, no success in any published rate; the first: {first}. "
        f"More in {out / 'errors'}; --retry-errors plays them again"
    )
    raise typer.Exit(1)


def rate_cells(count: Mapping[str, Any]) -> tuple[str, ...]:
    """Published rate and interval, episodes, and where there were errors the rate of the scored episodes."""
    rate, scored = count["published_rate"], count["success_rate"]
    if rate is None:
        return "-", "-", str(count["episodes"]), str(count["errors"]), "-"
    low, high = count["published_ci95"]
    return (
        f"{rate:.1%}", f"{low:.1%} to {high:.1%}", str(count["episodes"]), str(count["errors"]),
        f"{scored:.1%}" if count["errors"] else "",
    )  # fmt: skip


def headline(results: Results, what: str) -> str:
    """The published rate in a sentence, with the seed it was measured on."""
    rate, interval, episodes, errors, scored = rate_cells(results.overall)
    beside = f", {errors} crashed and count as not ({scored} of the others do)" if int(errors) else ""
    told = f"{rate} of {episodes} {what} (95 % interval {interval}){beside}"
    return f"{told}\n{seed_line(results)}"


def seed_line(results: Results) -> str:
    """The run's seed and where it comes from."""
    return f"seed {results.provenance['seed']}: {results.provenance['seed_rule']}"


RATE_HEADER = ("success", "95 % interval", "episodes", "errors", "of scored")


def rates_table(rows: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]], header: tuple[str, ...]) -> str:
    """Counts as a table; the column of scored episodes is there only where episodes were errors."""
    cells = [(*names, *rate_cells(count)) for names, count in rows]
    keep = len(header) + len(RATE_HEADER) - (0 if any(count["errors"] for _, count in rows) else 1)
    return table([row[:keep] for row in cells], (*header, *RATE_HEADER)[:keep])


def _errors(results: Results) -> int:
    return results.overall["errors"] + sum(b["overall"]["errors"] for b in results.baselines.values())
