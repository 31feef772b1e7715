"""Meta-World as lerobot judges it: its sentences, its pictures, and every difference that is left said."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
pytest.importorskip("metaworld")

from kinema.bench.metaworld.benchmark import MetaworldBenchmark, MetaworldEnv
from kinema.bench.metaworld.demos import Plan, collect_metaworld
from kinema.bench.metaworld.protocols import PROTOCOLS
from kinema.bench.metaworld.tasks import TASKS
from kinema.data.picture import resize
from kinema.schema import KinemaError

LEROBOT = PROTOCOLS["lerobot"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_task_has_a_sentence(name: str) -> None:
    assert sorted(PROTOCOLS[name].instructions) == sorted(TASKS)


def test_lerobots_sentences_are_those_of_its_package() -> None:
    metaworld = pytest.importorskip("lerobot.envs.metaworld")
    assert dict(LEROBOT.instructions) == metaworld.TASK_DESCRIPTIONS


@pytest.mark.parametrize("task", ["push-v3", "door-open-v3"])
def test_lerobots_picture_is_the_packages_own_turned_by_half_a_turn(task: str) -> None:
    """What lerobot does, with the package alone: the camera moved, its own renderer, both axes flipped."""
    import metaworld.env_dict
    import mujoco

    ours = MetaworldEnv(task, "lerobot")
    theirs = metaworld.env_dict.ALL_V3_ENVIRONMENTS[task](render_mode="rgb_array", camera_name="corner2")
    theirs._set_task_called, theirs._freeze_rand_vec, theirs.seeded_rand_vec = True, False, True
    theirs.model.cam_pos[2] = [0.75, 0.075, 0.7]
    ours.reset(3)
    theirs.seed(3)
    theirs.reset(seed=3)
    mujoco.mj_forward(theirs.model, theirs.data)
    for _ in range(2):
        shown = ours.observe()
        np.testing.assert_array_equal(shown.images["corner2"], np.flip(theirs.render(), (0, 1)))
        assert shown.images["corner2"].shape == (480, 480, 3)
        action = ours.expert_action()
        ours.step(action)
        state = theirs.step(action)[0][:4]
        np.testing.assert_allclose(ours.state(), state, atol=1e-6)
    ours.close()
    theirs.close()


def test_the_protocol_decides_what_a_policy_is_told_and_the_results_say_so() -> None:
    ours, theirs = MetaworldBenchmark(), MetaworldBenchmark(protocol="lerobot")
    assert ours.tasks() == theirs.tasks()
    for benchmark, name in ((ours, "kinema"), (theirs, "lerobot")):
        told = benchmark.provenance()
        assert told["judged_as_by"] == name
        env = benchmark.make("push-back-v3")
        env.reset(1)
        assert env.observe(render=False).instruction == told["sentences"]["push-back-v3"]
        assert told["rendering"]["size_px"] == env.rendering.size_px
    assert theirs.provenance()["sentences"]["push-v3"] == theirs.provenance()["sentences"]["push-back-v3"]
    said = " ".join(theirs.provenance()["not_as_lerobot"])
    assert "sentences" not in said
    for left in ("scenes", "first picture", "3.0.0", "replan_steps", "demonstrations"):
        assert left in said


def test_demonstrations_for_lerobots_way_look_as_it_judges_and_say_what_it_says(tmp_path: Path) -> None:
    plan = Plan(protocol="lerobot", episodes=1, rendered_every=60, max_steps=100)
    (meta,) = collect_metaworld(tmp_path, ("drawer-open-v3",), plan=plan).values()
    assert meta["instruction"] == LEROBOT.instructions["drawer-open-v3"]
    size, seed = (
        LEROBOT.demonstrated.size_px,
        int(np.load(tmp_path / "drawer-open-v3" / "steps.npz")["seed"][0]),
    )
    first = np.fromfile(tmp_path / "drawer-open-v3" / "frames.u8", np.uint8).reshape(-1, size, size, 3)[:1]
    judged = MetaworldEnv("drawer-open-v3", "lerobot")
    judged.reset(seed)
    shown = judged.render()[None]
    judged.close()
    small, wanted = (resize(picture, 96).astype(float) for picture in (first, shown))
    assert np.abs(small - wanted).mean() < 2, "of 255"
    with pytest.raises(KinemaError, match=r"drawer-open-v3 has other pictures .*shadows True, not False"):
        collect_metaworld(tmp_path, ("drawer-open-v3",), plan=Plan(episodes=1))


def test_an_unknown_protocol_is_refused_with_the_choices() -> None:
    with pytest.raises(KinemaError, match=r"unknown protocol 'smolvla'.*choices: kinema, lerobot"):
        MetaworldBenchmark(protocol="smolvla")
