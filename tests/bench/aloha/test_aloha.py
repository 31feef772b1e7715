"""ALOHA's adapter on the package itself; skips where gym-aloha is not installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
pytest.importorskip("gym_aloha")

from kinema.bench.aloha.benchmark import CARD, INSTRUCTIONS, SUITES, WHOLE, AlohaBenchmark, AlohaEnv
from kinema.bench.aloha.conventions import Conventions, of_card, of_package
from kinema.bench.aloha.demos import demonstrate_aloha
from kinema.bench.conventions import check_same
from kinema.bench.drawing import LOOKS
from kinema.card.kinematics import arm_of, link_poses
from kinema.card.load import load_card
from kinema.schema import KinemaError

OURS = of_card(load_card(CARD))
OTHERS = {
    "control_hz": 10.0,
    "actions": OURS.actions[7:] + OURS.actions[:7],
    "states": OURS.states[::-1],
    "ranges": ((-1.0, 1.0), *OURS.ranges[1:]),
    "fingers": (OURS.fingers[0], (0.021, 0.057)),
    "bases": OURS.bases[::-1],
    "cameras": ("angle",),
}


@pytest.fixture(params=list(INSTRUCTIONS))
def env(request: pytest.FixtureRequest) -> Iterator[AlohaEnv]:
    made = AlohaEnv(request.param, SUITES["gym"])
    yield made
    made.close()


def played(env: AlohaEnv, seed: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    env.reset(seed)
    begin = env.state().astype(float)
    states = [begin]
    for _ in range(20):
        env.step(begin + rng.uniform(-0.3, 0.3, 14))
        states.append(env.state())
    return np.stack(states)


def test_an_episode_is_its_seed_whatever_was_played_before(env: AlohaEnv) -> None:
    played(env, 8)
    again, picture = played(env, 7), env.render()
    fresh = AlohaEnv(env.task, SUITES["act"])
    np.testing.assert_array_equal(again, played(fresh, 7))
    np.testing.assert_array_equal(picture, fresh.render())
    assert picture.std() > 10
    fresh.reset(9)
    start = fresh.points()
    fresh.reset(10)
    assert np.abs(start - fresh.points()).max() > 1e-3
    fresh.close()


@pytest.mark.parametrize("name", [field.name for field in fields(Conventions)])
def test_every_convention_that_differs_is_named(name: str) -> None:
    theirs = replace(OURS, **{name: OTHERS[name]})
    with pytest.raises(KinemaError, match=f"gym-aloha's conventions are not those of its card: {name} is"):
        check_same("gym-aloha", OURS, theirs)


def test_the_packages_conventions_are_tried_out_not_copied(env: AlohaEnv) -> None:
    """Joints in another order there are found."""
    task = env._env._env.task
    read = task.get_qpos
    task.get_qpos = lambda physics: np.roll(read(physics), 7)
    found = of_package(env._env)
    assert asdict(found) == {**asdict(OURS), "states": OURS.states[7:] + OURS.states[:7]}


def test_the_cards_arms_are_the_simulators(env: AlohaEnv) -> None:
    played(env, 5)
    state, card = env.state().astype(float), load_card(CARD)
    for side, joints in (("left", state[:6]), ("right", state[7:13])):
        links = link_poses(arm_of(card, side), joints)
        for link in ("upper_forearm_link", "gripper_link"):
            np.testing.assert_allclose(links[link], env.pose(f"vx300s_{side}/{link}"), atol=1e-4)
    camera = card.cameras[0]
    physics = env._env._env.physics
    np.testing.assert_allclose(physics.named.data.cam_xpos[camera.name], camera.pos_m, atol=1e-6)
    assert np.radians(physics.named.model.cam_fovy[camera.name]) == pytest.approx(camera.fovy_rad, abs=1e-4)


def test_the_cards_say_which_of_the_simulators_numbers_opens(env: AlohaEnv) -> None:
    card = load_card(CARD)
    grippers = [i for i, channel in enumerate(card.actions) if channel.slot.endswith(".gripper")]
    measured = []
    env.reset(1_000_000)
    for end in (0, 1):
        action = env.state().astype(float)
        action[grippers] = [card.actions[i].closed_and_open[end] for i in grippers]
        for _ in range(25):
            env.step(action)
        measured.append(env.state()[grippers])
    assert (measured[0] < 0.2).all(), "closed"
    assert (measured[1] > 0.8).all(), "open"


def test_a_square_picture_is_the_middle_of_the_packages(env: AlohaEnv) -> None:
    whole = AlohaEnv(env.task, SUITES["gym"], WHOLE)
    square = AlohaEnv(env.task, SUITES["gym"], replace(WHOLE, width_px=480))
    for shown in (whole, square):
        shown.reset(4)
    middle = whole.render()[:, 80:560].astype(int)
    assert np.abs(middle - square.render()).max() < 10  # rounding at edges
    assert whole.render().shape == (480, 640, 3)
    u, v, seen = square.points()[0, 0]
    assert seen
    red, green, _ = square.render()[int(480 * v), int(480 * u)].astype(int)
    assert red > 100 + green  # cube and peg are red
    with pytest.raises(KinemaError, match="square"):
        whole.points()


def test_fewer_triangles_show_the_same_scene_and_change_nothing_in_it(env: AlohaEnv) -> None:
    pytest.importorskip("meshoptimizer")
    seen, states = {}, {}
    for look in LOOKS:
        drawn = AlohaBenchmark(look=look).make(f"gym/{env.task}")
        states[look] = played(drawn, 6)
        seen[look] = drawn.render().astype(int)
        drawn.close()
        np.testing.assert_array_equal(states[look], states["shipped"])
    off = {look: np.abs(picture - seen["shipped"]).mean() for look, picture in seen.items()}
    assert 0 == off["shipped"] < off["reduced"] < off["plain"] < 3, "of 255"
    moved = np.abs(np.roll(seen["shipped"], 1, axis=1) - seen["shipped"]).mean()
    assert 5 * off["reduced"] < moved, "much nearer than the same picture moved by one pixel"


def test_the_expert_solves_it_in_the_shorter_time_and_to_hold_still_does_not(env: AlohaEnv) -> None:
    env.reset(31)
    held = env.state()
    for _ in range(60):
        env.step(held)
    assert not env.success()
    env.reset(31)
    while not env.success() and env._steps < SUITES["gym"]:
        env.step(env.expert_action())
    assert env.success()
    assert env.measures() == {"highest_reward": 4.0, "diverged": 0.0}


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_no_wrist_is_turned_by_half_a_turn_and_episodes_are_alike(env: AlohaEnv, seed: int) -> None:
    """A policy cannot see which way round a wrist that could as well have gone the other way has gone."""
    env.reset(seed)
    rolls = []
    while not env.success() and env._steps < SUITES["gym"]:
        env.step(env.expert_action())
        rolls.append(env.state()[[3, 10]])
    assert env.success()
    assert np.abs(rolls).max() < 1.5


def test_a_simulation_that_diverges_is_a_failure_that_the_next_episode_forgets(env: AlohaEnv) -> None:
    first = played(env, 7)
    low, high = np.array([channel.range for channel in load_card(CARD).actions]).T
    rng = np.random.default_rng(3)
    env.reset(7)
    for _ in range(300):
        env.step(rng.uniform(low, high))
    assert env.measures()["diverged"]
    assert not env.success()
    assert np.isfinite(env.state()).all()
    np.testing.assert_array_equal(played(env, 7), first)


def test_a_demonstration_is_disturbed_labels_are_not_and_it_succeeds(
    env: AlohaEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AlohaEnv, "render", lambda self: np.zeros((8, 8, 3), np.uint8))
    env.max_steps = SUITES["act"]
    demo = demonstrate_aloha(env, 1_000_003)
    assert demo.success
    off = np.abs(demo.executed - demo.action)
    assert 0.1 < (off[:, :6].max(1) > 0).mean() < 0.9
    assert not off[:, [6, 13]].any(), "fingers are not disturbed"
    calm = demonstrate_aloha(env, 1_000_003, noise=0.0)
    np.testing.assert_array_equal(calm.executed, calm.action)


def test_suites_are_two_lengths_of_the_same_tasks() -> None:
    benchmark = AlohaBenchmark()
    names = {spec.name: dict(spec.groups) for spec in benchmark.tasks()}
    assert names == {
        f"{suite}/{task}": {"suite": suite, "task": task} for suite in ("gym", "act") for task in INSTRUCTIONS
    }
    assert [benchmark.make(f"{suite}/insertion").max_steps for suite in SUITES] == [300, 400]
    assert benchmark.provenance()["packages"]["gym-aloha"] == "0.1.5"
    with pytest.raises(KinemaError, match="'acte'; choices: gym, act"):
        AlohaBenchmark(suites=("acte",))


@pytest.mark.parametrize("action", [np.zeros(13), np.full(14, np.nan)])
def test_a_wrong_action_is_refused(env: AlohaEnv, action: np.ndarray) -> None:
    with pytest.raises(KinemaError, match="14 finite numbers"):
        env.step(action)
