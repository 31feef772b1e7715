"""Whether the statistics that a data set states are those of its numbers.

Axes: E episodes, n numbers of a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from kinema.data import schema_v21 as v21
from kinema.data import schema_v30 as v30
from kinema.data.columns import numbers, read_table
from kinema.data.fault import Fault, Kind, remark
from kinema.data.info import read_json
from kinema.data.metadata import STATS, vector_keys, width_of
from kinema.data.scan import Scan
from kinema.data.statistics import QUANTILES
from kinema.schema import KinemaError

_EXACT = ("min", "max", "mean", "std")
# lerobot's tools leave these as they were when episodes are deleted, split or converted.
_OFTEN_STALE = ("episode_index", "index", "task_index")
_Stated = Mapping[str, Mapping[str, Any]]


def statistics_faults(found: Scan) -> Iterator[Fault]:
    """The faults of meta/stats.json and of every episode's statistics."""
    if not found.records or any(path not in found.files for path in found.records.data.paths()):
        return  # there is nothing whole to compare with
    whole = _Whole(found)
    if found.version != "v2.1":
        yield from _whole_set_faults(whole)
    if found.is_v30:
        yield from _table_faults(whole)
    elif found.version == "v2.1":
        stated, faults = v21.read_episode_stats(found.root)
        for fault in faults:
            yield Fault(kind=Kind.STATISTICS, where=fault.where, detail=fault.detail, repairable=False)
        if not faults:
            yield from _episode_faults(whole, v21.EPISODE_STATS, stated)


class _Whole:
    """The numbers of a scan, all episodes on end; cuts (E,): where each begins."""

    def __init__(self, found: Scan) -> None:
        self.found = found
        files = [found.files[path] for path in found.records.data.paths()]
        of = zip(found.records.data.of.tolist(), found.records.number.tolist())
        parts = [(files[file], files[file].rows.get(number)) for file, number in of]
        self._parts = [(file, rows) for file, rows in parts if rows is not None]
        self._lacks_episodes = len(self._parts) < len(parts)
        self.cuts = np.cumsum([0, *(len(rows) for _, rows in self._parts)])[:-1]

    def values(self, name: str) -> np.ndarray | None:
        """A column (N, n); None when it is not whole (which is named elsewhere)."""
        files = [file for file, _ in self._parts]
        if self._lacks_episodes or any(name not in file.columns or name in file.bad for file in files):
            return None
        values = np.concatenate([file.columns[name][rows] for file, rows in self._parts]).astype(np.float64)
        return values if np.isfinite(values).all() else None


def _whole_set_faults(whole: _Whole) -> Iterator[Fault]:
    found = whole.found
    if not (found.root / STATS).is_file():
        yield _fault(found, STATS, "missing")
        return
    try:
        stated = read_json(found.root / STATS)
    except KinemaError as error:
        yield _fault(found, STATS, str(error))
        return
    for name in vector_keys(found.info["features"]):
        values = whole.values(name)
        if values is None:
            continue
        if name not in stated:
            yield _fault(found, STATS, f"{name} is missing")
        elif told := _differences(stated[name], values, whole.cuts):
            yield from _told(found, STATS, name, told)


def _told(found: Scan, where: str, name: str, detail: str) -> Iterator[Fault]:
    whole = not found.info["features"][name]["dtype"].startswith("float")
    if name in _OFTEN_STALE:
        yield remark(where, f"{name}: {detail}; lerobot's tools leave these as they were")
    elif whole and detail.startswith("std ") and "," not in detail:
        yield remark(where, f"{name}: {detail}; lerobot's are known to be wrong for whole numbers")
    else:
        yield _fault(found, where, f"{name}: {detail}")


def _differences(stated: Any, values: np.ndarray, cuts: np.ndarray) -> str:
    """What disagrees, in words; empty when nothing does. Quantiles may be a mean over the episodes'."""
    if not isinstance(stated, Mapping):
        return "holds no statistics"
    n = values.shape[1]
    true = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    told_by_key = {key: _array(stated.get(key), n) for key in _EXACT}
    wrong = [
        key for key, told in told_by_key.items() if told is None or not (_is_close(told, key, true)).all()
    ]
    count = _array(stated.get("count"), 1)
    if "count" in stated and (count is None or count[0] != len(values)):
        wrong.append("count")
    if not wrong:
        ordered = np.sort(values, axis=0)
        for key in QUANTILES:
            told = _array(stated[key], n) if key in stated else None
            if key in stated and (told is None or not _is_quantile(told, key, ordered, values, cuts)):
                wrong.append(key)
    return f"{', '.join(wrong)} disagree with the data" if wrong else ""


def _array(value: Any, n: int) -> np.ndarray | None:
    try:
        flat = np.ravel(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        return None
    return flat if flat.shape == (n,) else None


def _is_close(told: np.ndarray, key: str, true: Mapping[str, np.ndarray]) -> np.ndarray:
    """Equal within what single precision and another way of summing make, elementwise."""
    largest = np.maximum(np.abs(true["min"]), np.abs(true["max"]))
    off = np.abs(told - true[key])
    if key == "std":  # others take the mean of squares less the square of the mean
        squares = np.abs(told**2 - true[key] ** 2)
        return (off <= 1e-3 * true[key] + 1e-6) | (squares <= 1e-7 * largest**2)
    return off <= 1e-4 * np.maximum(true["max"] - true["min"], np.abs(true[key])) + 1e-6


def _is_quantile(
    told: np.ndarray, key: str, ordered: np.ndarray, values: np.ndarray, cuts: np.ndarray
) -> bool:
    """Near the true quantile, or near the mean of the episodes' quantiles (lerobot's way).

    ordered: `values` with every channel sorted
    """
    slack = (
        0.02 * (ordered[-1] - ordered[0]) + 1e-6 + 1e-4 * np.maximum(np.abs(ordered[0]), np.abs(ordered[-1]))
    )
    at = QUANTILES[key] * (len(ordered) - 1)
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    if ((told >= low - slack) & (told <= high + slack)).all():
        return True
    parts = np.split(values, cuts[1:])
    low, high = (
        np.average(
            [np.quantile(part, QUANTILES[key], axis=0, method=method) for part in parts],
            axis=0,
            weights=[len(part) for part in parts],
        )
        for method in ("lower", "higher")
    )
    return bool(((told >= low - slack) & (told <= high + slack)).all())


def _table_faults(whole: _Whole) -> Iterator[Fault]:
    """The columns `stats/…` of meta/episodes, file by file."""
    found = whole.found
    for path in v30.episode_files(found.root):
        where = str(path.relative_to(found.root))
        stated: dict[int, dict[str, dict[str, Any]]] = {}
        try:
            table = read_table(path, partial(_stated_columns, vector_keys(found.info["features"])))
            if "episode_index" not in table.column_names:
                continue
            episodes = table["episode_index"].to_pylist()
            for name in table.column_names[1:]:
                _, key, part = name.split("/")
                column = numbers(table.column(name), width_of(found.info["features"][key]))
                for episode, row in zip(episodes, column.values):
                    stated.setdefault(episode, {}).setdefault(key, {})[part] = row
                if column.bad:
                    yield _fault(found, where, f"{name} {next(iter(column.bad.values()))}")
        except (KinemaError, TypeError) as error:
            yield _fault(found, where, str(error))
            continue
        yield from _episode_faults(whole, where, stated, complete=False)


def _stated_columns(keys: Sequence[str], names: list[str]) -> list[str]:
    """The episode's number, then what is stated of these features; nothing where that is not stated whole."""
    parts = [f"stats/{key}/{part}" for key in keys if f"stats/{key}/min" in names for part in _EXACT]
    return ["episode_index", *(part for part in parts if part in names)] if "episode_index" in names else []


def _episode_faults(
    whole: _Whole, where: str, stated: Mapping[int, _Stated], complete: bool = True
) -> Iterator[Fault]:
    """Compare all episodes of a feature at once; names the first that differs."""
    found, cuts = whole.found, whole.cuts
    indices = found.records.number.tolist()
    missing = [number for number in indices if number not in stated]
    if complete and missing:
        yield _fault(found, where, f"episode {missing[0]} is missing")
    for name in vector_keys(found.info["features"]):
        values = whole.values(name)
        chosen = [i for i, number in enumerate(indices) if name in stated.get(number, {})]
        if values is None or not chosen:
            continue
        lengths = np.diff([*cuts, len(values)])[:, None]
        mean = np.add.reduceat(values, cuts) / lengths
        centred = values - np.repeat(mean, lengths[:, 0], axis=0)
        true = {
            "min": np.minimum.reduceat(values, cuts),
            "max": np.maximum.reduceat(values, cuts),
            "mean": mean,
            "std": np.sqrt(np.add.reduceat(centred**2, cuts) / lengths),
        }
        differs: dict[int, list[str]] = {}
        for key in _EXACT:
            told = [_array(stated[indices[i]][name].get(key), values.shape[1]) for i in chosen]
            given = np.stack([np.full(values.shape[1], np.nan) if t is None else t for t in told])
            mine = {part: values_[chosen] for part, values_ in true.items()}
            for i in np.flatnonzero(~_is_close(given, key, mine).all(1)):
                differs.setdefault(chosen[i], []).append(key)
        if differs:
            first = min(differs)
            also = f" (and of {len(differs) - 1} more)" if len(differs) > 1 else ""
            detail = f"{', '.join(differs[first])} of episode {indices[first]}{also}"
            yield from _told(found, where, name, f"{detail} disagree with the data")


def _fault(found: Scan, where: str, detail: str) -> Fault:
    return Fault(kind=Kind.STATISTICS, where=where, detail=detail, repairable=found.is_v30)
