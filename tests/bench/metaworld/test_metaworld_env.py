import os
from dataclasses import replace

import numpy as np
import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
pytest.importorskip("metaworld")

from kinema.bench.episode import EVALUATION_SEEDS_BELOW
from kinema.bench.metaworld.benchmark import CARD, TRAINING_SEEDS_FROM, MetaworldBenchmark, MetaworldEnv
from kinema.bench.metaworld.demos import Plan, collect_metaworld
from kinema.bench.metaworld.protocols import RENDERING
from kinema.bench.metaworld.tasks import GROUPS, INSTRUCTIONS, TASKS, interleaved
from kinema.card.load import load_card
from kinema.schema import KinemaError


def rollout(env, seed, steps=60):
    env.reset(seed)
    trace = [env.full_observation]
    for _ in range(steps):
        env.step(env.expert_action())
        trace.append(env.full_observation)
    return np.stack(trace)


def test_groups_are_the_fifty_tasks_of_the_package():
    from metaworld.policies import ENV_POLICY_MAP

    assert {group: len(tasks) for group, tasks in GROUPS.items()} == {
        "easy": 28,
        "medium": 11,
        "hard": 6,
        "very_hard": 5,
    }
    assert sorted(task for tasks in GROUPS.values() for task in tasks) == sorted(ENV_POLICY_MAP)
    assert sorted(interleaved()) == sorted(TASKS)
    assert {t for t in interleaved()[:12]} & set(GROUPS["very_hard"])


def test_instructions_are_fifty_different_sentences():
    assert len(set(INSTRUCTIONS.values())) == 50
    assert all(3 <= len(sentence.split()) <= 16 for sentence in INSTRUCTIONS.values())


def test_demonstrations_and_evaluation_share_no_seed():
    assert EVALUATION_SEEDS_BELOW <= TRAINING_SEEDS_FROM
    with pytest.raises(KinemaError, match="first_seed=3"):
        Plan(first_seed=3)


@pytest.mark.parametrize("task", ["push-v3", "door-lock-v3", "shelf-place-v3"])
def test_an_episode_depends_on_its_seed_only(task):
    used = MetaworldEnv(task)
    rollout(used, 1)
    fresh = MetaworldEnv(task)
    again, first = rollout(used, 7), rollout(fresh, 7)
    np.testing.assert_array_equal(again, first)
    assert np.abs(first - rollout(fresh, 8)).max() > 1e-3


def test_the_benchmark_uses_the_card_of_the_body():
    card = load_card(MetaworldBenchmark().tasks()[0].card)
    assert card.control == "metaworld"
    assert card.camera_names == (RENDERING.camera,)
    assert card.control_hz == MetaworldBenchmark().tasks()[0].control_hz


def test_observation_is_what_the_policy_may_know():
    env = MetaworldEnv("push-v3")
    env.reset(4)
    observation = env.observe()
    assert observation.state.shape == (4,)
    assert observation.state.dtype == np.float32
    assert set(observation.images) == {"corner2"}
    assert observation.images["corner2"].shape == (128, 128, 3)
    assert not observation.images["corner2"][:30].any(axis=(1, 2)).all(), "the sky (black) is not on top"
    assert not env.observe(render=False).images
    env.close()


@pytest.mark.parametrize("task", ["push-v3", "reach-v3", "pick-place-v3"])
def test_goal_point_lies_on_the_rendered_goal(task):
    env = MetaworldEnv(task)
    for seed in range(3):
        env.reset(seed)
        goal = env._env.model.site("goal")
        colour = goal.rgba.copy()
        goal.rgba = (1.0, 1.0, 1.0, 1.0)
        white = env.render().astype(int)
        goal.rgba = (0.0, 0.0, 0.0, 1.0)
        changed = np.abs(env.render().astype(int) - white).sum(axis=2) > 40
        goal.rgba = colour
        assert 3 <= changed.sum() < 80
        rows, columns = np.nonzero(changed)
        seen = np.array([columns.mean() + 0.5, rows.mean() + 0.5]) / 128
        labelled = env.points()[0, 1]
        assert labelled[2] == 1.0
        assert np.abs(seen - labelled[:2]).max() < 2.0 / 128
    env.close()


def test_bad_actions_and_names_are_refused():
    with pytest.raises(KinemaError, match=r"unknown Meta-World task 'push'.*push-v3"):
        MetaworldEnv("push")
    env = MetaworldEnv("push-v3")
    env.reset(0)
    for action in (np.zeros(3), np.array([0, 0, np.nan, 0])):
        with pytest.raises(KinemaError, match="4 finite numbers"):
            env.step(action)


def test_the_card_says_which_of_the_simulators_numbers_opens():
    channel = load_card(CARD).actions[-1]
    env = MetaworldEnv("reach-v3")
    measured = []
    for end in channel.closed_and_open:
        env.reset(0)
        for _ in range(30):
            env.step(np.array([0, 0, 0, end]))
        measured.append(env.state()[3])
    env.close()
    assert measured[0] < 0.5 < measured[1], "closed, open"


def test_collected_demonstrations_hold_clean_labels(tmp_path):
    plan = Plan(episodes=2, rendered_every=2)
    (meta,) = collect_metaworld(tmp_path, ("reach-v3",), plan=plan).values()
    steps = np.load(tmp_path / "reach-v3" / "steps.npz")
    frames = np.memmap(tmp_path / "reach-v3" / "frames.u8", np.uint8, "r").reshape(-1, 128, 128, 3)
    assert meta["episodes"] == 2
    assert steps["seed"].min() >= TRAINING_SEEDS_FROM
    assert len(frames) == meta["frames"] == (steps["frame"] >= 0).sum() == steps["frame"].max() + 1
    assert steps["length"].sum() == len(steps["state"]) == len(steps["action"])
    assert (np.abs(steps["action"]) <= 1).all()
    np.testing.assert_array_equal(steps["executed"][:, 3], steps["action"][:, 3].clip(-1, 1), "the gripper's")
    assert (steps["executed"][:, :3] != steps["action"][:, :3]).any()
    env = MetaworldEnv("reach-v3")
    env.reset(int(steps["seed"][0]))
    for row in range(20):  # the data say what the simulator does: executed leads from state to state
        np.testing.assert_allclose(steps["state"][row], env.state(), atol=1e-6)
        np.testing.assert_array_equal(steps["action"][row], env.expert_action())
        if steps["frame"][row] >= 0 and row < 6:
            np.testing.assert_array_equal(frames[steps["frame"][row]], env.render())
        env.step(steps["executed"][row])
    env.close()
    assert collect_metaworld(tmp_path, ("reach-v3",), plan=plan) == {"reach-v3": meta}, "not resumed"


def test_larger_pictures_are_of_the_same_scenes(tmp_path):
    plan = Plan(episodes=1, rendered_every=2, size_px=32)
    (meta,) = collect_metaworld(tmp_path, ("reach-v3",), plan=plan).values()
    assert meta["rendering"]["size_px"] == 32
    assert (tmp_path / "reach-v3" / "frames.u8").stat().st_size == meta["frames"] * 32 * 32 * 3
    benchmark = MetaworldBenchmark(size_px=32)
    assert benchmark.provenance()["rendering"]["size_px"] == 32
    small, usual = benchmark.make("reach-v3"), MetaworldEnv("reach-v3")
    for env in (small, usual):
        env.reset(3)
    np.testing.assert_array_equal(small.points(), usual.points())
    assert small.render().shape == (32, 32, 3)
    shrunk = usual.render().reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(small.render().astype(float) - shrunk).mean() < 8
    small.close()
    usual.close()
    with pytest.raises(KinemaError, match=r"reach-v3 has other pictures \(size_px 32, not 128\)"):
        collect_metaworld(tmp_path, ("reach-v3",), plan=replace(plan, size_px=128))


@pytest.mark.slow
def test_the_experts_solve_their_tasks_through_the_runner(tmp_path):
    from kinema.bench.benchmark import Factory
    from kinema.bench.run import RunSettings, run

    results = run(
        RunSettings(
            benchmark=Factory(target="kinema.bench.metaworld.benchmark:MetaworldBenchmark"),
            policy=Factory(target="kinema.bench.expert:ExpertPolicy"),
            episodes=1,
        ),
        tmp_path,
        quiet=True,
    )
    assert results.overall["errors"] == 0
    assert results.mean_of_tasks > 0.9
