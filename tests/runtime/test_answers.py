"""Which answers are played: this body's own, as long as its card says, about what was seen just now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_body import StraightOn, rig_of

from kinema.card.card import EmbodimentCard
from kinema.card.load import card_names, load_card, vehicle_names
from kinema.runtime.buffer import check_chunk
from kinema.runtime.watchdog import Mode
from kinema.schema import ActionChunk, KinemaError, Observation
from laws import examples

BODIES = [n for n in card_names() if load_card(n).control in ("ee_pose", "joint_position")] + [
    *vehicle_names()
]


class Changed(StraightOn):
    """Answers as StraightOn and changes the answer."""

    def __init__(self, card: EmbodimentCard, change: Callable[[ActionChunk], ActionChunk]) -> None:
        super().__init__(card)
        self.change = change

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        return self.change(super().infer(observation, card_name, committed))


def longer(chunk: ActionChunk) -> ActionChunk:
    more = np.concatenate([chunk.times_s, chunk.times_s[-1] + chunk.times_s[-1:] - chunk.times_s[-2:-1]])
    return replace(chunk, values=np.concatenate([chunk.values, chunk.values[-1:]]), times_s=more)


BAD = {
    "of another body": lambda chunk: replace(chunk, card="another"),
    "one step too long": longer,
    "stretched": lambda chunk: replace(
        chunk, times_s=chunk.times_s[0] + 3 * (chunk.times_s - chunk.times_s[0])
    ),
    "for later": lambda chunk: replace(chunk, times_s=chunk.times_s + 3600.0),
    "of long ago": lambda chunk: replace(chunk, times_s=chunk.times_s - 3600.0),
    "empty": lambda chunk: replace(chunk, values=chunk.values[:0], times_s=chunk.times_s[:0]),
}


SOME = ("so101", "panda", "car")  # by joints, by the tool, by speed


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize(
    ("body", "how"),
    [(body, "blend") for body in BODIES]
    + [(body, how) for body in SOME for how in ("in_painting", "synchronous")],
)
def test_what_may_not_be_played_moves_nothing(body: str, what: str, how: str) -> None:
    card = load_card(body)
    rig = rig_of(card, how=how)
    rig.loop._inference._policy = Changed(card, BAD[what])
    assert rig.run(8) == Mode.WAITING
    assert rig.loop.counts.failed >= 7
    for action in rig.robot.told:
        np.testing.assert_allclose(action, rig.robot.told[0], atol=1e-7)


@given(
    late_s=st.floats(2.15, 59.0),
    how=st.sampled_from(["blend", "in_painting", "synchronous"]),
    body=st.sampled_from(SOME),
)
@examples(6)
def test_a_first_answer_that_took_long_is_asked_for_again(late_s: float, how: str, body: str) -> None:
    rig = rig_of(load_card(body), latency_s=lambda n: late_s if n == 0 else 0.1, how=how)
    rig.run(int(late_s * 10) + 8)
    played = [step for step in rig.log.steps if step.asked is not None]
    assert played
    limit_s = rig.loop.card.motion.answer_limit_s + rig.loop.card.chunk / rig.loop.card.control_hz
    assert all(step.age_s <= limit_s for step in played)
    assert played[0].age_s < 0.5
    assert rig.loop.counts.thrown_away == 1


@given(latency_s=st.floats(0.0, 3.0), how=st.sampled_from(["blend", "in_painting", "synchronous"]))
@examples(10)
def test_no_action_is_older_than_the_card_allows(latency_s: float, how: str) -> None:
    rig = rig_of(load_card("so101"), latency_s=lambda _: latency_s, how=how)
    rig.run(60)
    limit_s = rig.loop.card.motion.answer_limit_s + rig.loop.card.chunk / rig.loop.card.control_hz
    ages = [step.age_s for step in rig.log.steps if step.asked is not None]
    assert all(age <= limit_s + 1e-6 for age in ages)
    assert bool(ages) == (latency_s <= 2.0 + 1e-6)


@pytest.mark.parametrize("body", BODIES)
def test_a_plan_ends_though_nobody_answers_any_more(body: str) -> None:
    card = load_card(body)
    rig = rig_of(card, latency_s=lambda n: 0.0 if n < 1 else float("inf"))
    assert rig.run(10_000) == Mode.STOPPED
    assert rig.clock.now_s() <= (card.chunk + 2) / card.control_hz + card.hold.stop_after_s + 2.0


@pytest.mark.parametrize("reading_s", [0.03, 0.15, 0.3, 0.45, 0.6, 0.9, 5.0])
@pytest.mark.parametrize("body", SOME)
def test_after_a_long_reading_nothing_is_sent_that_was_due_before_it_ended(
    body: str, reading_s: float
) -> None:
    rig = rig_of(load_card(body))
    rig.loop.begin("move")
    for k in range(12):
        if k == 8:
            rig.robot.before_reading = lambda: rig.clock.jump(reading_s)
        began_s = rig.clock.now_s()
        planned = rig.loop.buffer.plan
        step = rig.loop.step()
        rig.robot.before_reading = lambda: None
        if k == 8:
            stopped = reading_s + rig.loop.period_s >= rig.loop.card.hold.stop_after_s - 1e-9
            assert (step.mode == Mode.STOPPED) == stopped
            if step.asked is not None:
                assert planned is not None
                np.testing.assert_allclose(
                    step.asked, rig.loop.buffer.at(began_s + reading_s + rig.loop.period_s)
                )
        rig.loop.wait()


def test_an_action_that_is_late_when_it_comes_to_the_guard_is_held() -> None:
    rig = rig_of(load_card("so101"))
    rig.loop.begin("move")
    for _ in range(6):
        rig.loop.step()
        rig.loop.wait()
    told = rig.loop.hands.told

    def slow(action: np.ndarray) -> np.ndarray:
        rig.clock.jump(0.3)
        return told(action)

    rig.loop.hands.told = slow  # type: ignore[method-assign]
    step = rig.loop.step()
    assert step.mode == Mode.HOLDING
    assert "late by 0.200 s" in step.changes[0]


@pytest.mark.parametrize("body", BODIES)
@given(steps=st.integers(1, 40))
@examples(5)
def test_a_chunk_has_as_many_steps_as_the_card_says(body: str, steps: int) -> None:
    card = load_card(body)
    chunk = ActionChunk(
        values=np.zeros((steps, len(card.actions))),
        times_s=(1 + np.arange(steps)) / card.control_hz,
        card=card.name,
    )
    if steps <= card.chunk:
        check_chunk(chunk, card)
    else:
        with pytest.raises(KinemaError, match=r"shape"):
            check_chunk(chunk, card)


def test_a_question_is_not_asked_about_what_is_not_finite() -> None:
    rig = rig_of(load_card("so101"), latency_s=lambda _: 0.1)
    rig.loop.begin("move")
    rig.robot.state = np.full_like(rig.robot.state, np.nan)
    rig.robot.obeys = False
    for _ in range(5):
        rig.loop.step()
        rig.loop.wait()
    assert rig.loop.counts.asked == 0
