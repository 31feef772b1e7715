import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds import FAMILIES, SEEN, Expert, TabletopEnv, Variation, families_for
from kinema.worlds.cameras import project
from kinema.worlds.tabletop.check import tabletop_robots

PAIRS = [(robot, family) for robot in ("panda", "ur5e", "aloha") for family in families_for(robot)]


def episode(env: TabletopEnv, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """States (T, S) and the last front picture."""
    env.reset(seed)
    expert, states = Expert(env), []
    for _ in range(steps):
        env.step(expert.act())
        states.append(env.state())
    return np.stack(states), env.observe().images["front"]


@pytest.mark.parametrize("robot", ["panda", "aloha"])
def test_same_seed_gives_same_states_and_pixels_after_other_episodes(robot: str) -> None:
    env = TabletopEnv(card=load_card(robot), family="pick_place", image_size=48)
    states, picture = episode(env, seed=5, steps=6)
    episode(env, seed=6, steps=3)  # what came before must leave no trace
    again, picture_again = episode(env, seed=5, steps=6)
    fresh_env = TabletopEnv(card=load_card(robot), family="pick_place", image_size=48)
    fresh, picture_fresh = episode(fresh_env, seed=5, steps=6)
    env.close()
    fresh_env.close()
    np.testing.assert_array_equal(states, again)
    np.testing.assert_array_equal(states, fresh)
    np.testing.assert_array_equal(picture, picture_again)
    np.testing.assert_array_equal(picture, picture_fresh)
    assert picture.std() > 5  # something is to be seen


@pytest.mark.parametrize(("robot", "family"), PAIRS)
@pytest.mark.parametrize("variation", ["seen", "all"])
def test_no_episode_begins_solved(robot: str, family: str, variation: str) -> None:
    env = TabletopEnv(card=load_card(robot), family=family, variation=Variation.named(variation))
    for seed in range(12):
        env.reset(seed)
        assert not env.holds()
        assert not env.success()
        assert env.instruction == env.instruction.strip() != ""


@pytest.mark.parametrize("robot", tabletop_robots())
def test_observation_follows_the_card(robot: str) -> None:
    card = load_card(robot)
    env = TabletopEnv(card=card, family=families_for(robot)[0], image_size=32)
    env.reset(0)
    observation = env.observe()
    env.close()
    assert set(observation.images) == set(card.camera_names)
    for image in observation.images.values():
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
    assert observation.state.shape == (len(card.states),)
    assert observation.state.dtype == np.float32
    low, high = np.array([channel.range for channel in card.states]).T
    assert np.all((observation.state >= low - 1e-3) & (observation.state <= high + 1e-3))
    assert env.observe(render=False).images == {}


def test_pointing_labels_are_projections_of_true_positions() -> None:
    env = TabletopEnv(card=load_card("panda"), family="pick_place", image_size=96)
    env.reset(3)
    task = env.task
    points = env.points()
    model, data = env.scene.model, env.scene.data
    truth = np.stack([task.target.position(data), task.place.surface(data)])
    front = project(model, data, model.camera("front").id, truth)
    np.testing.assert_allclose(points[0], front, atol=1e-6)
    # The picture agrees: the pixel at the label has the colour of the thing, not of the table.
    image = env.observe().images["front"].astype(float)
    env.close()
    u, v, visible = points[0, 0]
    assert visible == 1
    pixel = image[int(v * 96), int(u * 96)]
    rgba = model.geom_rgba[task.target.geoms[0], :3]
    table = model.geom_rgba[model.geom("table").id, :3]

    def hue_like(color: np.ndarray) -> np.ndarray:
        return color / np.linalg.norm(color)

    to_thing = np.linalg.norm(hue_like(pixel) - hue_like(rgba))
    assert to_thing < np.linalg.norm(hue_like(pixel) - hue_like(table))


def test_points_outside_the_picture_are_invisible() -> None:
    env = TabletopEnv(card=load_card("panda"), family="button")
    env.reset(0)
    model, data = env.scene.model, env.scene.data
    behind = data.cam_xpos[0] + data.cam_xmat[0].reshape(3, 3) @ np.array([0.0, 0.0, 1.0])
    np.testing.assert_array_equal(project(model, data, 0, behind[None]), 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_step_refuses_non_finite_actions(bad: float) -> None:
    env = TabletopEnv(card=load_card("panda"), family="button")
    env.reset(0)
    before = env.state()
    action = Expert(env).act()
    action[2] = bad
    with pytest.raises(KinemaError, match=r"non-finite.*z="):
        env.step(action)
    with pytest.raises(KinemaError, match="shape"):
        env.step(np.zeros(3))
    np.testing.assert_array_equal(env.state(), before)


def test_step_keeps_to_the_card_limits() -> None:
    card = load_card("panda")
    env = TabletopEnv(card=card, family="button")
    env.reset(0)
    for _ in range(15):
        env.step(np.array([9.0, -9.0, 9.0, 0.0, 0.0, 0.0, 7.0]))
    x, y, z = env.state()[:3]
    (x0, x1), (y0, y1), (z0, z1) = card.workspace_m
    margin = 0.01
    assert x0 - margin <= x <= x1 + margin
    assert y0 - margin <= y <= y1 + margin
    assert z0 - margin <= z <= z1 + margin


def test_joint_targets_are_reached_within_the_velocity_limit() -> None:
    card = load_card("ur5e")
    env = TabletopEnv(card=card, family="button")
    env.reset(0)
    before = env.state()
    target = before.astype(float)
    target[0] += 1.0
    env.step(target)
    moved = env.state()[0] - before[0]
    limit = card.arms[0].joints[0].velocity / card.control_hz
    assert 0.5 * limit < moved <= 1.05 * limit
    for _ in range(8):
        env.step(target)
    np.testing.assert_allclose(env.state(), target, atol=0.01)


def test_tool_follows_pose_targets_to_a_few_millimetres() -> None:
    env = TabletopEnv(card=load_card("panda"), family="button")
    env.reset(0)
    target = np.array([0.50, 0.10, 0.25, 0.0, 0.0, 0.3, 0.5])
    for _ in range(12):
        env.step(target)
    state = env.state()
    np.testing.assert_allclose(state[:3], target[:3], atol=0.004)
    np.testing.assert_allclose(state[3:6], target[3:6], atol=0.02)
    np.testing.assert_allclose(state[6], 0.5, atol=0.05)


def test_unknown_family_and_body_without_table_name_the_choices() -> None:
    with pytest.raises(KinemaError, match="pick_place"):
        TabletopEnv(card=load_card("panda"), family="pick_and_plaice")
    with pytest.raises(KinemaError, match="lift_two_arms"):
        TabletopEnv(card=load_card("panda"), family="lift_two_arms")
    assert Variation() == SEEN
    assert set(FAMILIES) >= {family for robot in tabletop_robots() for family in families_for(robot)}
