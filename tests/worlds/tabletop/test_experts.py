import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.worlds import Expert, TabletopEnv, families_for
from kinema.worlds.tabletop.check import check, tabletop_robots

PAIRS = [(robot, family) for robot in tabletop_robots() for family in families_for(robot)]


# Every family by one body, and every body in one of its families.
BY_PANDA = [("panda", family) for family in families_for("panda")]
BY_ALL = [(robot, families_for(robot)[0]) for robot in tabletop_robots() if robot != "panda"]
SAMPLE = [*BY_PANDA, *BY_ALL, *((r, f) for r, f in PAIRS if f not in families_for("panda"))]


@pytest.mark.parametrize(("robot", "family"), SAMPLE)
def test_expert_solves_a_sample(robot: str, family: str) -> None:
    row = check(robot, family, "seen", episodes=3, first_seed=700)
    assert len(row.steps) >= 2, str(row)


@pytest.mark.slow
@pytest.mark.parametrize(("robot", "family"), PAIRS)
def test_expert_solves_what_it_claims(robot: str, family: str) -> None:
    row = check(robot, family, "seen", episodes=60)
    assert row.rate >= 0.95, str(row)


def test_expert_has_no_memory() -> None:
    """A second expert that has seen nothing says the same in every state."""
    env = TabletopEnv(card=load_card("panda"), family="stack")
    env.reset(1)
    first = Expert(env)
    for _ in range(12):
        action = first.act()
        np.testing.assert_array_equal(action, Expert(env).act())
        env.step(action)


def test_expert_recovers_from_a_lost_block() -> None:
    env = TabletopEnv(card=load_card("panda"), family="pick_place")
    env.reset(2)
    expert = Expert(env)
    target = env.task.target
    for _ in range(env.max_steps):
        env.step(expert.act())
        if target.position(env.scene.data)[2] > 0.08:
            break
    else:
        pytest.fail("the block was never lifted")
    target.place(env.scene.model, env.scene.data, env.scene.area.at(-0.9, -0.9), 0.0)  # someone took it away
    for _ in range(60):
        env.step(expert.act())
        if env.success():
            return
    pytest.fail("the expert did not pick the block up again")


def test_pressing_the_wrong_button_is_no_success() -> None:
    env = TabletopEnv(card=load_card("ur5e"), family="button")
    env.reset(4)
    task = env.task
    task.target, task.others = task.others[0], [task.target, *task.others[1:]]
    expert = Expert(env)  # presses what the sentence did not name
    for _ in range(15):
        env.step(expert.act())
    assert env.success()
    task.target, task.others = task.others[0], [task.target, *task.others[1:]]
    assert not env.success()
