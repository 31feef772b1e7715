"""A control rate is honoured: a period of simulated time is the card's, and experts act as fast in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.card import EmbodimentCard
from kinema.card.load import card_names, load_card
from kinema.schema import KinemaError
from kinema.worlds import Expert, TabletopEnv, families_for
from kinema.worlds.body.robots import CONTROL_HZ, TIMESTEP_S, timestep_s
from kinema.worlds.tabletop.check import check, play
from kinema.worlds.tabletop.env import FAMILIES
from laws import examples


def at(name: str, hz: float) -> EmbodimentCard:
    return load_card(name).model_copy(update={"control_hz": hz})


@given(st.floats(*CONTROL_HZ))
def test_a_period_is_a_whole_number_of_steps_of_4_ms_at_most(hz: float) -> None:
    steps = 1.0 / (hz * timestep_s(hz))
    assert abs(steps - round(steps)) < 1e-9
    assert timestep_s(hz) <= TIMESTEP_S * (1 + 1e-9)


@pytest.mark.parametrize("name", [name for name in card_names() if families_for(name)])
def test_shipped_cards_keep_the_timestep_that_they_were_made_with(name: str) -> None:
    assert timestep_s(load_card(name).control_hz) == 0.004


@examples(6)
@given(st.floats(*CONTROL_HZ))
def test_time_goes_on_by_the_cards_period(hz: float) -> None:
    env = TabletopEnv(card=at("panda", hz), family="button")
    env.reset(0)
    expert = Expert(env)
    for _ in range(10):
        env.step(expert.act())
    assert env.observe(render=False).time_s == pytest.approx(10 / hz, rel=1e-9)


@pytest.mark.parametrize("hz", [1.0, 4.9, 101.0, 500.0, 1000.0])
def test_a_rate_that_the_world_cannot_play_is_refused(hz: float) -> None:
    with pytest.raises(KinemaError, match=r"within 5 \.\.\. 100"):
        TabletopEnv(card=at("panda", hz), family="button")


@pytest.mark.parametrize("hz", [5.0, 30.0, 100.0])
@pytest.mark.parametrize("family", ["pick_place", "drawer"])
def test_an_expert_takes_the_same_time_at_every_rate(family: str, hz: float) -> None:
    taken = []
    for rate in (10.0, hz):
        env = TabletopEnv(card=at("panda", rate), family=family)
        env.reset(3)
        taken.append(play(env, Expert(env).act) / rate)
        assert env.success()
    assert taken[1] == pytest.approx(taken[0], rel=0.6)


@pytest.mark.slow
@pytest.mark.parametrize("hz", [5.0, 15.0, 20.0, 30.0, 50.0, 100.0])
@pytest.mark.parametrize("robot", ["panda", "so101", "aloha"])
def test_experts_solve_what_they_claim_at_every_rate(robot: str, hz: float) -> None:
    for family in families_for(robot):
        row = check(at(robot, hz), family, "seen", episodes=20)
        assert row.rate >= 0.9, str(row)


def test_limits_of_episodes_are_times() -> None:
    for family in FAMILIES:
        card = "aloha" if family == "lift_two_arms" else "panda"
        slow, fast = (TabletopEnv(card=at(card, hz), family=family).max_steps for hz in (10.0, 100.0))
        assert fast == 10 * slow
