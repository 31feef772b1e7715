"""When a message counts, when an emergency stop is let go, and how a simulation's clock is waited for."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.runtime.robot import ReadingError
from kinema.runtime.ros.clock import WakingClock
from kinema.runtime.ros.e_stop import EStop
from kinema.runtime.ros.newest import AHEAD_S, Newest

STALE_S = 0.25


@given(st.lists(st.tuples(st.floats(0.001, 0.2), st.floats(-0.5, 0.3)), min_size=1, max_size=40))
def test_only_the_newest_that_is_fresh_and_of_this_clock_is_used(moves: list[tuple[float, float]]) -> None:
    newest: Newest[int] = Newest("/t", STALE_S)
    now_s, best = 100.0, -np.inf
    for number, (elapsed_s, offset_s) in enumerate(moves):
        now_s += elapsed_s
        stamp_s = now_s + offset_s
        counts = stamp_s > best and offset_s <= AHEAD_S
        assert newest.put(stamp_s, now_s, number) == counts
        best = stamp_s if counts else best
        if now_s - best > STALE_S:
            with pytest.raises(ReadingError, match="/t"):
                newest.get(now_s)
        else:
            assert newest.get(now_s).stamp_s == best
    assert newest.received == len(moves)


def test_why_nothing_may_be_used_is_said() -> None:
    newest: Newest[str] = Newest("/t", STALE_S)
    with pytest.raises(ReadingError, match="nothing came on /t"):
        newest.get(1.0)
    newest.put(9.0, 1.0, "a")
    with pytest.raises(ReadingError, match="8 s ahead of this computer's clock"):
        newest.get(1.0)
    newest.put(1.0, 1.0, "b")
    with pytest.raises(ReadingError, match=r"1 s old, more than 0\.25 s"):
        newest.get(2.0)


def test_a_message_without_a_stamp_counts_from_when_it_came() -> None:
    newest: Newest[str] = Newest("/t", STALE_S)
    newest.put(0.0, 5.0, "a")
    assert newest.get(5.2).stamp_s == 5.0


def test_a_clock_that_goes_back_forgets_what_it_has_not_seen_yet() -> None:
    newest: Newest[str] = Newest("/t", STALE_S)
    newest.put(100.0, 100.0, "before")
    with pytest.raises(ReadingError, match="nothing came"):
        newest.get(1.0)
    assert newest.put(1.1, 1.1, "after")
    assert newest.get(1.1).value == "after"


def test_a_clock_that_jumps_ahead_makes_all_old() -> None:
    newest: Newest[str] = Newest("/t", STALE_S)
    newest.put(1.0, 1.0, "before")
    with pytest.raises(ReadingError, match="99 s old"):
        newest.get(100.0)
    newest.put(100.1, 100.1, "after")
    assert newest.get(100.1).value == "after"


def test_what_was_seen_earlier_is_kept_as_long_as_it_is_asked_for() -> None:
    newest: Newest[int] = Newest("/t", STALE_S, keep_s=1.0, apart_s=0.1)
    assert newest.before(0.0) is None
    for i in range(400):
        newest.put(1.0 + 0.01 * i, 1.0 + 0.01 * i, i)
    now_s = 1.0 + 3.99
    past = newest.before(now_s - 1.0)
    assert past is not None
    assert now_s - 1.0 - 0.1 - 1e-6 <= past.stamp_s <= now_s - 1.0 + 1e-6
    assert newest.before(0.0).stamp_s >= now_s - 1.2  # type: ignore[union-attr]  # the rest is forgotten


def test_an_emergency_stop_stays_until_it_is_released() -> None:
    stop = EStop(None, 0.0)
    assert not stop.why(1e6)  # no topic that must speak
    stop.hear(True, 1.0)
    stop.hear(False, 2.0)
    assert "says stop" in stop.why(3.0)
    assert stop.release(3.0) == ""
    assert not stop.why(3.0)
    stop.hear(True, 4.0)
    assert "still says stop" in stop.release(5.0)
    assert stop.why(5.0)


def test_silence_of_a_topic_that_must_speak_is_a_stop() -> None:
    stop = EStop(0.5, 0.0)
    stop.hear(False, 1.0)
    assert not stop.why(1.5)
    assert "silent for more than 0.5 s" in stop.why(1.6)
    stop.hear(False, 1.7)
    assert stop.why(1.7)  # speaking again releases nothing
    assert stop.release(1.8) == ""
    assert "silent" in stop.release(9.0)


def test_a_simulations_clock_wakes_the_loop_when_its_time_has_come() -> None:
    time_s = [0.0]
    clock = WakingClock(lambda: time_s[0], patience_s=60.0)
    slept = threading.Thread(target=clock.sleep_until, args=(1.0,))
    slept.start()
    for now_s in (0.5, 0.9):
        time_s[0] = now_s
        clock.tick()
    assert slept.is_alive()
    time_s[0] = 1.0
    clock.tick()
    slept.join(timeout=60)
    assert not slept.is_alive()


@pytest.mark.parametrize("how", ["wake", "back"])
def test_a_sleep_ends_early_when_it_must(how: str) -> None:
    time_s = [5.0]
    clock = WakingClock(lambda: time_s[0], patience_s=60.0)
    slept = threading.Thread(target=clock.sleep_until, args=(100.0,))
    slept.start()
    while not clock.asleep:
        time.sleep(0.001)
    if how == "wake":
        clock.wake()
    else:
        time_s[0] = 1.0
        clock.tick()
    slept.join(timeout=60)
    assert not slept.is_alive()


def test_a_simulations_clock_that_stands_still_is_not_waited_for_for_ever() -> None:
    clock = WakingClock(lambda: 0.0, patience_s=0.01)
    clock.sleep_until(1.0)
    assert clock.stands_still
    assert not WakingClock(patience_s=0.0).stands_still  # the computer's own never does
