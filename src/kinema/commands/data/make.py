"""Demonstrations by scripted experts, recorded as LeRobot data sets: one folder per body.

Episodes are played by the workers of a pool and written in the order of their seeds, so the data set depends
neither on how many there were nor on where. A stopped recording goes on where it was: every tried seed is a
line of `made.jsonl`, and the last episode's is in the data set too, written in the same change. Captions in
five layers are kept beside every episode (`data/captions.py`): from the true events at the tabletop, from the
recorded numbers elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kinema.commands.data.annotate import annotate_rest
from kinema.commands.data.play import Recorded, Task, body, play
from kinema.data.captions import CaptionFile
from kinema.data.lerobot_write import Writer
from kinema.pool.backend import backend
from kinema.pool.pool import Lost, Pool
from kinema.schema import KinemaError

_FEWEST_SUCCESSES = 0.25  # of at least _ENOUGH_TRIED episodes
_ENOUGH_TRIED = 20


@dataclass(frozen=True, kw_only=True)
class Demonstrating:
    """Work for a pool: episodes by task and seed. places: where an artifact that acts first lies, if moved"""

    policies: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> tuple[str, ...]:
        return self.policies

    def moved(self, places: Mapping[str, str]) -> Demonstrating:
        return replace(self, places=places)

    def begin(self) -> Demonstrator:
        return Demonstrator(self.places)


class Demonstrator:
    """Plays one episode after the other."""

    said: Mapping[str, Any] = {}

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def do(self, job: tuple[Task, int]) -> Recorded:
        task, seed = job
        policy = task.policy and self._places.get(task.policy, task.policy)
        return play(replace(task, policy=policy), seed)

    def close(self) -> None:
        pass


def make(
    tasks: list[Task], out: Path, *, episodes: int, workers: int, ray: str | None = None
) -> dict[str, int]:
    """Record `episodes` successful demonstrations of every task under `out/<card>`; returns episodes by card.

    ray: the address of a cluster on whose nodes the workers are, see `kinema.pool.on_ray`
    Raises KinemaError when an expert hardly ever succeeds, when two workers die of the same episode, or when
    `out` holds another kind of data set.
    """
    made = _Made(out / "made.jsonl")
    by_card: dict[str, list[Task]] = {}
    for task in tasks:
        by_card.setdefault(task.card, []).append(task)
    counts = {}
    acting = tuple({task.policy: None for task in tasks if task.policy})
    with (
        Pool(backend(ray), Demonstrating(policies=acting), workers) as pool,
        tqdm(total=episodes * len(tasks), initial=made.done(tasks, episodes), unit="episode") as bar,
    ):
        out.mkdir(parents=True, exist_ok=True)
        for card, group in by_card.items():
            writer = Writer(
                out / card, card=body(group[0]), image_size=group[0].image_size, resume=(out / card).exists()
            )
            made.settle(writer.last_label)
            with writer, CaptionFile(out / card).writing() as captions:
                for task in group:
                    _record(pool, task, writer, captions, made, episodes, bar)
            counts[card] = writer.num_episodes
    for card, group in by_card.items():
        # a route's own sentence is longer than its captions may be; a wrist's motion has no words yet
        if group[0].world not in ("navigation", "ego"):
            annotate_rest(out / card)
    return counts


def _record(
    pool: Pool[tuple[Task, int], Recorded],
    task: Task,
    writer: Writer,
    captions: CaptionFile,
    made: _Made,
    episodes: int,
    bar: tqdm,  # type: ignore[type-arg]
) -> None:
    tried, given = made.progress(task)
    while given < episodes:
        seeds = range(task.first_seed + tried, task.first_seed + tried + episodes - given)
        bar.set_postfix_str(f"{task.card} {task.name}")
        for (_, seed), recorded in pool.run_in_order([(task, seed) for seed in seeds]):
            if isinstance(recorded, Lost):
                raise KinemaError(f"{task.card} {task.name}, seed {seed}: {recorded.cause}")
            line = _line(task, seed, recorded.success)
            if recorded.success:
                writer.add_episode(**recorded.arrays, label=line)
                if recorded.captions:
                    captions.add(writer.num_episodes - 1, recorded.captions)
                given += 1
                bar.update()
            tried += 1
            made.add(line)
        if not task.policy and tried >= _ENOUGH_TRIED and given < _FEWEST_SUCCESSES * tried:
            raise KinemaError(f"the expert of {task.card} solved {given} of {tried} episodes of {task.name}")


def _line(task: Task, seed: int, success: bool) -> dict[str, Any]:
    return {**asdict(task), "seed": seed, "success": success}


def _settings(line: Mapping[str, Any]) -> tuple[float, int, str, str]:
    """What all lines of a task must have alike; older lines do not say all of it."""
    return line["noise"], line["image_size"], line.get("look", "plain"), line.get("protocol", "kinema")


class _Made:
    """Which seeds were tried: one JSON line each.

    A last line that was cut (a full disk, a power cut) is dropped; its seed is tried again, or known from the
    data set. Raises KinemaError for any other line that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text(errors="replace") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        self._lines = [self._read(number, line) for number, line in enumerate(whole.splitlines(), 1)]
        if whole != text:
            path.write_text(whole)

    def _read(self, number: int, line: str) -> Mapping[str, Any]:
        try:
            read = json.loads(line)
        except ValueError:
            read = None
        if not isinstance(read, dict) or not {"card", "name", "noise", "image_size", "success"} <= set(read):
            raise KinemaError(f"{self._path}, line {number}: not a line of a recording: {line[:80]!r}")
        return read

    def settle(self, last: Mapping[str, Any] | None) -> None:
        """Take in the last episode of a data set, when the recorder was killed before it wrote its line."""
        if last is not None and last not in self._lines:
            self.add(last)

    def progress(self, task: Task) -> tuple[int, int]:
        """How many seeds of a task were tried and how many succeeded."""
        mine = [line for line in self._lines if (line["card"], line["name"]) == (task.card, task.name)]
        settings = task.noise, task.image_size, task.look, task.protocol
        if any(_settings(line) != settings for line in mine):
            raise KinemaError(
                f"{self._path} was made with other settings of noise, picture size, look or protocol; "
                "use another folder"
            )
        return len(mine), sum(line["success"] for line in mine)

    def done(self, tasks: list[Task], episodes: int) -> int:
        return sum(min(episodes, self.progress(task)[1]) for task in tasks)

    def add(self, line: Mapping[str, Any]) -> None:
        self._lines.append(line)
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
