"""A person over a policy: the loop plays what they want, guarded, and nothing else meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from toy_body import Drifting, Rig

from kinema.card.load import load_card
from kinema.runtime.teleop.intent import Intent, Said
from kinema.runtime.teleop.jog import Jog
from kinema.runtime.teleop.operator import Operator
from kinema.runtime.watchdog import Mode

CARD = load_card("panda")
UP = np.array([0, 0, 1.0, 0, 0, 0])


class Scripted:
    """A device that says at each reading what its script says; a string is an error."""

    help = "script"

    def __init__(self, script: Callable[[int], Intent | str]) -> None:
        self._script, self.readings = script, 0

    def read(self, now_s: float) -> Intent:
        told = self._script(self.readings)
        self.readings += 1
        if isinstance(told, str):
            raise OSError(told)
        return told

    def close(self) -> None:
        pass


def said(*words: Said) -> Intent:
    return Intent(said=words)


def rig_with(script: Callable[[int], Intent | str], *, engaged: bool = False) -> tuple[Rig, Operator]:
    rig = Rig(Drifting(speed_m_s=0.05))
    operator = Operator(CARD, Scripted(script), Jog(CARD), engaged=engaged)
    rig.loop._operator = operator
    return rig, operator


def z_of(rig: Rig) -> np.ndarray:
    return np.array([step.observation.state[2] for step in rig.log.steps])


def test_who_moves_the_stick_has_the_body_until_they_hand_it_back() -> None:
    def script(n: int) -> Intent:
        return Intent(twist=UP) if 10 <= n < 20 else said("hand back") if n == 25 else Intent()

    rig, _ = rig_with(script)
    rig.run(40)
    by_person = [step.by_person for step in rig.log.steps]
    assert by_person == [False] * 10 + [True] * 15 + [False] * 15
    z, y = z_of(rig), np.array([step.observation.state[1] for step in rig.log.steps])
    assert z[20] - z[10] > 0.05  # the person moved it up
    assert abs(z[26] - z[22]) < 1e-9  # and kept it where it was after letting go
    assert abs(y[25] - y[13]) < 0.01  # nothing of the policy's way was played meanwhile
    assert y[39] - y[27] > 0.02  # then the policy went on from there
    assert all(step.mode == Mode.RUNNING for step in rig.log.steps[11:25])


def test_a_policy_is_not_asked_while_a_person_has_the_body_and_asked_anew_after() -> None:
    rig, _ = rig_with(lambda n: said("hand back") if n == 12 else Intent(), engaged=True)
    rig.run(12)
    assert rig.policy.asked == []
    rig, _ = rig_with(lambda n: said("hand back") if n == 12 else Intent(), engaged=True)
    rig.run(20)
    assert rig.policy.asked


def test_a_device_that_is_lost_in_the_persons_hand_holds_and_stops_and_hands_nothing_back() -> None:
    rig, _ = rig_with(lambda n: Intent(twist=UP) if n < 5 else "unplugged", engaged=True)
    rig.run(60)
    after = rig.log.steps[5:]
    assert all(step.asked is None for step in after)
    assert not any(step.by_person for step in after)
    assert rig.log.steps[-1].mode == Mode.STOPPED
    assert "unplugged" in rig.loop.reason
    assert rig.policy.asked == []


def test_a_device_that_is_lost_while_the_policy_has_the_body_changes_nothing() -> None:
    with_it, _ = rig_with(lambda n: "unplugged")
    without = Rig(Drifting(speed_m_s=0.05))
    with_it.run(20)
    without.run(20)
    np.testing.assert_array_equal(
        [step.sent for step in with_it.log.steps], [step.sent for step in without.log.steps]
    )


def test_what_a_person_asks_is_guarded_as_what_a_policy_asks() -> None:
    """A leader that stands far away is approached at the card's speed."""
    far = np.array([0.6, 0.3, 0.5, 0, 0, 0, 1.0])
    rig, _ = rig_with(lambda n: Intent(targets=far), engaged=True)
    rig.run(4)
    sent = np.array([step.sent for step in rig.log.steps])
    assert np.linalg.norm(sent[0, :3] - far[:3]) > 0.1
    assert any("speed" in change or "fast" in change for step in rig.log.steps for change in step.changes)


def test_a_target_that_is_not_finite_is_a_hold() -> None:
    rig, _ = rig_with(lambda n: Intent(targets=np.full(7, np.nan)), engaged=True)
    rig.run(60)
    assert all(step.asked is None for step in rig.log.steps)
    assert rig.log.steps[-1].mode == Mode.STOPPED


def test_the_first_word_of_how_it_ended_counts() -> None:
    _, operator = rig_with(lambda n: said("success", "failure"))
    operator.act(np.zeros(7), 0.0)
    assert operator.ending == "success"
    operator.begin()
    assert operator.ending is None
