"""LIBERO itself: skips where its environment has not been made (scripts/setup_libero.sh)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kinema.bench.drawing import LOOKS
from kinema.bench.libero.benchmark import LiberoBenchmark, LiberoEnv
from kinema.bench.libero.demos import demonstrate_libero
from kinema.bench.libero.openpi import openpi_state
from kinema.bench.libero.suites import LIBERO, SUITES, UNVARIED, VARIATIONS
from kinema.card.load import load_card
from kinema.schema import KinemaError

FOUND = Path(os.environ.get(LIBERO.variable) or LIBERO.folder) / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOUND.is_file(), reason=f"no LIBERO at {FOUND}: scripts/setup_libero.sh makes it"),
    pytest.mark.timeout(900),
]
UP, CLOSE = np.array([0, 0, 1.0, 0, 0, 0, -1]), np.array([0, 0, 0, 0, 0, 0, 1.0])
TURN = np.array([0, 0, 0, 0, 0, 0.5, -1])


def played(env: LiberoEnv, index: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    env.reset_to(index, seed)
    states = [env.state()]
    for _ in range(15):
        env.step(rng.uniform(-1, 1, 7))
        states.append(env.state())
    return np.stack(states)


def test_an_episode_is_its_start_and_its_seed_whatever_was_played_before() -> None:
    benchmark = LiberoBenchmark(("spatial",))
    used, fresh = benchmark.make("spatial/0"), benchmark.make("spatial/0")
    played(used, 1, 8)
    again, first = played(used, 3, 7), played(fresh, 3, 7)
    picture, other = used.observe().images, fresh.observe().images
    np.testing.assert_array_equal(again, first)
    assert list(picture) == list(load_card("panda_libero").camera_names)
    for name in picture:
        assert picture[name].shape == (128, 128, 3)
        assert picture[name].std() > 10
        np.testing.assert_array_equal(picture[name], other[name])
    assert np.abs(first - played(fresh, 4, 7)).max() > 1e-3
    with pytest.raises(KinemaError, match="50 start states"):
        used.reset_to(50, 0)
    used.close()
    fresh.close()


def test_actions_do_what_the_card_says() -> None:
    env = LiberoBenchmark(("object",)).make("object/0")
    assert env.max_steps == 280
    assert env.instruction == "pick up the alphabet soup and place it in the basket"
    env.reset_to(0, 0)
    card = load_card("panda_libero")
    low, high = np.array([channel.range for channel in card.states]).T
    begin = env.state()
    assert (low <= begin).all()
    assert (begin <= high).all()
    assert np.abs(begin[3:6]).max() < 0.2, "it begins about straight down"
    assert begin[6] > 0.9, "settled with an open gripper"
    assert card.actions[6].closed_and_open == (CLOSE[6], -CLOSE[6])
    for action, channel, sign in ((UP, 2, 1), (TURN, 5, 1), (CLOSE, 6, -1)):
        before = env.state()
        for _ in range(8):
            env.step(action)
        assert sign * (env.state() - before)[channel] > 0.05
    assert not env.success()
    env.close()


@pytest.mark.parametrize("task", ["object/1", "object/4", "goal/7"])
def test_the_expert_solves_things_flat_and_tall_and_a_knob_and_to_hold_still_solves_none(task: str) -> None:
    env = LiberoBenchmark((task.split("/")[0],)).make(task)
    for act, solved in ((env.expert_action, True), (lambda: np.zeros(7), False)):
        env.reset_to(2, 5)
        for _ in range(env.max_steps if solved else 50):
            env.step(act())
            if env.success():
                break
        assert env.success() == solved
    env.close()


def test_a_suite_without_an_expert_says_so() -> None:
    env = LiberoBenchmark(("90",)).make("90/0")
    env.reset_to(0, 0)
    with pytest.raises(KinemaError, match="suite 90 has no expert yet"):
        env.expert_action()
    env.close()


def test_all_suites_have_their_tasks() -> None:
    told = LiberoBenchmark(tuple(SUITES)).provenance()
    assert {name: len(sentences) for name, sentences in told["sentences"].items()} == {
        f"libero_{name}": suite.tasks for name, suite in SUITES.items()
    }
    assert told["simulator"]["LIBERO"]["robosuite"] == "1.4.0"


def test_what_a_server_is_told_is_the_raw_reading_as_openpi_writes_it() -> None:
    benchmark = LiberoBenchmark(("spatial",))
    env = benchmark.make("spatial/0")
    rng = np.random.default_rng(5)
    for index in (0, 9):
        env.reset_to(index, index)
        for _ in range(40):
            *axis, w = env._reading["robot0_eef_quat"]
            wanted = np.array(axis) / np.sqrt(1 - w**2) * 2 * np.arccos(w)
            told = openpi_state(env.state())
            np.testing.assert_allclose(told[:3], env._reading["robot0_eef_pos"], atol=1e-5)
            np.testing.assert_allclose(told[3:6], wanted, atol=1e-4)
            # the two fingers are not moved quite alike; one opening stands for both
            np.testing.assert_allclose(told[6:], env._reading["robot0_gripper_qpos"], atol=2e-3)
            env.step(rng.uniform(-1, 1, 7))
    env.close()


def _pictures(benchmark: LiberoBenchmark, task: str) -> tuple[np.ndarray, np.ndarray]:
    """What is seen and what is measured after ten steps, the same for every look."""
    env = benchmark.make(task)
    states = played(env, 0, 0)
    pictures = np.stack(list(env.observe().images.values())).astype(int)
    env.close()
    return pictures, states


def test_fewer_triangles_show_the_same_scene_and_change_nothing_in_it() -> None:
    seen = {look: _pictures(LiberoBenchmark(("spatial",), look=look), "spatial/0") for look in LOOKS}
    shipped, states = seen["shipped"]
    for pictures, measured in seen.values():
        np.testing.assert_array_equal(measured, states)
        assert np.abs(pictures - shipped).mean() < 5, "of 255: textures and edges may shimmer"
    off = {look: np.abs(pictures - shipped).mean() for look, (pictures, _) in seen.items()}
    assert 0 == off["shipped"] < off["reduced"] < off["plain"]
    moved = np.abs(np.roll(shipped, 2, axis=1) - shipped).mean()
    assert 2 * off["reduced"] < moved, "nearer than the same picture moved by two pixels"


def test_demonstrations_begin_where_no_start_state_is_and_point_at_what_is_taken() -> None:
    env = LiberoBenchmark(("object",), look="reduced").make("object/0")
    fixed = []
    for index in range(3):
        env.reset_to(index, 0)
        fixed.append(env.points())
    demo, again = (demonstrate_libero(env, 1_000_000) for _ in range(2))
    np.testing.assert_array_equal(demo.action, again.action)
    np.testing.assert_array_equal(demo.images["agentview"], again.images["agentview"])
    assert demo.success
    assert 80 < len(demo.state) <= 200
    assert np.abs(demo.executed - demo.action).max() > 0.01, "it was disturbed"
    assert demo.points.shape == (len(demo.state), 2, 2, 3)
    assert all(np.abs(points - demo.points[0]).max() > 1e-3 for points in fixed)
    thing = demo.points[:, 0, 0, :2] * 128
    assert np.abs(thing - demo.points[:, 0, 1, :2] * 128)[-1].max() < 8, "in the basket at the end"
    u, v = thing[0].astype(int)
    first, last = (demo.images["agentview"][t].astype(int) for t in (0, -1))
    changed = np.abs(first - last).max(-1) > 40
    assert changed[v - 2 : v + 3, u - 2 : u + 3].mean() > 0.8, "where it stood it is no more"
    env.close()


def test_libero_pro_changes_what_it_says() -> None:
    names = [name for name in VARIATIONS if name != UNVARIED]
    benchmark = LiberoBenchmark(("object",), variations=("seen", *names))
    assert [task.name for task in benchmark.tasks()][::10] == ["object/0", *(f"object/0/{n}" for n in names)]
    said = benchmark.provenance()["sentences"]
    assert said["libero_object_swap"] == said["libero_object"] == said["libero_object_object"]
    assert not set(said["libero_object_lan"]) & set(said["libero_object"])
    assert all("basket" in sentence for sentence in said["libero_object_lan"])
    played = {}
    for name in ("object/0", "object/0/position", "object/0/task"):
        env = benchmark.make(name)
        env.reset_to(0, 0)
        played[name] = (env.instruction, env.points())
        env.close()
    (sentence, seen), (moved_sentence, moved), (other_sentence, other) = played.values()
    assert sentence == moved_sentence == "pick up the alphabet soup and place it in the basket"
    assert other_sentence == "pick the cream cheese and place it in the basket"
    assert np.abs(moved[0, 0] - seen[0, 0]).max() > 0.05, "the thing stands elsewhere"
    assert np.abs(other[0, 0] - seen[0, 0]).max() > 0.05, "another thing is wanted"
    with pytest.raises(KinemaError, match="spatial, object, goal, 10 have changed forms, not 90"):
        LiberoBenchmark(("90",), variations=("position",))
