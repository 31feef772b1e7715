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
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.commands.data.annotate import annotate, told_of
from kinema.commands.terminal import say_error
from kinema.data.captions import CaptionFile
from kinema.data.lerobot_write import Writer
from kinema.pool.backend import backend
from kinema.pool.pool import Lost, Pool
from kinema.schema import Captions, KinemaError
from kinema.worlds.tabletop.demonstrate import Noise, demonstrate
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.variation import Variation

FIRST_SEED = 1_000_000  # seeds below are for evaluation
_FEWEST_SUCCESSES = 0.25  # of at least _ENOUGH_TRIED episodes
_ENOUGH_TRIED = 20


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of episode of one body.

    world: tabletop, metaworld, libero, aloha, simpler or road
    noise: how much disturbs it
    """

    world: str
    card: str
    name: str
    noise: float
    image_size: int
    first_seed: int = FIRST_SEED
    policy: str | None = None  # an artifact that acts first; the expert then mends what it left (tabletop)
    latency_s: float = 0.0  # the longest that this policy's answers are held back
    look: str = "plain"  # of the tabletop
    assets: str | None = None  # the folder of the world's downloads (simpler)
    views: int = 0  # of the card's cameras, the first so many; 0: all of them


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One played episode as the writer wants it; arrays as in `Writer.add_episode`.

    captions: None where nobody watched; its recorded numbers are told then
    """

    arrays: Mapping[str, Any]
    success: bool
    captions: Captions | None = None


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
        return _play((replace(task, policy=policy), seed))

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
                out / card, card=_body(group[0]), image_size=group[0].image_size, resume=(out / card).exists()
            )
            made.settle(writer.last_label)
            with writer, CaptionFile(out / card).writing() as captions:
                for task in group:
                    _record(pool, task, writer, captions, made, episodes, bar)
            counts[card] = writer.num_episodes
    for card in counts:  # those that have no captions yet, of an older or a killed recording too
        try:
            annotate(out / card)
        except KinemaError as error:  # what was recorded is whole without
            say_error(f"{card}: some episodes have no captions: {error}")
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
        settings = task.noise, task.image_size, task.look
        if any((line["noise"], line["image_size"], line.get("look", "plain")) != settings for line in mine):
            raise KinemaError(
                f"{self._path} was made with other settings of noise, picture size or look; "
                "use another folder"
            )
        return len(mine), sum(line["success"] for line in mine)

    def done(self, tasks: list[Task], episodes: int) -> int:
        return sum(min(episodes, self.progress(task)[1]) for task in tasks)

    def add(self, line: Mapping[str, Any]) -> None:
        self._lines.append(line)
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _play(job: tuple[Task, int]) -> Recorded:
    task, seed = job
    play = {
        "tabletop": _play_tabletop,
        "metaworld": _play_metaworld,
        "libero": _play_libero,
        "aloha": _play_aloha,
        "simpler": _play_simpler,
        "road": _play_road,
    }
    return play[task.world](task, seed)


def _body(task: Task) -> EmbodimentCard:
    """The task's card, with the cameras that are recorded."""
    card = load_card(task.card)
    return card.model_copy(update={"cameras": card.cameras[: task.views]}) if task.views else card


@lru_cache(maxsize=2)
def _road(task: Task) -> Any:
    from kinema.worlds.road.env import RoadEnv

    return RoadEnv(goal=task.name, card=_body(task), image_size=task.image_size)


def _play_road(task: Task, seed: int) -> Recorded:
    from kinema.worlds.road.demonstrate import demonstrate_road

    demo = demonstrate_road(_road(task), seed, noise=task.noise)
    return Recorded(arrays=demo.arrays(), success=demo.success)


@lru_cache(maxsize=2)
def _tabletop(task: Task) -> Any:
    from kinema.worlds.tabletop.env import TabletopEnv

    return TabletopEnv(
        card=load_card(task.card),
        family=task.name,
        variation=Variation(look=task.look),
        image_size=task.image_size,
    )


def _play_tabletop(task: Task, seed: int) -> Recorded:
    env = _tabletop(task)
    noise = Noise(scale=task.noise, share=0.4 if task.noise else 0.0)
    prelude = partial(_act_first, task=task, seed=seed) if task.policy else None
    demo = demonstrate(env, Expert(env), seed, noise, prelude=prelude)
    # what the policy solves by itself teaches nothing new: such an episode is over before the expert acts
    kept = demo.success and not (task.policy and len(demo.state) <= 3)
    told = None
    if kept:
        told = told_of(
            env.card,
            demo.instruction,
            state=demo.state,
            executed=demo.executed,
            events=demo.events,
            success=demo.success,
        )
    return Recorded(arrays=demo.arrays(), success=kept, captions=told)


_FIRST_STEPS = (4, 48)  # how long a policy acts before the expert takes over
_REPLAN = 8


@lru_cache(maxsize=1)
def _policy(folder: str) -> Any:
    from kinema.model.policy.act import LocalPolicy

    return LocalPolicy(Path(folder))


def _act_first(env: Any, *, task: Task, seed: int) -> None:
    """Let the policy act for a random number of steps (Kelly et al. 2019, HG-DAgger, arXiv 1810.02890)."""
    assert task.policy is not None
    rng = np.random.default_rng([seed, 0x707265])
    steps, latency_s = int(rng.integers(*_FIRST_STEPS)), rng.uniform(0.0, task.latency_s)
    policy = _policy(task.policy)
    policy.reset(seed)
    if task.latency_s:
        _act_late(env, policy, steps, latency_s)
        return
    while steps > 0 and not env.success():
        chunk = policy.infer(env.observe(), env.card.name)
        for action in chunk.values[: min(_REPLAN, steps)]:
            env.step(action)
        steps -= _REPLAN


def _act_late(env: Any, policy: Any, steps: int, latency_s: float) -> None:
    """The same through the runtime's control loop, to which every answer comes late."""
    from kinema.runtime.clock import SimulatedClock
    from kinema.runtime.inference import SimulatedInference
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.robot import Body
    from kinema.runtime.strategy import strategy
    from kinema.worlds.tabletop.simulated_robot import SimulatedRobot

    clock = SimulatedClock()
    robot = SimulatedRobot(env, clock.now_s)
    with Body(env.card, robot) as body:
        inference = SimulatedInference(policy, lambda _: latency_s)
        loop = ControlLoop(body, inference, clock, strategy("in_painting", env.card))
        loop.run(env.instruction, max_steps=steps, done=robot.success)


@lru_cache(maxsize=2)
def _metaworld(task: Task) -> Any:
    from kinema.bench.metaworld.benchmark import MetaworldEnv

    return MetaworldEnv(task.name, size_px=task.image_size)


def _play_metaworld(task: Task, seed: int) -> Recorded:
    from kinema.bench.disturbance import Noise
    from kinema.bench.metaworld.demos import Plan, record

    env = _metaworld(task)
    images, episode = record(env, seed, Plan(noise=Noise(sigma=(0.0, 0.25 * task.noise))))
    arrays = {
        "images": {env.rendering.camera: np.stack(images)},
        "state": episode["state"],
        "action": episode["action"],
        "executed": episode["executed"],
        "points": episode["points"],
        "task": env.instruction,
        "success": np.arange(len(images)) >= episode["success_step"],
    }
    return Recorded(arrays=arrays, success=episode["success_step"] >= 0)


@lru_cache(maxsize=1)
def _libero(task: Task) -> Any:
    from kinema.bench.libero.benchmark import LiberoBenchmark

    suite, _, _ = task.name.partition("/")
    return LiberoBenchmark((suite,), size_px=task.image_size, look="reduced").make(task.name)


def _play_libero(task: Task, seed: int) -> Recorded:
    from kinema.bench.libero.demos import demonstrate_libero

    demo = demonstrate_libero(_libero(task), seed, noise=task.noise)
    return Recorded(arrays=demo.arrays(), success=demo.success)


@lru_cache(maxsize=2)
def _aloha(task: Task) -> Any:
    from kinema.bench.aloha.benchmark import AlohaBenchmark

    return AlohaBenchmark(look="reduced").make(f"act/{task.name}")


def _play_aloha(task: Task, seed: int) -> Recorded:
    from kinema.bench.aloha.demos import demonstrate_aloha

    demo = demonstrate_aloha(_aloha(task), seed, noise=task.noise)
    return Recorded(arrays=demo.arrays(), success=demo.success)


@lru_cache(maxsize=1)
def _simpler(task: Task) -> Any:
    from kinema.bench.simpler.benchmark import SimplerBenchmark

    return SimplerBenchmark(assets=task.assets, size_px=task.image_size).make(task.name)


def _play_simpler(task: Task, seed: int) -> Recorded:
    from kinema.bench.simpler.demos import demonstrate_simpler

    demo = demonstrate_simpler(_simpler(task), seed, noise=task.noise)
    return Recorded(arrays=demo.arrays(), success=demo.success)
