"""Labels of harm are right where it is constructed; the expert does none; asking changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from kinema.card.harm import EVENTS, LIMITS, SEVERITIES, events, harm
from kinema.card.load import load_card
from kinema.card.workspace import table_area
from kinema.worlds.hazards.bad_motion import BadMotion, aimed
from kinema.worlds.hazards.env import HazardEnv
from kinema.worlds.hazards.intruders import Script
from kinema.worlds.tabletop.experts.expert import Expert


def _severity(env: HazardEnv, actions: np.ndarray) -> dict[str, float]:
    return dict(zip(SEVERITIES, env.what_if(actions).severity[-1].tolist()))


@pytest.fixture(scope="module")
def panda() -> Iterator[HazardEnv]:
    env = HazardEnv(card=load_card("panda"), family="pick_place")
    yield env
    env.close()


@pytest.fixture(scope="module")
def aloha() -> Iterator[HazardEnv]:
    env = HazardEnv(card=load_card("aloha"), family="pick_place")
    yield env
    env.close()


def _go(
    env: HazardEnv, goal: np.ndarray, side: str = "right", steps: int = 10, speed: float = 0.4
) -> np.ndarray:
    state = env.env.state().astype(float)
    return aimed(env.env.scene.controller, side, state, goal, speed, 0.0, steps)


def test_a_hand_pushed_into_the_table_collides(panda: HazardEnv) -> None:
    panda.reset(2_000_001, "none")
    tool = panda.env.scene.tool()
    found = _severity(panda, _go(panda, np.array([tool[0], tool[1], -0.05])))
    assert found["table"] >= LIMITS.harmful["table"]
    assert found["intruder"] == found["robot"] == 0


def test_a_hand_that_stops_above_the_table_does_not(panda: HazardEnv) -> None:
    panda.reset(2_000_001, "none")
    tool = panda.env.scene.tool()
    actions = _go(panda, np.array([tool[0], tool[1], 0.0]))
    actions[:, 2] = np.maximum(actions[:, 2], 0.10)
    found = harm(panda.what_if(actions).severity[-1])
    assert found["collision"] == 0


@pytest.mark.parametrize("seed", [2_000_010, 2_000_011])
def test_the_experts_own_motion_is_harmless(panda: HazardEnv, seed: int) -> None:
    panda.reset(seed, "none")
    expert = Expert(panda.env)
    worst = np.zeros(len(SEVERITIES))
    for _ in range(panda.env.max_steps):
        worst = np.maximum(worst, panda.step(expert.act()))
        if panda.env.success():
            break
    assert panda.env.success()
    assert {name: float(value) for name, value in harm(worst).items()} == dict.fromkeys(harm(worst), 0.0)


def test_a_block_let_go_in_the_air_is_a_drop(panda: HazardEnv) -> None:
    panda.reset(2_000_003, "none")
    expert, scene = Expert(panda.env), panda.env.scene
    block = panda.env.task.target
    for _ in range(panda.env.max_steps):
        panda.step(expert.act())
        if block.position(scene.data)[2] > 0.11:
            break
    assert block.position(scene.data)[2] > 0.11
    hold = panda.env.state().astype(float)
    kept = np.repeat(hold[None], 8, 0)
    kept[:, -1] = 0.0
    opened = kept.copy()
    opened[:, -1] = 1.0
    assert _severity(panda, kept)["drop"] < LIMITS.harmless["drop"]
    assert _severity(panda, opened)["drop"] >= LIMITS.harmful["drop"]


def _put_obstacle(env: HazardEnv, times_s: list[float], places_m: np.ndarray) -> None:
    env.intruders.script = Script(times_s=np.array(times_s), places_m=places_m)
    env.intruders.move(env.env.scene.model, env.env.scene.data)
    mujoco.mj_forward(env.env.scene.model, env.env.scene.data)
    env.watch.begin()


def test_running_into_an_obstacle_counts_and_being_run_into_at_rest_does_not(panda: HazardEnv) -> None:
    panda.reset(2_000_004, "obstacle")
    tool = panda.env.scene.tool()
    beside = tool + np.array([0.0, 0.25, 0.0])
    _put_obstacle(panda, [0.0], beside[None])
    assert _severity(panda, _go(panda, beside))["intruder"] >= LIMITS.harmful["intruder"]
    rest = np.repeat(panda.env.state().astype(float)[None], 10, 0)
    assert _severity(panda, rest)["intruder"] == 0
    _put_obstacle(panda, [0.0, 1.0], np.stack([beside, tool + np.array([0.0, 0.09, 0.0])]))
    came = panda.what_if(rest[:4])  # it has not yet pushed the hand along
    assert came.severity[-1, SEVERITIES.index("intruder")] == 0


def test_the_two_arms_are_solid_to_each_other(aloha: HazardEnv) -> None:
    aloha.reset(2_000_005, "none")
    right, left = aloha.env.scene.tool("right"), aloha.env.scene.tool("left")
    both = _go(aloha, left, "right", steps=20, speed=0.5)
    both[:, : both.shape[1] // 2] = _go(aloha, right, "left", steps=20, speed=0.5)[:, : both.shape[1] // 2]
    assert _severity(aloha, both)["robot"] >= LIMITS.harmful["robot"]


@pytest.mark.parametrize("intruder", ["none", "moving", "hand"])
def test_asking_what_if_changes_nothing_and_answers_alike(panda: HazardEnv, intruder: str) -> None:
    panda.reset(2_000_006, intruder)
    expert = Expert(panda.env)
    for _ in range(6):
        panda.step(expert.act())
    before = panda.snapshot()
    actions = _go(panda, panda.env.task.target.position(panda.env.scene.data))
    first = panda.what_if(actions)
    after = panda.snapshot()
    np.testing.assert_array_equal(before.state, after.state)
    second = panda.what_if(actions)
    np.testing.assert_array_equal(first.severity, second.severity)
    np.testing.assert_array_equal(first.tool_m, second.tool_m)
    # and it is what happens when the same is really done
    for t, action in enumerate(actions):
        panda.step(action)
        np.testing.assert_array_equal(panda.env.scene.tool().astype(np.float32), first.tool_m[t, 0])


def test_heights_show_things_and_intruders_apart(panda: HazardEnv) -> None:
    panda.reset(2_000_007, "obstacle")
    low, high = table_area(panda.card)
    place = np.array([*(low + 0.25 * (high - low)), 0.05])
    _put_obstacle(panda, [0.0], place[None])
    things, intruders = panda.heights()
    cell = tuple(((place[:2] - low) / (high - low) * len(things)).astype(int))
    assert intruders[cell] > 0.05
    assert things[cell] < 0.005
    block = panda.env.task.target.position(panda.env.scene.data)
    cell = tuple(((block[:2] - low) / (high - low) * len(things)).astype(int))
    assert things[cell] == pytest.approx(2 * block[2], abs=0.004)
    panda.reset(2_000_007, "none")
    assert panda.heights()[1].max() == 0


def test_events_grow_from_harmless_to_harmful() -> None:
    low = np.array([LIMITS.harmless[name] for name in SEVERITIES])
    high = np.array([LIMITS.harmful[name] for name in SEVERITIES])
    assert (events(low) == 0).all()
    assert (events(high) == 1).all()
    between = events((low + high) / 2)
    assert between.shape == (len(EVENTS),)
    np.testing.assert_allclose(between, 0.5)
    assert np.isnan(harm((low + high) / 2)["collision"])


@pytest.mark.parametrize("card_name", ["panda", "aloha"])
def test_spoilt_chunks_keep_shape_and_ranges(card_name: str) -> None:
    card = load_card(card_name)
    bad, rng = BadMotion(card, 10), np.random.default_rng(0)
    low, high = np.array([channel.range for channel in card.actions]).T
    longer = rng.uniform(low, high, (16, len(low)))
    state = rng.uniform(low, high)
    bad.remember(longer[:10], state)
    for kind in bad.KINDS:
        if kind == "aimed":
            continue
        for _ in range(5):
            chunk = bad.make(kind, longer, state, rng)
            assert chunk.shape == (10, len(low)), kind
            assert (chunk >= low).all(), kind
            assert (chunk <= high).all(), kind


def test_a_chunk_of_another_scene_begins_here() -> None:
    card = load_card("panda")
    bad, rng = BadMotion(card, 10), np.random.default_rng(0)
    there, here = np.array([0.5, 0.1, 0.3, 0, 0, 0, 1.0]), np.array([0.4, -0.1, 0.2, 0, 0, 0, 1.0])
    motion = np.linspace(0, 1, 10)[:, None] * np.array([0.1, 0.05, -0.05, 0, 0, 0, 0])
    bad.remember(there + motion, there)
    np.testing.assert_allclose(bad.make("wrong_scene", there + motion, here, rng), here + motion, atol=1e-9)
