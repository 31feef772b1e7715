"""What a gate remembers: the picture of a moment before, and the way back when nothing ahead is allowed."""

from dataclasses import replace

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.model.gate.gate import Assessment, GatedPolicy, _free_a_moment_ago
from kinema.model.gate.memory import PATIENCE_S, Memory
from kinema.schema import ActionChunk, Observation, Verdict

UR5E = load_card("ur5e")
REST = np.array([0.0, -1.5, 1.5, -1.5, -1.5, 0.0, 0.5])


def seen(time_s: float, moved_rad: float = 0.0, value: int = 0) -> Observation:
    image = np.full((32, 32, 3), value, np.uint8)
    state = REST.astype(np.float32)
    state[0] += moved_rad
    return Observation(
        images=dict.fromkeys(UR5E.camera_names, image), state=state, instruction="go", time_s=time_s
    )


def chunk(value: float = 1.0) -> ActionChunk:
    values = np.tile(REST, (16, 1))
    values[:, -1] = value
    return ActionChunk(values=values, times_s=0.1 * (1 + np.arange(16)), card="ur5e")


def test_the_earlier_picture_is_of_the_same_episode_and_old_enough():
    memory = Memory()
    pictures = [memory.see(seen(0.1 * step, value=step)) for step in range(5)]
    assert pictures[0] is None
    assert int(pictures[4][0, 0, 0]) == 2  # 0.2 s before
    assert memory.see(seen(0.0)) is None  # time went back: another episode


def test_the_way_back_is_the_way_that_was_come():
    memory = Memory()
    for step in range(6):  # 0.1 rad in every control step
        memory.see(seen(0.1 * step, 0.1 * step))
    back = memory.ways_back(UR5E, seen(0.5, 0.5), np.full(7, 0.9))[0]
    np.testing.assert_allclose(back.values[:, 0], [0.4, 0.3, 0.2, 0.1] + [0.0] * 12, atol=1e-6)
    np.testing.assert_allclose(back.values[:, 1], REST[1], atol=1e-6)
    assert (back.values[:, -1] == 0.9).all()  # the hand does what the policy wants of it
    np.testing.assert_allclose(back.times_s, 0.5 + 0.1 * (1 + np.arange(16)))
    shortest = memory.ways_back(UR5E, seen(0.5, 0.5), np.full(7, 0.9))[-1]
    np.testing.assert_allclose(shortest.values[:, 0], [0.4] + [0.3] * 15, atol=1e-6)


def test_standing_still_is_no_part_of_the_way():
    memory = Memory()
    for time_s, moved in ((0.0, 0.0), (0.1, 0.1), (0.2, 0.1), (0.3, 0.1), (0.4, 0.2)):
        memory.see(seen(time_s, moved))
    back = memory.ways_back(UR5E, seen(0.4, 0.2), np.ones(7))[0]
    np.testing.assert_allclose(back.values[:3, 0], [0.1, 0.0, 0.0], atol=1e-6)


def test_going_back_twice_goes_farther_and_not_to_and_fro():
    memory = Memory()
    for step in range(9):
        memory.see(seen(0.1 * step, 0.1 * step))
    memory.judged(False)
    memory.returns()
    for step in range(1, 4):  # three steps back
        memory.see(seen(0.8 + 0.1 * step, 0.8 - 0.1 * step))
    back = memory.ways_back(UR5E, seen(1.1, 0.5), np.ones(7))[0]
    np.testing.assert_allclose(back.values[:5, 0], [0.4, 0.3, 0.2, 0.1, 0.0], atol=1e-6)
    memory.judged(True)  # from here there is another way on
    memory.see(seen(1.2, 0.6))
    back = memory.ways_back(UR5E, seen(1.2, 0.6), np.ones(7))[0]
    np.testing.assert_allclose(back.values[:2, 0], [0.5, 0.4], atol=1e-6)


def test_there_is_no_way_back_from_where_it_began():
    memory = Memory()
    memory.see(seen(0.0))
    assert memory.ways_back(UR5E, seen(0.0), np.ones(7)) == []


class _Gate:
    """Refuses what reaches beyond a joint angle."""

    def __init__(self, limit_rad: float, backwards: bool = True) -> None:
        self.limit_rad, self.backwards = limit_rad, backwards
        self.artifact = type("A", (), {"cards": {"ur5e": UR5E}})()

    def assess(self, observation, chunks, earlier=None):
        return [
            Assessment(verdict=v, progress_m=0.0, tool_m=np.zeros((1, 2, 3)))
            for v in self.judge(observation, chunks, earlier)
        ]

    def judge(self, observation, chunks, earlier=None):
        def verdict(allowed):
            risk = {"collision": 0.01 if allowed else 0.9, "drop": 0.0}
            limit = {"collision": 0.03, "drop": 0.6}
            reason = "" if allowed else "it would hit"
            return Verdict(allowed=allowed, risk=risk, limit=limit, horizon_s=0.5, reason=reason)

        first = [float(c.values[0, 0]) for c in chunks]
        return [verdict(at <= self.limit_rad if at >= 0.5 else self.backwards) for at in first]


@pytest.mark.parametrize("free_behind", [True, False])
def test_a_stuck_body_goes_back_only_after_a_while_and_only_where_it_may(free_behind):
    ahead = replace(chunk(), values=np.tile([0.9, *REST[1:]], (16, 1)))
    gated = GatedPolicy(
        type("P", (), {"reset": lambda self, seed: None})(), _Gate(0.6, backwards=free_behind)
    )
    memory = gated.memory
    for step in range(4):
        memory.see(seen(0.1 * step, 0.1 * step))
    verdicts = []
    for step in range(5):
        now = seen(0.4 + 0.1 * step, 0.4)
        verdicts.append(gated.decide(now, [ahead], memory, memory.see(now)).verdict)
    patience = round(PATIENCE_S / 0.1)
    assert not any(v.allowed for v in verdicts[:patience])
    assert all(v.allowed == free_behind for v in verdicts[patience:])
    if free_behind:
        assert verdicts[patience].reason == "going back, for it would hit"


@pytest.mark.parametrize(
    ("risk", "free"),
    [
        ({"collision": 0.1, "drop": 0.0}, True),  # looks risky, and yet it has just been gone
        ({"collision": 0.3, "drop": 0.0}, False),
        ({"collision": 0.01, "drop": 0.7}, False),  # only what stands still did not stop it
    ],
)
def test_what_the_way_back_may_look_like(risk, free):
    limit = {"collision": 0.03, "drop": 0.6}
    verdict = Verdict(allowed=False, risk=risk, limit=limit, horizon_s=0.5)
    assert _free_a_moment_ago(verdict) == free
    assert not _free_a_moment_ago(replace(verdict, risk=dict.fromkeys(limit, 0.0), horizon_s=0.0))
