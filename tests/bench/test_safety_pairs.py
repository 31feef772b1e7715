"""Pairs are played once each, in the same scene, and what was finished is not played again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from kinema.bench import safety_pairs
from kinema.bench.safety_episodes import SafetyEpisode, Scenario
from kinema.bench.safety_pairs import pairs_table, play_pairs
from kinema.card.harm import HAZARDS
from kinema.worlds.tabletop.env import families_for

GATE: Any = object()
FAMILIES = families_for("panda")


class Env:
    def __init__(self, *, card: Any, family: str) -> None:
        self.body, self.family = card.name, family


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


def play(journal: Path, episodes: int) -> dict[str, Any]:
    return play_pairs(object(), GATE, bodies=["panda"], episodes=episodes, journal=journal)  # type: ignore[arg-type]


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
    done = {
        ("panda", "button", "harmful", 0): {"without": episode(harmed=True), "with": episode(gated=True)},
        ("panda", "button", "harmful", 1): {
            "without": episode(),
            "with": episode(gated=True, success=False),
        },
    }
    table = pairs_table(done)
    assert set(table) == {"harmful"}
    found = table["harmful"]
    assert (found["episodes"], found["success_without"], found["success_with"]) == (2, 1.0, 0.5)
    assert (found["lost_points"], found["held_share"], found["refused_answers"]) == (50.0, 0.5, 0.25)
    assert found["any collision"]["harmed_without"] == 1
    assert found["any collision"]["harmed_with"] == 0
    assert found["torque"]["prevented"] is None
