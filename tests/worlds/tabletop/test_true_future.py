"""The true simulator as an imagination: what it shows comes true, and asking it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.tabletop.true_future import TrueFuture, obeying

SEED = 500_011


@pytest.fixture(scope="module")
def world() -> Iterator[TabletopEnv]:
    env = TabletopEnv(card=load_card("panda"), family="pick_place", image_size=32)
    yield env
    env.close()


def test_what_is_imagined_comes_true_and_imagining_changes_nothing(world: TabletopEnv) -> None:
    world.reset(SEED)
    before, images = world.state(), world.observe().images
    film = TrueFuture(world, frames=4).imagine(images, world.instruction, "panda")
    assert film.frames.shape == (4, 2, 32, 32, 3)
    assert film.fps == pytest.approx(10 / 3)
    np.testing.assert_array_equal(world.state(), before)
    expert = Expert(world)
    for step in range(10):
        if step % 3 == 0:
            now = np.stack(list(world.observe().images.values()))
            np.testing.assert_array_equal(film.frames[step // 3], now)
        world.step(expert.act())


def test_another_sentence_shows_another_future(world: TabletopEnv) -> None:
    world.reset(SEED)
    images, said = world.observe().images, world.instruction
    other = next(b for b in world.task.blocks if not b.parked and b is not world.task.target)
    place = f"{world.task.place.color} {world.task.place.kind}"
    text = f"put the {other.color} block in the {place}"
    with obeying(world, text):
        assert world.task.target is other
        assert world.instruction == text
    assert world.task.target is not other
    assert world.instruction == said
    future = TrueFuture(world, frames=13)
    first, second = (future.imagine(images, s, "panda").frames for s in (said, text))
    np.testing.assert_array_equal(first[0], second[0])
    assert (first[-1] != second[-1]).any()


def test_what_is_not_there_is_refused_by_name(world: TabletopEnv) -> None:
    world.reset(SEED)
    images = world.observe().images
    future = TrueFuture(world, frames=2)
    colors = {b.color for b in world.task.blocks if not b.parked}
    absent = next(c for c in ("red", "yellow", "green", "blue", "purple") if c not in colors)
    with pytest.raises(KinemaError, match=f"no {absent} block"):
        future.imagine(images, f"put the {absent} block in the {world.task.place.color} bowl", "panda")
    with pytest.raises(KinemaError, match="family"):
        future.imagine(images, "open the drawer", "panda")
    with pytest.raises(KinemaError, match="panda"):
        future.imagine(images, world.instruction, "ur5e")
    with pytest.raises(KinemaError, match="wrist"):
        future.imagine({"front": images["front"]}, world.instruction, "panda")


def test_one_block_of_several_is_put_away_when_it_is_named() -> None:
    world = TabletopEnv(card=load_card("panda"), family="tidy", image_size=16)
    world.reset(SEED)
    future = TrueFuture(world, frames=30)
    one = world.task.used[-1]
    future.imagine(world.observe().images, f"put the {one.color} block in the box", "panda")
    assert future.outcome["obeyed"] == 1.0
    assert future.outcome["inside"] == 1.0
    assert future.outcome["success"] == 0.0, "the episode asks for all blocks"
    assert world.task.wanted == ""
    world.close()
