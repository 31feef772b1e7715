"""`kinema data make steps`: looks at long tasks that go well and badly, for the success check."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinema.card.load import load_card
from kinema.commands.policies import policy_factory
from kinema.data.steps import StepLooks, with_places, write_steps
from kinema.runtime.chunk import ChunkPlayer
from kinema.runtime.long_task import Budget, LongTaskPolicy
from kinema.schema import Observation

BODY = "panda"
# One range of seeds per purpose; what is judged uses seeds below a million, as everywhere.
FIRST_SEEDS = {"train": 5_000_000, "test": 6_000_000}
EPISODES_PER_SHARD, TABLES_PER_SHARD = 6, 100
_ARRANGED = 500_000  # seeds of tables begin so much later
_PRESS_STEPS = 20
_REPLAN_STEPS = 4
_LIES = 0.15  # how often the answer that steers an episode is turned round, so that it goes wrong
_NOISE = (0.0, 1.0, 2.0)
_BUDGET = Budget(try_s=8.0, tries=2)


def make_steps(out: Path, *, part: str, episodes: int, policy: str = "shipped") -> int:
    """Fill `out/part` with episodes; returns how many looks are new.

    Every second shard is played by the policy, the others by the expert under a disturbance.
    """
    made = 0
    for number in tqdm(range(-(-episodes // EPISODES_PER_SHARD)), unit="shard", disable=None):
        first = FIRST_SEEDS[part] + number * EPISODES_PER_SHARD
        tables = FIRST_SEEDS[part] + _ARRANGED + number * TABLES_PER_SHARD
        for path, make in (
            (out / part / f"{number:04d}.npz", partial(
                _play, range(first, first + EPISODES_PER_SHARD), "expert" if number % 2 else policy
            )),
            (out / part / f"arranged_{number:04d}.npz", partial(
                _arrange, range(tables, tables + TABLES_PER_SHARD)
            )),
        ):  # fmt: skip
            if not path.exists():
                steps = make()
                write_steps(path, steps)
                made += len(steps.images)
    return made


def _arrange(seeds: range) -> StepLooks:
    """Tables with blocks in, on and beside things, and buttons that the expert presses."""
    from kinema.worlds.tabletop.experts.expert import Expert
    from kinema.worlds.tabletop.long.arrange import arrange
    from kinema.worlds.tabletop.long.env import LongEnv

    with closing(LongEnv(card=load_card(BODY))) as env:
        expert, notes = Expert(env), _Notes(env)
        for seed in seeds:
            rng = np.random.default_rng([seed, 0x61727267])
            env.begin(seed)
            notes.begin(seed, rng)
            arrange(env, rng)
            notes.look(env.observe())
            for button in env.task.task.buttons[: rng.integers(3)]:
                env.tell(f"press the {button} button")
                for step in range(_PRESS_STEPS):
                    env.step(expert.act())
                    if step % 3 == 2:
                        notes.look(env.observe(), f"press the {button} button")
        return notes.all()


def _play(seeds: range, policy: str) -> StepLooks:
    from kinema.bench.benchmark import Privileged
    from kinema.worlds.tabletop.demonstrate import Disturbance, Noise
    from kinema.worlds.tabletop.experts.expert import Expert
    from kinema.worlds.tabletop.long.env import LongEnv
    from kinema.worlds.tabletop.long.planner import BuiltInPlanner
    from kinema.worlds.tabletop.long.words import TabletopLanguage

    card = load_card(BODY)
    with closing(LongEnv(card=card)) as env:
        acts, expert = policy_factory(policy, (BODY,)).build(), Expert(env)
        notes = _Notes(env)
        player = ChunkPlayer(
            LongTaskPolicy(
                acts, BuiltInPlanner(), notes, TabletopLanguage(), budget=_BUDGET, tell=notes.tell,
                see=lambda _: [thing.name for thing in env.task.things(env.scene.data)],
            ),
            BODY, _REPLAN_STEPS,
        )  # fmt: skip
        if isinstance(acts, Privileged):
            acts.attach(_Shown(env, expert))  # type: ignore[arg-type]
        for seed in seeds:
            rng = np.random.default_rng([seed, 0x73746570])
            scale = float(rng.choice(_NOISE)) if isinstance(acts, Privileged) else 0.0
            disturbance = Disturbance(card, Noise(scale=scale, share=0.4, gripper_flip=0.1), rng)
            env.begin(seed)
            notes.begin(seed, rng)
            player.reset(seed)
            for _ in range(env.max_steps):
                action = player.act(env.observe)
                if player.policy.report.is_over:  # type: ignore[attr-defined]
                    break
                env.step(env.scene.controller.clamp(disturbance.apply(action)))
        return notes.all()


class _Shown:
    """The world with its scripted expert."""

    def __init__(self, env: Any, expert: Any) -> None:
        self.expert_action = expert.act


class _Notes:
    """Keeps every look that is taken, with questions and true answers, and steers by answers that may lie."""

    limit = 0.5

    def __init__(self, env: Any) -> None:
        self._env, self._step = env, ""
        self._looks: list[tuple[np.ndarray, np.ndarray, int, bool]] = []
        self._asked: list[tuple[int, tuple[str, str], bool]] = []

    def begin(self, seed: int, rng: np.random.Generator) -> None:
        self._seed, self._rng, self._last_s = seed, rng, -1.0

    def tell(self, step: str) -> None:
        self._step, self._began_s = step, float(self._env.scene.data.time)
        self._env.tell(step)
        self._lie = bool(self._rng.random() < _LIES)

    def look(self, observation: Observation, step: str = "") -> None:
        """Keep what is seen, with questions; step: what is being done."""
        from kinema.worlds.tabletop.long.questions import questions
        from kinema.worlds.tabletop.long.words import things_of

        images = np.stack(list(observation.images.values()))
        back = bool(self._env.scene.tool()[2] > _HIGH_M)
        for text, done in questions(self._env, step, self._rng):
            self._asked.append((len(self._looks), things_of(text), done))
        self._looks.append((images, observation.state, self._seed, back))

    def chance(self, observation: Observation, step: str) -> float:
        if observation.time_s != self._last_s:
            self._last_s = observation.time_s
            self.look(observation, self._step)
        told = self._env.told_holds() if step == self._step else True
        patient = observation.time_s - self._began_s > 2.0
        return float(told != (self._lie and patient))

    def all(self) -> StepLooks:
        from kinema.worlds.tabletop.film_labels import THINGS

        images, state, seed, back = zip(*self._looks)
        look, named, done = zip(*self._asked)
        thing, place = with_places(named, THINGS)
        return StepLooks(
            card=self._env.card.name, things=THINGS, cameras=tuple(self._env.card.camera_names),
            images=np.stack(images), state=np.stack(state), seed=np.array(seed), back=np.array(back),
            look=np.array(look), thing=np.array(thing), place=np.array(place), done=np.array(done),
        )  # fmt: skip


_HIGH_M = 0.25  # of the tool over the table: back where it began
