"""Captions for a recorded data set: from its own numbers, or from its pictures by a vision endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kinema.card.card import EmbodimentCard
from kinema.commands.terminal import say_error
from kinema.data.aligned import camera_name, views_of
from kinema.data.annotate import Annotator, Clip, UnansweredError
from kinema.data.captions import AXES, LAYERS, CaptionFile
from kinema.data.fits import card_of, numbers_fit, open_set
from kinema.data.lerobot import Dataset
from kinema.schema import Captions, KinemaError
from kinema.worlds.hand.stage import VIEWS, T_robot_table
from kinema.worlds.hand.stage import cameras as table_cameras
from kinema.worlds.words.caption_checks import contradictions
from kinema.worlds.words.events import Event
from kinema.worlds.words.narrate import Record, narrate, scenario_of
from kinema.worlds.words.recorded import recorded_events

_GIVE_UP = 3  # clips in a row without an answer: the endpoint is out of order
_MOST_FRAMES = 64  # of an episode, decoded for an endpoint

Describe = Callable[[Dataset, int], Captions]


class RefusedError(KinemaError):
    """Captions of one episode that must not be written."""


@dataclass
class Written:
    """What a run did: new captions, those kept from before, and what was wrong by episode."""

    new: int = 0
    kept: int = 0
    faulty: dict[int, str] = field(default_factory=dict)
    examples: list[tuple[int, Captions]] = field(default_factory=list)


def annotate(folder: Path, describe: Describe | None = None, *, limit: int = 0) -> Written:
    """Write captions of all episodes (or the first `limit` ones) that have none yet.

    describe: what captions an episode; by default it is narrated from its numbers. Captions that contradict
    the record are not written.
    """
    dataset = open_set(folder)
    file, written, in_a_row = CaptionFile(folder), Written(), 0
    todo = [episode for episode in range(dataset.num_episodes) if episode not in file]
    written.kept = dataset.num_episodes - len(todo)
    if not todo:
        return written
    with file.writing():
        for episode in tqdm(todo[: limit or None], unit="episode", disable=None):
            try:
                captions = (describe or narrated)(dataset, episode)
            except (RefusedError, UnansweredError) as error:
                written.faulty[episode] = str(error)
                in_a_row = in_a_row + 1 if isinstance(error, UnansweredError) else 0
                if in_a_row >= _GIVE_UP:
                    raise KinemaError(
                        f"{_GIVE_UP} clips in a row without captions; the last: {error}"
                    ) from None
                continue
            in_a_row = 0
            file.add(episode, captions)
            written.new += 1
            if len(written.examples) < 2:
                written.examples.append((episode, captions))
    return written


def annotate_rest(folder: Path) -> None:
    """Captions for the episodes that have none yet, of an older or a killed recording too.

    How many get none, and why, is said: what was recorded is whole without.
    """
    try:
        faulty = annotate(folder).faulty
    except KinemaError as error:
        say_error(f"{folder}: episodes have no captions: {error}")
        return
    if faulty:
        episode, fault = next(iter(faulty.items()))
        say_error(f"{folder}: {len(faulty)} episodes have no captions; the first, episode {episode}: {fault}")


def narrated(dataset: Dataset, episode: int) -> Captions:
    """Captions from the recorded states and actions. Raises RefusedError when they contradict the record."""
    return truthful(record_of(dataset, episode))


def truthful(record: Record) -> Captions:
    """What is narrated of a record. Raises RefusedError when it contradicts the record."""
    captions = narrate(record)
    if faults := contradictions(captions, record):
        raise RefusedError("; ".join(faults))
    return captions


def told_of(
    card: EmbodimentCard,
    instruction: str,
    *,
    state: np.ndarray,
    executed: np.ndarray,
    events: tuple[Event, ...],
    success: bool,
) -> Captions | None:
    """Captions of an episode that was watched; None when they contradict it. Arrays as in `Record`.

    All cameras of the card are told of.
    """
    record = Record(
        card=card,
        instruction=instruction,
        state=state,
        executed=executed,
        cameras=card.camera_names,
        events=events,
        success=success,
        scenario=scenario_of(card),
    )
    try:
        return truthful(record)
    except RefusedError:
        return None


def seen_by(annotator: Annotator) -> Describe:
    """Captions from the pictures, by an endpoint; held against the state where the body has a card."""

    def describe(dataset: Dataset, episode: int) -> Captions:
        try:
            record: Record | None = record_of(dataset, episode)
        except (KinemaError, ValueError):
            record = None
        axes = _axes(dataset, record)

        def faults(layers: Mapping[str, str]) -> list[str]:
            if record is None:
                return []
            return contradictions(Captions(**layers, **axes), record, complete=False)

        return Captions(**annotator.describe(clip_of(dataset, episode), faults).layers, **axes)

    return describe


def _axes(dataset: Dataset, record: Record | None) -> dict[str, str]:
    if record is not None:
        told = narrate(record)
        return {axis: getattr(told, axis) for axis in AXES}
    return {
        "embodiment": dataset.card_name or "unknown",
        "task": "other",
        "scenario": "unknown",
        "view": "+".join(_views(dataset)),
    }


def clip_of(dataset: Dataset, episode: int) -> Clip:
    """An episode's pictures, its views side by side."""
    start, end = (int(bound) for bound in dataset.episode_bounds[episode])
    rows = np.unique(np.linspace(start, end - 1, _MOST_FRAMES).round().astype(int))
    views = _views(dataset)
    return Clip(
        frames=np.concatenate([dataset.frames(camera, rows) for camera in views.values()], axis=2),
        cameras=tuple(views),
        body=dataset.card_name or "unknown",
        instruction=dataset.tasks[int(dataset.task_index[start])],
    )


def record_of(dataset: Dataset, episode: int) -> Record:
    """An episode of a data set as the narrator wants it. Raises KinemaError for a body without a card."""
    if not dataset.card_name:
        raise KinemaError(
            f"{dataset.root} does not say which body was recorded (robot_type in meta/info.json); "
            "captions from pictures need --url and --model"
        )
    card = card_of(dataset)
    state, executed = _numbers(dataset)
    if _is_aligned(dataset):
        card = at_the_table(card)
    start, end = dataset.episode_bounds[episode]
    rows = slice(int(start), int(end))
    instruction = dataset.tasks[int(dataset.task_index[start])]
    state, executed = state[rows], executed[rows]
    success = dataset.success is not None and bool(dataset.success[rows].any())
    points = None if dataset.points is None else dataset.points[rows]
    events = recorded_events(
        card, instruction, state=state, executed=executed, success=success, points=points
    )
    return Record(
        card=card,
        instruction=instruction,
        state=state,
        executed=executed,
        cameras=tuple(_views(dataset)),
        events=events,
        success=success,
        scenario=scenario_of(card),
    )


@lru_cache(maxsize=1)
def _numbers(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """States and sent actions of a whole set as its card's; the episodes are asked for one after another."""
    return numbers_fit(dataset, card_of(dataset))


def at_the_table(card: EmbodimentCard) -> EmbodimentCard:
    """The body as a set of the hand's tasks shows it: by the table's cameras instead of its own."""
    return card.model_copy(update={"cameras": table_cameras(T_robot_table(card))})


def _views(dataset: Dataset) -> dict[str, str]:
    """What is told of: the recorded camera by the name of its view.

    Of four aligned streams it is the robot in the scene, whose states and actions the set holds.
    """
    if _is_aligned(dataset):
        return {view: camera_name("robot", view) for view in views_of(dataset)}
    return {camera: camera for camera in dataset.camera_names}


def _is_aligned(dataset: Dataset) -> bool:
    return camera_name("robot", VIEWS[0]) in dataset.camera_names


def shown(written: Written) -> Iterator[str]:
    """Lines that show what was written."""
    for episode, captions in written.examples:
        axes = ", ".join(getattr(captions, axis) for axis in AXES)
        yield f"\nepisode {episode} ({axes})"
        for layer in LAYERS:
            yield f"  {layer}: {getattr(captions, layer)}"
