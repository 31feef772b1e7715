"""The house as an environment: walls hold, who stands still has arrived, the past is seen."""

import numpy as np
import pytest

from kinema.card.check import check_cameras, check_card
from kinema.card.load import load_card
from kinema.card.prompt import prompt
from kinema.schema import KinemaError
from kinema.worlds.house.demonstrate import demonstrate_house
from kinema.worlds.house.env import HouseEnv
from kinema.worlds.house.errands import ERRANDS
from kinema.worlds.house.expert import HouseExpert

BASES = ("wheeled_base", "quadruped", "humanoid")
SEED = 1_000_000
AHEAD, STAY = np.array([1.0, 0, 0]), np.zeros(3)


@pytest.fixture(scope="module")
def env() -> HouseEnv:
    env = HouseEnv(image_size=32)
    env.reset(SEED)
    return env


@pytest.mark.parametrize("name", BASES)
def test_the_bases_cards_hold_up(name: str) -> None:
    report = check_card(name)
    assert report.ok, report.rows
    assert "the next 8 waypoints to execute" in prompt(load_card(name), "turn left", 8)


def test_the_bases_see_from_heights_of_their_own() -> None:
    heights = [load_card(name).cameras[0].pos_m[2] for name in BASES]
    assert len(set(heights)) == 3


@pytest.mark.parametrize("errand", ERRANDS)
def test_the_expert_arrives_and_the_same_seed_is_the_same_episode(errand: str) -> None:
    env = HouseEnv(errand=errand, card=load_card("quadruped"))
    expert = HouseExpert(env)
    walks = []
    for _ in range(2):
        env.reset(SEED)
        while env.steps < env.max_steps and not env.success():
            env.step(expert.act())
        assert env.success()
        walks.append((env.instruction, env.positions.tolist()))
    assert walks[0] == walks[1]


def test_a_second_of_standing_still_ends_the_episode_for_good(env: HouseEnv) -> None:
    env.restart()
    env.step(AHEAD)
    env.step(STAY)
    assert not env.over()
    env.step(STAY)
    assert env.over()
    assert not env.success()  # far from the goal
    place = env.pose.copy()
    env.step(AHEAD)
    np.testing.assert_array_equal(env.pose, place)


def test_no_motion_leads_into_a_wall(env: HouseEnv) -> None:
    rng = np.random.default_rng(0)
    env.restart()
    for _ in range(150):
        env.step(rng.uniform([-0.4, -1, -1], 1))
        assert env.space.is_free(env.pose[:2])
    assert env.bumps > 0


def test_a_waypoint_counts_from_where_the_base_stands(env: HouseEnv) -> None:
    env.restart()
    start = env.pose.copy()
    env.step(np.array([0.0, 0, 1.0]))
    assert env.pose[2] == pytest.approx((start[2] + 0.785 + np.pi) % (2 * np.pi) - np.pi)
    np.testing.assert_allclose(env.state(), [0, 0, 0.785], atol=1e-6)
    env.step(np.array([0.2, 0, 0]))
    np.testing.assert_allclose(env.state()[:2], 0.1 * np.array([np.cos(0.785), np.sin(0.785)]), atol=1e-6)


def test_a_camera_of_the_past_shows_what_was_seen_then(env: HouseEnv) -> None:
    env.restart()
    seen = [env.observe().images]
    for _ in range(9):
        env.step(np.array([0.1, 0, 0.5]))
        seen.append(env.observe().images)
    for step, images in enumerate(seen):
        for camera, ago in (("front_1s", 2), ("front_4s", 8)):
            np.testing.assert_array_equal(images[camera], seen[max(0, step - ago)]["front"])
    assert (seen[0]["front"] != seen[-1]["front"]).any()


def test_the_next_step_of_the_way_is_pointed_at_where_it_is_seen(env: HouseEnv) -> None:
    env.restart()
    expert = HouseExpert(env)
    for _ in range(6):  # by then it faces the way
        env.step(expert.act())
    points = env.points()
    assert points.shape == (3, 2, 3)
    u, v, visible = points[0, 0]
    assert visible
    assert 0.2 < u < 0.8
    assert v > 0.5
    assert not points[1:].any()


def test_a_demonstration_keeps_what_is_right_beside_what_was_done() -> None:
    env = HouseEnv(image_size=32)
    demo = demonstrate_house(env, SEED + 1, noise=1.0, render=False)
    assert demo.success
    disturbed = (demo.action != demo.executed).any(1)
    assert 0 < disturbed.sum() < len(disturbed)
    assert not demo.action[-2:].any()
    clean = demonstrate_house(env, SEED + 1, noise=0.0, render=False)
    np.testing.assert_array_equal(clean.action, clean.executed)


def test_a_camera_of_the_past_needs_one_of_the_present_at_its_place() -> None:
    card = load_card("humanoid")
    alone = card.model_copy(update={"cameras": card.cameras[1:]})
    with pytest.raises(KinemaError, match="camera front_1s shows the past of no camera"):
        HouseEnv(card=alone)
    with pytest.raises(ValueError, match="camera front_1s shows the past of no camera"):
        check_cameras(alone)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda env: HouseEnv(errand="dance"), "no errand 'dance'; choices: instruction, search, follow"),
        (lambda env: HouseEnv(card=load_card("car")), "car takes no waypoints"),
        (lambda env: env.step(np.zeros(2)), r"an action is \(dx, dy, dtheta\)"),
        (lambda env: env.step(np.array([0, np.nan, 0])), "all finite"),
    ],
)
def test_what_cannot_be_is_refused(env: HouseEnv, make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(KinemaError, match=message):
        make(env)
