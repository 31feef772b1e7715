"""What the results page says, as text: a section for each benchmark, the same for Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinema.bench.board.published import Published
from kinema.bench.board.runs import Run

Row = tuple[str, ...]
NONE_OF_OURS = "No results file of ours yet."


@dataclass(frozen=True, kw_only=True)
class Table:
    """words: its cells are sentences, not numbers"""

    caption: str
    heads: Row
    rows: tuple[Row, ...]
    words: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """differences: what ours does otherwise than the published protocol, in the words of its results"""

    title: str
    tables: tuple[Table, ...]
    differences: tuple[str, ...]
    runs: tuple[Run, ...]


def sections(runs: Sequence[Run], published: Sequence[Published]) -> tuple[Section, ...]:
    """One for each benchmark that anybody has a number of."""
    names = dict.fromkeys([*(run.benchmark for run in runs), *(row.benchmark for row in published)])
    return tuple(
        _section(
            name,
            tuple(run for run in runs if run.benchmark == name),
            tuple(row for row in published if row.benchmark == name),
        )
        for name in sorted(names)
    )


def _section(name: str, runs: tuple[Run, ...], published: tuple[Published, ...]) -> Section:
    kinds = dict.fromkeys(group["kind"] for run in runs for group in run.results.groups.values())
    others = [_by_kind(runs, kind) for kind in list(kinds)[1:]]
    tables = [
        _headline(runs, published, next(iter(kinds), "")),
        *(table for table in others if len(table.heads) > 2),
        _how(runs, published),
        _made_with(runs),
    ]
    return Section(
        title=name,
        tables=tuple(table for table in tables if table.rows),
        differences=tuple(dict.fromkeys(sentence for run in runs for sentence in _differences(run))),
        runs=runs,
    )


def _differences(run: Run) -> Iterator[str]:
    """Its benchmark's own sentences, and what lies beside assets that are not all the benchmark's."""
    told = run.results.provenance["benchmark"]
    for key, sentences in told.items():
        if key.startswith("not_as_"):
            yield from sentences
    stand_ins = told.get("assets", {}).get("stand_ins", "none")
    if stand_ins != "none":
        lines = (line.strip() for line in stand_ins.splitlines())
        yield f"assets: {' '.join(line for line in lines if line and not line.startswith('#'))}"


def _headline(runs: Sequence[Run], published: Sequence[Published], kind: str) -> Table:
    """Ours, then what others published, by the groups of the first kind."""
    groups = list(dict.fromkeys([*_groups(runs, kind), *(name for row in published for name in row.rates)]))
    ours = [
        (
            _title(run),
            *(_rate(run.results.groups.get(group)) for group in groups),
            percent(run.results.mean_of_groups),
            interval(run.results.mean_of_groups_ci95),
            _episodes(run),
        )
        for run in runs
    ]
    theirs = [
        (
            f"{row.model} (published)", *(percent(row.rates.get(group)) for group in groups),
            percent(row.mean), "", "",
        )
        for row in published
    ]  # fmt: skip
    heads = ("who", *groups, "mean of the groups", "95 % interval", "episodes")
    return Table(caption=f"Success by {kind}" if kind else "Success", heads=heads, rows=(*ours, *theirs))


def _by_kind(runs: Sequence[Run], kind: str) -> Table:
    groups = _groups(runs, kind)
    rows = tuple((_title(run), *(_rate(run.results.groups.get(group)) for group in groups)) for run in runs)
    return Table(caption=f"Success by {kind}", heads=("who", *groups), rows=rows)


def _how(runs: Iterable[Run], published: Iterable[Published]) -> Table:
    """Size, data, compute and protocol of everybody who learned."""
    ours = [
        (
            run.policy, f"{told.parameters / 1e6:.1f} M",
            f"{told.samples:,} samples of {told.windows:,} recorded steps",
            f"{told.train_s / 60:.0f} minutes ({told.hardware})",
            "see below" if any(_differences(run)) else "none", run.folder.name,
        )
        for run in runs
        if (told := run.training)
    ]  # fmt: skip
    theirs = [(r.model, r.parameters, r.data, r.compute, r.protocol, r.source) for r in published]
    heads = ("who", "parameters", "data", "compute", "what its protocol does otherwise", "source")
    return Table(caption="How", heads=heads, rows=(*ours, *theirs), words=True)


def _made_with(runs: Iterable[Run]) -> Table:
    rows = [
        (
            _title(run),
            f"{told['seed']} ({str(told['seed_rule']).partition(':')[0]})",
            run.weights[:12] or "none",
            str(told["commit"]),
            ", ".join(f"{name} {told['versions'][name]}" for name in _SHOWN if name in told["versions"]),
            str(told["started_utc"])[:10],
            str(told["command"]),
        )
        for run in runs
        for told in (run.results.provenance,)
    ]
    heads = ("who", "seed", "weights (SHA-256)", "commit", "versions", "day", "command")
    return Table(caption="Made with", heads=heads, rows=tuple(rows), words=True)


_SHOWN = ("python", "mujoco", "metaworld", "numpy", "torch")


def _groups(runs: Iterable[Run], kind: str) -> list[str]:
    found = (name for run in runs for name, group in run.results.groups.items() if group["kind"] == kind)
    return list(dict.fromkeys(found))


def _title(run: Run) -> str:
    return run.policy if run.results.complete else f"{run.policy} (stopped early)"


def _rate(count: Mapping[str, Any] | None) -> str:
    if not count or count["published_rate"] is None:
        return "-"
    return f"{percent(count['published_rate'])} ({interval(count['published_ci95'])})"


def _episodes(run: Run) -> str:
    overall = run.results.overall
    crashed = f", {overall['errors']} crashed" if overall["errors"] else ""
    return f"{overall['successes']} of {overall['episodes']} in {len(run.results.tasks)} tasks{crashed}"


def percent(rate: float | None) -> str:
    """With one decimal; "-" of nothing."""
    return "-" if rate is None else f"{100 * rate:.1f} %"


def interval(ends: Sequence[float] | None) -> str:
    """Of a rate, in percent; "-" of nothing."""
    return "-" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"
