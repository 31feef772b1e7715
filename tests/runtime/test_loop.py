"""What the control loop promises, on a clock that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_body import Drifting, Rig, ToyRobot

from kinema.card.load import load_card
from kinema.runtime.clock import RealClock, SimulatedClock
from kinema.runtime.inference import Ask, SimulatedInference, ThreadedInference
from kinema.runtime.loop import ControlLoop
from kinema.runtime.robot import Body
from kinema.runtime.strategy import STRATEGIES, strategy
from kinema.runtime.watchdog import Mode, Watchdog
from kinema.schema import ActionChunk, KinemaError, Observation, Verdict
from laws import examples

REFUSED = Verdict(
    allowed=False, risk={"collision": 0.9}, limit={"collision": 0.1}, horizon_s=1.0, reason="hand"
)
LOST = float("inf")


@pytest.mark.parametrize("how", STRATEGIES)
def test_what_is_recorded_is_what_was_sent(how: str) -> None:
    rig = Rig(latency_s=0.2, how=how)
    assert rig.run(30) == Mode.RUNNING or how == "synchronous"
    recorded = [step.sent for step in rig.log.steps]
    told = [np.array(list(action.values())) for action in rig.robot.sent]
    assert len(recorded) == 30
    # before the first step where it stood, after the last the hold action
    np.testing.assert_array_equal(np.stack([r for r in recorded if r is not None]), np.stack(told[1:-1]))


def test_an_answer_about_a_moving_body_is_played_when_it_is_due_and_not_from_its_beginning() -> None:
    # every answer goes from where the body was by 0.05 m/s, so they all lie on one line
    rig = Rig(latency_s=0.2, how="blend")
    rig.run(20)
    began_s = next(step for step in rig.log.steps if step.asked is not None).time_s
    for step in rig.log.steps:
        if step.asked is not None:
            assert step.asked[1] == pytest.approx(0.05 * (step.time_s - began_s + 0.1))


@pytest.mark.parametrize("how", STRATEGIES)
def test_the_first_answer_is_played_from_its_beginning_by_a_body_that_stood(how: str) -> None:
    rig = Rig(latency_s=0.2, how=how)
    rig.run(6)
    first = next(step for step in rig.log.steps if step.asked is not None)
    assert first.time_s == pytest.approx(0.2)
    assert first.asked[1] == pytest.approx(0.05 * 0.1)
    assert first.latency_s == pytest.approx(0.2)
    assert first.age_s == pytest.approx(0.3)


@pytest.mark.parametrize("how", ["blend", "in_painting"])
@pytest.mark.parametrize("latency_s", [0.1, 0.2, 0.3])
def test_a_hand_only_moves_by_an_answer_about_a_standing_body(how: str, latency_s: float) -> None:
    # closes at y = 0.05 and opens at 0.08, but plans it five steps before it gets there
    def hand(number: int, values: np.ndarray) -> np.ndarray:
        y = values[:, 1] + 0.025
        return np.concatenate([values[:, :6], np.where((y > 0.05) & (y < 0.08), 0.0, 1.0)[:, None]], 1)

    rig = Rig(Drifting(spoil=hand), latency_s=latency_s, how=how)
    rig.run(40)
    steps = rig.log.steps
    told = [step.sent[6] > 0.5 for step in steps]
    changes = [i for i in range(1, len(told)) if told[i] != told[i - 1]]
    assert [told[i] for i in changes] == [False, True]
    for i in changes:
        asked_s = steps[i].time_s + 0.1 - steps[i].age_s
        between = [step for step in steps if asked_s - 1e-6 <= step.time_s < asked_s + latency_s - 1e-6]
        assert len(between) == round(latency_s / 0.1)
        assert all(step.mode in (Mode.HOLDING, Mode.WAITING) for step in between)
        assert all("look" in step.reason for step in between if step.mode == Mode.HOLDING)


def test_a_plan_that_did_not_see_the_hand_close_does_not_open_it() -> None:
    # The hand takes half a second; a policy that sees it open says: close it. Its plan of before says: open.
    def dither(number: int, values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:, :6], np.zeros((16, 1)) if number % 2 else np.ones((16, 1))], 1)

    rig = Rig(Drifting(spoil=dither), latency_s=0.2, how="blend")
    rig.run(60)
    for step, later in zip(rig.log.steps, rig.log.steps[1:]):
        if step.sent[6] != later.sent[6]:
            assert step.mode == Mode.HOLDING


def test_a_waiting_body_plays_from_the_beginning() -> None:
    rig = Rig(latency_s=0.2, how="synchronous")
    rig.run(10)
    first = next(step for step in rig.log.steps if step.asked is not None)
    assert first.asked[1] == pytest.approx(0.05 * 0.1)
    assert [step.asked is not None for step in rig.log.steps] == [False] * 2 + [True] * 4 + [False] * 2 + [
        True
    ] * 2


@pytest.mark.parametrize("how", ["blend", "in_painting"])
def test_the_body_never_waits_once_it_moves(how: str) -> None:
    rig = Rig(latency_s=0.3, how=how)
    rig.run(40)
    assert rig.modes() == ["waiting"] * 3 + ["running"] * 37


def test_the_policy_is_told_exactly_what_is_played_before_its_answer() -> None:
    rig = Rig(latency_s=0.2, how="in_painting")
    rig.run(30)
    assert rig.policy.asked[0] is None
    played = {round(step.time_s + 0.1, 6): step.sent for step in rig.log.steps}
    told = [committed for committed in rig.policy.asked[1:-1]]
    assert len(told) >= 3
    for committed in told:
        assert len(committed.values) == 2
        for time_s, action in zip(committed.times_s, committed.values):
            np.testing.assert_allclose(played[round(time_s, 6)], action, atol=1e-12)


def test_the_reply_to_an_old_question_is_thrown_away() -> None:
    # The second question's answer comes after it was given up, and says to go the other way.
    def spoil(number: int, values: np.ndarray) -> np.ndarray:
        return values - [0, 0.2, 0, 0, 0, 0, 0] if number == 1 else values

    rig = Rig(Drifting(spoil=spoil), latency_s=lambda n: 0.7 if n == 1 else 0.1, answer_limit_s=0.5)
    rig.run(25)
    assert rig.loop.counts.thrown_away == 1
    assert all(action["y.pos"] >= 0 for action in rig.robot.sent)


def test_beginning_anew_throws_away_what_was_asked_before() -> None:
    rig = Rig(latency_s=0.3)
    rig.loop.begin("first")
    rig.loop.step()
    rig.loop.wait()
    rig.loop.begin("second")
    for _ in range(8):
        rig.loop.step()
        rig.loop.wait()
    assert rig.loop.counts.thrown_away == 1
    assert rig.loop.counts.answered >= 1


@pytest.mark.parametrize("how", STRATEGIES)
def test_a_lost_server_means_hold_and_then_stop_within_the_cards_time(how: str) -> None:
    rig = Rig(latency_s=lambda n: 0.0 if n < 2 else LOST, how=how)
    assert rig.run(200) == Mode.STOPPED
    last = max(step.time_s for step in rig.log.steps if step.mode == Mode.RUNNING)
    stopped = next(step for step in rig.log.steps if step.mode == Mode.STOPPED)
    assert stopped.time_s - last == pytest.approx(rig.loop.card.hold.stop_after_s)
    np.testing.assert_array_equal(stopped.sent, rig.log.steps[-2].sent)
    held = [step for step in rig.log.steps if step.mode == Mode.HOLDING]
    assert len(held) == 4
    assert len({tuple(step.sent) for step in held}) == 1, "a holding body stands still"
    assert rig.loop.reason
    count = len(rig.robot.sent)
    rig.loop.step()
    assert len(rig.robot.sent) == count, "nothing is sent to a stopped body"


def test_a_stopped_body_moves_again_only_when_begun_anew() -> None:
    rig = Rig(latency_s=lambda n: LOST if n == 1 else 0.0, answer_limit_s=5.0)
    assert rig.run(200) == Mode.STOPPED
    rig.loop.step()
    assert rig.loop.watchdog.mode == Mode.STOPPED
    assert rig.run(5) == Mode.RUNNING


def test_a_refused_chunk_is_not_played_and_the_reason_is_told() -> None:
    rig = Rig(Drifting(verdict=lambda n: REFUSED if n >= 2 else None))
    assert rig.run(100) == Mode.STOPPED
    held = [step for step in rig.log.steps if step.mode == Mode.HOLDING]
    assert all(step.asked is None for step in held), "the rest of the old plan is not played either"
    assert {step.reason for step in held} == {"refused: hand"}
    assert rig.loop.counts.refused >= 5


def test_one_refusal_is_a_pause() -> None:
    rig = Rig(Drifting(verdict=lambda n: REFUSED if n == 2 else None))
    assert rig.run(40) == Mode.RUNNING
    assert rig.modes().count("holding") == 1


NAN_STORM: list[Callable[[int, np.ndarray], np.ndarray]] = [
    lambda n, v: np.full_like(v, np.nan),
    lambda n, v: np.where(np.arange(len(v))[:, None] == n % 16, np.inf, v),
    lambda n, v: v[:0],
    lambda n, v: v[:, :3],
]


@pytest.mark.parametrize("spoil", NAN_STORM, ids=["all NaN", "one row infinite", "empty", "too narrow"])
def test_a_storm_of_bad_chunks_never_reaches_the_motor(
    spoil: Callable[[int, np.ndarray], np.ndarray],
) -> None:
    def late(n: int, v: np.ndarray) -> np.ndarray:
        return spoil(n, v) if n > 1 else v

    class Spoiling(Drifting):
        def infer(
            self, observation: Observation, card_name: str, committed: ActionChunk | None = None
        ) -> ActionChunk:
            good = super().infer(observation, card_name, committed)
            values = late(len(self.asked) - 1, good.values)
            return ActionChunk(values=values, times_s=good.times_s[: len(values)], card=card_name)

    rig = Rig(Spoiling())
    assert rig.run(100) == Mode.STOPPED
    assert all(np.isfinite(list(action.values())).all() for action in rig.robot.sent)
    assert rig.loop.counts.failed >= 1


def test_a_storm_of_bad_readings_is_survived() -> None:
    rig = Rig(Drifting())
    rig.loop.begin("move")
    for k in range(20):
        if k == 3:
            rig.robot.state = dict.fromkeys(rig.robot.state, float("nan"))
        rig.loop.step()
        rig.loop.wait()
    assert all(np.isfinite(list(action.values())).all() for action in rig.robot.sent)


def test_a_server_that_answers_with_errors_is_a_lost_server() -> None:
    rig = Rig()
    broken = ThreadedInference(Broken(ConnectionError("the network is down")))
    rig.loop._inference = broken
    rig.loop.begin("move")
    rig.loop.step()
    answer = wait_for(broken)
    rig.loop._question = (answer.number, 0.0)
    rig.loop._take(answer, 0.0, 0.0)
    assert rig.loop.counts.failed == 1
    assert "the network is down" in rig.loop.reason
    broken.close()


def test_a_fault_of_ours_is_not_swallowed() -> None:
    rig = Rig()
    inference = ThreadedInference(Broken(ZeroDivisionError("bug")))
    inference.ask(Ask(number=0, observation=seen(), card="panda", committed=None), 0.0)
    with pytest.raises(ZeroDivisionError):
        rig.loop._take(wait_for(inference), 0.0, 0.0)
    inference.close()


@given(
    jumps=st.lists(st.tuples(st.integers(0, 39), st.sampled_from([-100.0, -0.35, 0.35, 3600.0])), max_size=3)
)
@examples(12)
def test_a_clock_that_jumps_moves_nothing_suddenly(jumps: list[tuple[int, float]]) -> None:
    rig = Rig(latency_s=0.1)
    rig.loop.begin("move")
    for k in range(40):
        for at, by_s in jumps:
            if at == k:
                rig.clock.jump(by_s)
        before = rig.clock.now_s()
        rig.loop.step()
        rig.loop.wait()
        assert rig.clock.now_s() - before <= 0.1 + 1e-9, "it never sleeps for longer than a period"
    y = np.array([action["y.pos"] for action in rig.robot.sent])
    assert (np.abs(np.diff(y)) <= 0.14).all()


def test_a_body_that_slept_for_an_hour_is_stopped() -> None:
    rig = Rig(latency_s=0.1)
    rig.loop.begin("move")
    for _ in range(10):
        rig.loop.step()
        rig.loop.wait()
    rig.clock.jump(3600.0)
    assert rig.loop.step().mode == Mode.STOPPED


def test_late_steps_are_left_out_and_not_made_up_for() -> None:
    rig = Rig()
    rig.loop.begin("move")
    rig.loop.step()
    rig.clock.jump(0.43)
    rig.loop.wait()
    assert rig.clock.now_s() == pytest.approx(0.43)
    rig.loop.wait()
    assert rig.clock.now_s() == pytest.approx(0.53)


@given(elapsed=st.lists(st.floats(0.0, 0.49), min_size=1, max_size=30))
def test_the_watchdog_stops_at_the_cards_time_and_no_earlier(elapsed: list[float]) -> None:
    dog = Watchdog(load_card("panda"))
    now_s = 0.0
    dog.see(now_s, fresh=True)
    held_s = 0.0
    for step_s in elapsed:
        now_s += step_s
        held_s += step_s
        if abs(held_s - 0.5) < 1e-6:
            return
        expected = Mode.HOLDING if held_s < 0.5 else Mode.STOPPED
        assert dog.see(now_s, fresh=False) == expected
        assert expected != Mode.STOPPED or dog.see(now_s, fresh=True) == Mode.STOPPED


def test_setting_the_clock_back_gains_no_time() -> None:
    dog = Watchdog(load_card("panda"))
    dog.see(0.0, fresh=True)
    dog.see(0.4, fresh=False)
    dog.see(-100.0, fresh=False)
    assert dog.see(-99.85, fresh=False) == Mode.STOPPED


def test_a_thread_answers_while_the_loop_goes_on() -> None:
    gate = threading.Event()

    class Slow(Drifting):
        def infer(
            self, observation: Observation, card_name: str, committed: ActionChunk | None = None
        ) -> ActionChunk:
            gate.wait(10)
            return super().infer(observation, card_name, committed)

    inference = ThreadedInference(Slow())
    inference.ask(Ask(number=7, observation=seen(), card="panda", committed=None), 0.0)
    assert inference.busy
    assert inference.poll(0.0) is None
    gate.set()
    answer = wait_for(inference)
    assert answer.number == 7
    assert answer.chunk is not None
    assert not inference.busy
    inference.close()


def test_the_real_clock_keeps_time() -> None:
    clock = RealClock()
    before = clock.now_s()
    clock.sleep_until(before + 0.02)
    assert 0.02 <= clock.now_s() - before < 5.0
    clock.sleep_until(before)  # has passed already


def test_lerobot_units_and_names_are_mapped() -> None:
    from kinema.runtime.wiring import Wire, wiring_for

    card = load_card("panda")
    robot = ToyRobot(card)
    robot.state = {("hand" if k == "gripper.pos" else k): 100 * v for k, v in robot.state.items()}
    wires = {c.name: Wire(key=f"{c.name}.pos", scale=0.01) for c in card.actions if c.name != "gripper"}
    with pytest.raises(KinemaError, match=r"action 'gripper' of panda"):
        wiring_for(card, robot, wires)
    wires["gripper"] = Wire(key="hand", scale=0.01)
    body = Body(card, robot, wiring_for(card, robot, wires))
    with body:
        assert robot.is_connected
        state = body.observe("move", 0.0).state
        np.testing.assert_allclose(state, [0.45, 0, 0.3, 0, 0, 0, 1.0], rtol=1e-6)
        np.testing.assert_allclose(body.send(state.astype(float)), state, rtol=1e-12)
        assert robot.sent[0]["x.pos"] == pytest.approx(45.0)
    assert not robot.is_connected


def test_a_torque_that_one_joint_measures_is_that_joints() -> None:
    card = load_card("panda")
    robot = ToyRobot(card)
    robot.state["right.joint3.torque"] = 88.0
    with pytest.raises(KinemaError, match=r"nobody says in which unit 'right\.joint3\.torque'"):
        Body(card, robot)
    robot.units["right.joint3.torque"] = "N m"
    seen_torque = Body(card, robot).observe("move", 0.0).sensors["torque"]
    np.testing.assert_array_equal(seen_torque, [np.nan, np.nan, 88.0, np.nan, np.nan, np.nan, np.nan])


def test_a_slow_first_answer_does_not_commit_the_whole_plan_for_ever() -> None:
    rig = Rig(latency_s=lambda n: 30.0 if n == 0 else 0.1, how="in_painting")
    rig.run(380)
    committed = [0 if c is None else len(c.values) for c in rig.policy.asked]
    assert max(committed) <= 8
    assert committed[-1] == 1


def test_the_body_is_let_go_when_the_loop_fails() -> None:
    card = load_card("panda")
    robot = ToyRobot(card)
    clock = SimulatedClock()
    body = Body(card, robot)
    inference = SimulatedInference(Broken(ZeroDivisionError("bug")), lambda _: 0.0)
    loop = ControlLoop(body, inference, clock, strategy("blend", card))

    def run() -> None:
        with body:
            loop.run("move", max_steps=3)

    with pytest.raises(ZeroDivisionError):
        run()
    assert not robot.is_connected


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def reset(self, seed: int) -> None: ...

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        raise self.error


def seen() -> Observation:
    return Observation(images={}, state=np.zeros(7, np.float32), instruction="move", time_s=0.0)


def wait_for(inference: ThreadedInference):  # type: ignore[no-untyped-def]
    for _ in range(10_000):
        if (answer := inference.poll(0.0)) is not None:
            return answer
        threading.Event().wait(0.001)
    raise AssertionError("no answer came")
