"""Rates and quotas hold whatever the order of requests and whatever the clocks do."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.schema import KinemaError
from kinema.serve.keys import Key
from kinema.serve.rates import DAY_S, RateLimiter
from kinema.serve.refusal import Refusal


class World:
    """Clocks to turn by hand, and a book of what was spent."""

    def __init__(self) -> None:
        self.now_s, self.wall_s = 100.0, 10 * DAY_S
        self.book: dict[tuple[str, int], int] = defaultdict(int)

    def limiter(self, **options: float) -> RateLimiter:
        return RateLimiter(
            lambda key, time_s: self.book[key, int(time_s // DAY_S)],
            clock=lambda: self.now_s,
            wall=lambda: self.wall_s,
            **options,
        )

    def serve(self, limiter: RateLimiter, key: Key, actions: int) -> bool:
        try:
            limiter.take(key, actions)
        except Refusal:
            return False
        self.book[key.id, int(self.wall_s // DAY_S)] += actions
        limiter.give_back(key, actions)
        return True


def _key(**limits: float | int | None) -> Key:
    return Key(id="k", name="k", **limits)  # type: ignore[arg-type]


@given(
    rate_hz=st.floats(0.1, 100),
    burst_s=st.floats(0.1, 10),
    gaps_s=st.lists(st.floats(-5, 5), min_size=1, max_size=200),
)
def test_never_more_than_the_burst_and_the_rate(rate_hz: float, burst_s: float, gaps_s: list[float]) -> None:
    world = World()
    limiter = world.limiter(burst_s=burst_s)
    key, served, began_s, latest_s = _key(rate_hz=rate_hz), 0, world.now_s, world.now_s
    for gap_s in [0.0, *gaps_s]:
        world.now_s += gap_s
        latest_s = max(latest_s, world.now_s)  # a clock that goes back and forth gives nothing twice
        served += world.serve(limiter, key, 1)
    assert 1 <= served <= max(1.0, rate_hz * burst_s) + rate_hz * (latest_s - began_s) + 1e-6


@given(rate_hz=st.floats(0.1, 100), burst_s=st.floats(0.1, 10))
def test_waiting_as_told_is_enough_and_half_of_it_is_not(rate_hz: float, burst_s: float) -> None:
    world = World()
    limiter, key = world.limiter(burst_s=burst_s), _key(rate_hz=rate_hz)
    while world.serve(limiter, key, 1):
        pass
    with pytest.raises(Refusal) as caught:
        limiter.take(key, 1)
    assert caught.value.code == "rate_limited"
    wait_s = caught.value.retry_after_s
    assert wait_s is not None
    assert 0 < wait_s <= 1 / rate_hz + 1e-9
    world.now_s += wait_s / 2
    assert not world.serve(limiter, key, 1)
    world.now_s += wait_s / 2
    assert world.serve(limiter, key, 1)


def test_the_default_rate_is_for_keys_without_one_and_keys_do_not_share() -> None:
    world = World()
    limiter = world.limiter(default_rate_hz=1.0, burst_s=1.0)
    slow, other, fast = _key(), Key(id="o", name="o"), Key(id="f", name="f", rate_hz=50.0)
    assert world.serve(limiter, slow, 1)
    assert not world.serve(limiter, slow, 1)
    assert world.serve(limiter, other, 1)
    assert sum(world.serve(limiter, fast, 1) for _ in range(100)) == 50


@given(
    quota=st.integers(0, 200),
    steps=st.lists(st.tuples(st.integers(1, 50), st.sampled_from([0.0, 3600.0, DAY_S, -DAY_S])), max_size=60),
)
def test_no_day_gets_more_than_the_quota_even_if_the_clock_jumps(
    quota: int, steps: list[tuple[int, float]]
) -> None:
    world = World()
    limiter, key = world.limiter(), _key(quota_per_day=quota)
    for actions, jump_s in steps:
        world.wall_s += jump_s
        fits = world.book["k", int(world.wall_s // DAY_S)] + actions <= quota
        assert world.serve(limiter, key, actions) == fits
    assert all(used <= quota for used in world.book.values())


def test_actions_in_flight_count_and_failures_do_not() -> None:
    world = World()
    limiter, key = world.limiter(), _key(quota_per_day=30)
    limiter.take(key, 16)
    with pytest.raises(Refusal, match="16 are used") as caught:
        limiter.take(key, 16)
    assert (caught.value.code, caught.value.status) == ("rate_limited", 429)
    assert caught.value.retry_after_s == DAY_S  # the world begins at midnight
    limiter.give_back(key, 16)  # it failed: nothing was booked
    limiter.take(key, 16)


def test_a_refused_request_costs_no_token() -> None:
    world = World()
    limiter = world.limiter(burst_s=1.0)
    key = _key(rate_hz=1.0, quota_per_day=5)
    for _ in range(10):
        with pytest.raises(Refusal, match="actions a day"):
            limiter.take(key, 6)
    limiter.take(key, 5)


def test_a_rate_of_nothing_is_an_error() -> None:
    with pytest.raises(KinemaError, match="above 0"):
        World().limiter(default_rate_hz=0.0)
