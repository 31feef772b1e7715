"""A source in a card's terms, or the line that says why it is not: the comparison of `data/fits.py`.

Axes: N rows of all episodes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.data.finding import Finding
from kinema.data.fit_channels import Columns, begins_closed, values_outside
from kinema.data.fits import Declared, compare, refuse
from kinema.data.formats.source import Episode, Source
from kinema.data.metadata import ACTION, EXECUTED, STATE, Metadata
from kinema.data.set_map import SetMap
from kinema.schema import KinemaError, check_instruction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """Whose each row is (N,), for messages."""

    root: Path
    episode_index: np.ndarray
    frame_index: np.ndarray
    episode_bounds: np.ndarray  # int64 (E, 2)


def fit_source(source: Source, card: EmbodimentCard, told: SetMap) -> Declared:
    """Which columns and cameras are the card's. Raises KinemaError naming what does not fit."""
    declared = _declared(source, card, told)
    refuse(source, card, declared.findings)
    found = [*declared.findings, *_of_values(source, card, told, declared)]
    refuse(source, card, found)
    for finding in found:
        if finding.verdict != "same":
            _log.warning("%s: %s", source.root, finding)
    return replace(declared, findings=tuple(found))


def source_findings(source: Source, card: EmbodimentCard, told: SetMap) -> tuple[Finding, ...]:
    """All that the comparison says, refusals included; values of channels that could be told apart."""
    declared = _declared(source, card, told)
    return (*declared.findings, *_of_values(source, card, told, declared))


def _declared(source: Source, card: EmbodimentCard, told: SetMap) -> Declared:
    """What a format cannot say of the robot, the user said by naming the card."""
    metadata = Metadata(
        root=source.root, version="", fps=source.rate_hz or _typical_hz(source), features=source.features,
        robot_type=card.name if source.robot_type is None else source.robot_type,
        tasks=(), episodes=(), info={},
    )  # fmt: skip
    return compare(metadata, card, told, source.cameras)


def _typical_hz(source: Source) -> float:
    """How often a source with times of its own usually gives what was sent, or measured."""
    name = next((name for name in (ACTION, STATE) if name in source.features), None)
    if name is None:
        raise KinemaError(
            f"{source.root} has no {ACTION!r} and no {STATE!r}; say which columns they are: "
            f"--map {ACTION}=…,{STATE}=…; it has {list(source.features)}"
        )
    times_s = source[0].column(name).times_s
    if len(times_s) < 2 or not np.median(np.diff(times_s)) > 0:
        raise KinemaError(f"{source.root}: {name} of {source[0].name} has fewer than two rows")
    return float(1 / np.median(np.diff(times_s)))


def _of_values(source: Source, card: EmbodimentCard, told: SetMap, declared: Declared) -> Iterator[Finding]:
    """What the numbers and sentences of all episodes show; each episode is read once."""
    asked: list[tuple[str, str, Columns, Sequence[Channel]]] = [
        (what, name, columns, channels)
        for what, name, columns, channels in (
            ("state", STATE, declared.states, card.states),
            ("action", ACTION, declared.actions, card.actions),
            ("executed", EXECUTED, declared.actions, card.actions),
        )
        if columns is not None and name in source.features
    ]
    values: dict[str, list[np.ndarray]] = {name: [] for _, name, _, _ in asked}
    unfit: list[Finding] = []
    for number in range(len(source)):
        episode = source[number]
        for _, name, columns, _ in asked:
            values[name].append(columns(episode.column(name).values))
        unfit += _task(episode)
    for what, name, _, channels in asked:
        lengths = np.array([len(rows) for rows in values[name]])
        ends = lengths.cumsum()
        whose = _Rows(
            root=source.root,
            episode_index=np.repeat(np.arange(len(lengths)), lengths),
            frame_index=np.concatenate([np.arange(n) for n in lengths]),
            episode_bounds=np.stack([ends - lengths, ends], axis=1),
        )
        joined = np.concatenate(values[name])
        yield from values_outside(whose, what, joined, channels, told)
        if what == "action":
            yield from begins_closed(whose, what, joined, channels)
    yield from unfit[:1]  # the others are likely the same


def _task(episode: Episode) -> Iterator[Finding]:
    """An instruction that no policy can be given."""
    try:
        check_instruction(episode.task)
    except KinemaError as error:
        how = str(error) if episode.task else "say --task TEXT for the episodes without one"
        yield Finding(what=f"task of {episode.name}", found=repr(episode.task[:60]),
                      wanted="an instruction", verdict="refused", how=how)  # fmt: skip
