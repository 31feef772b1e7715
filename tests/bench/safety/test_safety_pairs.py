"""Pairs are played once each, in the same scene, and what was finished is not played again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from kinema.bench.expert import ExpertPolicy
from kinema.bench.journal import Journal
from kinema.bench.random_policy import RandomPolicy
from kinema.bench.safety import pairs as safety_pairs
from kinema.bench.safety.episodes import AskedOneByOne, SafetyEpisode, Scenario
from kinema.bench.safety.pairs import SafetyPair, pairs_table, play_pairs
from kinema.card.harm import HAZARDS
from kinema.schema import KinemaError, Observation, Question
from kinema.worlds.tabletop.env import families_for

GATE: Any = object()
FAMILIES = families_for("panda")


class Env:
    def __init__(self, *, card: Any, family: str) -> None:
        self.body, self.family = card.name, family

    def close(self) -> None: ...


class Player:
    """Notes what is to be played; without a gate every harmful scene ends in a collision."""

    played: ClassVar[list[tuple[str, int, str, float, bool]]] = []

    def __init__(self, env: Env, proposer: object, picker: object) -> None:
        self.env, self.gated = env, picker is GATE

    def play(self, seed: int, scenario: Scenario) -> SafetyEpisode:
        self.played.append((self.env.family, seed, scenario.intruder, scenario.faults, self.gated))
        return episode(harmed=scenario.faults > 0 and not self.gated, gated=self.gated)


def episode(*, harmed: bool = False, gated: bool = False, success: bool = True) -> SafetyEpisode:
    return SafetyEpisode(
        seed=1, body="panda", family="button", intruder="none", success=success, steps=10,
        harm_s={**dict.fromkeys(HAZARDS, np.nan), **({"collision": 0.5} if harmed else {})},
        held=5 if gated else 0, asked=4, refused=1 if gated else 0,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety_pairs, "HazardEnv", Env)
    monkeypatch.setattr(safety_pairs, "SafetyPlayer", Player)
    monkeypatch.setattr(Player, "played", [])


def play(path: Path, episodes: int, **options: Any) -> dict[str, Any]:
    with closing(Journal(path, {"made_by": {}}, SafetyPair.read)) as journal:
        pairs = play_pairs(
            object(), GATE, bodies=["panda"], episodes=episodes, journal=journal, seed=3, **options
        )  # type: ignore[type-var]
    return pairs_table(pairs)


def test_both_of_a_pair_see_the_same_scene(tmp_path: Path) -> None:
    play(tmp_path / "episodes.jsonl", 2)
    without = [scene[:-1] for scene in Player.played if not scene[-1]]
    assert without == [scene[:-1] for scene in Player.played if scene[-1]]
    assert len(without) == len(set(without)) == 2 * 2 * len(FAMILIES)
    for _, _, intruder, faults in without:
        assert (intruder == "none") or faults > 0  # a clean scene has neither


def test_what_is_in_the_journal_is_not_played_again(tmp_path: Path) -> None:
    journal = tmp_path / "episodes.jsonl"
    whole = play(journal, 2)
    Player.played.clear()
    assert play(journal, 2) == whole
    assert Player.played == []
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-3]))  # stopped before the last three
    assert play(journal, 2) == whole
    assert len(Player.played) == 2 * 3


def test_the_table_by_hand() -> None:
    task = "panda/button/harmful"
    first = {"without": episode(harmed=True), "gated": episode(gated=True)}
    second = {"without": episode(), "gated": episode(gated=True, success=False)}
    table = pairs_table(
        [
            SafetyPair(task=task, index=0, result="success", **first),
            SafetyPair(task=task, index=1, result="failure", **second),
        ]
    )
    assert set(table) == {"harmful"}
    found = table["harmful"]
    assert (found["episodes"], found["success_without"], found["success_with"]) == (2, 1.0, 0.5)
    assert (found["lost_points"], found["held_share"], found["refused_answers"]) == (50.0, 0.5, 0.25)
    assert found["any collision"]["harmed_without"] == 1
    assert found["any collision"]["harmed_with"] == 0
    assert found["torque"]["prevented"] is None


def test_a_crash_is_an_error_that_is_told_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_play = Player.play

    def sometimes(self: Player, seed: int, scenario: Scenario) -> SafetyEpisode:
        if self.env.family == FAMILIES[0]:
            raise ZeroDivisionError("the gate broke")
        return whole_play(self, seed, scenario)

    monkeypatch.setattr(Player, "play", sometimes)
    table = play(tmp_path / "episodes.jsonl", 2)
    for found in table.values():
        assert (found["errors"], found["episodes"]) == (2, 2 * len(FAMILIES))
        assert found["success_with"] == pytest.approx(1 - 1 / len(FAMILIES)), "an error is not a success"
    assert "the gate broke" in next((tmp_path / "errors").iterdir()).read_text()
    monkeypatch.setattr(Player, "play", whole_play)
    assert play(tmp_path / "episodes.jsonl", 2) == table, "errors stay until they are asked to be tried again"
    again = play(tmp_path / "episodes.jsonl", 2, retry_errors=True)
    assert all((found["errors"], found["success_with"]) == (0, 1.0) for found in again.values())


def test_where_nothing_was_scored_there_is_no_rate() -> None:
    table = pairs_table([SafetyPair(task="panda/button/clean", index=0, result="error", cause="broken")])
    assert (table["clean"]["success_with"], table["clean"]["errors"]) == (None, 1)


def test_a_policy_without_proposals_is_asked_again_and_again_from_the_questions_seed() -> None:
    question = Question(
        observation=Observation(images={}, state=np.zeros(8, np.float32), instruction="go", time_s=0.0),
        card="panda",
        noise_seed=5,
    )
    proposer = AskedOneByOne(RandomPolicy())
    (first,), (again,) = proposer.propose([question], 3), proposer.propose([question], 3)
    assert len(first) == 3
    for chunk, same in zip(first, again):
        np.testing.assert_array_equal(chunk.values, same.values)
    assert not np.array_equal(first[0].values, first[1].values)
    with pytest.raises(KinemaError, match="looks at the simulator"):
        AskedOneByOne(ExpertPolicy())
