"""Captions for a recorded data set: from its own numbers, or from its pictures by a vision endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from kinema.card.load import load_card
from kinema.data.captions import AXES, LAYERS, CaptionFile
from kinema.data.lerobot import Dataset
from kinema.schema import Captions, KinemaError
from kinema.worlds.caption_checks import contradictions
from kinema.worlds.events import recorded_events
from kinema.worlds.narrate import Record, narrate

_SCENARIOS = {"drive": "on a road with a crossing", "metaworld": "at a table with one task on it"}
_TABLE = "at a table with blocks"


@dataclass
class Written:
    """What a run did: new captions, those kept from before, and what was wrong by episode."""

    new: int = 0
    kept: int = 0
    faulty: dict[int, list[str]] | None = None
    examples: tuple[tuple[int, Captions], ...] = ()


def annotate(
    folder: Path, describe: Callable[[Record, int], Captions] | None = None, *, limit: int = 0
) -> Written:
    """Write captions of all episodes (or the first `limit` new ones) that have none yet.

    describe: how a record becomes captions; by default it is narrated from the numbers. Captions that
    contradict the record are not written.
    """
    dataset = Dataset.open(folder)
    file, written = CaptionFile(folder), Written(faulty={})
    assert written.faulty is not None
    todo = [e for e in range(dataset.num_episodes) if e not in file]
    written.kept = dataset.num_episodes - len(todo)
    with file.writing():
        for episode in tqdm(todo[: limit or None], unit="episode", disable=None):
            record = record_of(dataset, episode)
            captions = (describe or (lambda r, _: narrate(r)))(record, episode)
            if faults := contradictions(captions, record):
                written.faulty[episode] = faults
                continue
            file.add(episode, captions)
            written.new += 1
            if len(written.examples) < 2:
                written.examples = (*written.examples, (episode, captions))
    return written


def record_of(dataset: Dataset, episode: int) -> Record:
    """An episode of a data set as the narrator wants it. Raises KinemaError for a body without a card."""
    if not dataset.card_name:
        raise KinemaError(
            f"{dataset.root} does not say which body was recorded (robot_type in meta/info.json)"
        )
    card = load_card(dataset.card_name)
    start, end = dataset.episode_bounds[episode]
    rows = slice(int(start), int(end))
    instruction = dataset.tasks[int(dataset.task_index[start])]
    executed = (dataset.action if dataset.executed is None else dataset.executed)[rows]
    success = dataset.success is not None and bool(dataset.success[rows].any())
    points = None if dataset.points is None else dataset.points[rows]
    events = recorded_events(
        card, instruction, state=dataset.state[rows], executed=executed, success=success, points=points
    )
    return Record(
        card=card,
        instruction=instruction,
        state=dataset.state[rows],
        executed=executed,
        cameras=dataset.camera_names,
        events=events,
        success=success,
        scenario=_SCENARIOS.get(card.control, _TABLE),
    )


def shown(written: Written) -> Iterator[str]:
    """Lines that show what was written."""
    for episode, captions in written.examples:
        axes = ", ".join(getattr(captions, axis) for axis in AXES)
        yield f"\nepisode {episode} ({axes})"
        for layer in LAYERS:
            yield f"  {layer}: {getattr(captions, layer)}"
