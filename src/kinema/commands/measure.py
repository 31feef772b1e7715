"""Speed and memory of the policy and of training, each as a table whose last column is a ratio in this run.

Seconds on another machine, or on a busy one, mean little; the ratios between the rows of one table hold.
"""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.commands.terminal import table
from kinema.schema import Observation

_WARM_UP = 5


def policy_table(folder: Path, robot: str, *, rounds: int) -> str:
    """One observation to one chunk: median and p95 for one and two threads and for more Euler steps."""
    from kinema.model.act import LocalPolicy

    card = load_card(robot)
    observation = _observation(card)
    variants = ((1, None), (2, None), (1, 10))  # threads and Euler steps
    rows, first = [], 0.0
    for threads, euler_steps in variants:
        policy = LocalPolicy(folder, threads=threads, sample_steps=euler_steps)
        policy.reset(0)
        spent_ms = []
        for _ in range(_WARM_UP + rounds):
            began = time.perf_counter()
            policy.infer(observation, robot)
            spent_ms.append(1e3 * (time.perf_counter() - began))
        median, p95 = np.percentile(spent_ms[_WARM_UP:], [50, 95])
        first = first or float(median)
        name = f"{threads} thread{'s' * (threads > 1)}{', 10 Euler steps' if euler_steps else ''}"
        rows.append((name, f"{median:.1f}", f"{p95:.1f}", f"{median / first:.2f}"))
    views = f"{len(card.cameras)} views to a chunk of {card.chunk}"
    return table(rows, (f"{robot}: {views}", "median ms", "p95 ms", "ratio")) + f"\n{_memory()}"


def train_table(recipe_name: str, *, steps: int) -> str:
    """Training samples per second of a recipe's network on made-up data, for one thread and for two."""
    from kinema import recipes
    from kinema.data.fake import fake_source
    from kinema.train.run import Training

    recipe = recipes.get(recipe_name)
    size = recipe.train.policy(512).image_size
    source = fake_source(load_card("panda"), image_size=size, episodes=20)
    rows, first = [], 0.0
    for threads in (1, 2):
        config = replace(
            recipe.train, threads=threads, loop=replace(recipe.train.loop, steps=steps + _WARM_UP)
        )
        with TemporaryDirectory() as out:
            training = Training(config, [source], Path(out))
            training.loop.run(until=_WARM_UP)
            began = time.perf_counter()
            training.loop.run()
            samples_per_s = steps * config.batch_size / (time.perf_counter() - began)
        first = first or samples_per_s
        rows.append(
            (f"{threads} thread{'s' * (threads > 1)}", f"{samples_per_s:.0f}", f"{samples_per_s / first:.2f}")
        )
    title = f"{recipe.name}: {size} px, batches of {recipe.train.batch_size}"
    return table(rows, (title, "samples/s", "ratio")) + f"\n{_memory()}"


def _observation(card: EmbodimentCard) -> Observation:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for name in card.camera_names}
    state = np.array([sum(channel.range) / 2 for channel in card.states], np.float32)
    return Observation(
        images=images, state=state, instruction="put the red block in the blue bowl", time_s=0.0
    )


def _memory() -> str:
    return (
        f"largest memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    )
