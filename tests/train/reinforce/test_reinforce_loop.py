"""Rounds go on where they stopped, and the best judged one is shipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kinema.model.policy import artifact
from kinema.model.stored import read_weights
from kinema.schema import KinemaError
from kinema.train.reinforce.learner import LearnConfig
from kinema.train.reinforce.loop import CURVE, Collect, ReinforceConfig, reinforce
from kinema.train.reinforce.rollout import SUFFIX

LEARN = LearnConfig(lr=1e-3, updates=4, rows=16, value_steps=5, keep_rounds=2)


class StoppedError(Exception):
    pass


@pytest.fixture
def collect(played) -> Collect:
    def play(policy: Path, number: int, where: Path) -> None:
        where.mkdir(parents=True, exist_ok=True)
        for i, rollout in enumerate(
            played(4, lambda chunk: bool(chunk.sum() > 0), seed=number, policy=policy)
        ):
            rollout.save(where / f"{i}{SUFFIX}")

    return play


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / "weights.safetensors", "artifact", lambda name, weight: weight)


def stopped_after(collect: Collect, rounds: int) -> Callable[[Path, int, Path], None]:
    def play(policy: Path, number: int, where: Path) -> None:
        if number == rounds:
            raise StoppedError
        collect(policy, number, where)

    return play


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    folder: Path, collect: Collect, tmp_path: Path
) -> None:
    config = ReinforceConfig(rounds=3, learn=LEARN)
    whole = reinforce(folder, tmp_path / "whole", config, collect)
    with pytest.raises(StoppedError):
        reinforce(folder, tmp_path / "parts", config, stopped_after(collect, 1))
    parts = reinforce(folder, tmp_path / "parts", config, collect)
    one, other = weights_of(whole), weights_of(parts)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (tmp_path / "whole" / CURVE).read_text() == (tmp_path / "parts" / CURVE).read_text()
    kept = [len(list((tmp_path / "whole" / f"round_00{n}" / "episodes").iterdir())) for n in range(3)]
    assert kept == [0, 0, 4], "rollouts that nobody needs again"
    before = weights_of(folder)
    changed = {
        name.split(".")[0] for name in one if not torch.equal(one[name], before[name].to(one[name].dtype))
    }
    assert changed == {"decoder"}


def test_the_round_judged_best_is_shipped_and_says_how_it_came_to_be(
    folder: Path, collect: Collect, tmp_path: Path
) -> None:
    scores = {0: 0.2, 1: 0.6, 2: 0.5}
    config = ReinforceConfig(rounds=2, judge_every=1, learn=LEARN)
    shipped = reinforce(
        folder, tmp_path / "run", config, collect, lambda policy, number, where: scores[number],
        about={"tasks": ["made up"]},
    )  # fmt: skip
    chosen = weights_of(tmp_path / "run" / "round_001" / "policy")
    shipped_weights = weights_of(shipped)
    assert all(torch.equal(w, chosen[name].to(w.dtype)) for name, w in shipped_weights.items())
    told = artifact.load(shipped).provenance
    assert told["started_from"] == {"recipe": "made up"}
    assert told["reinforced"]["rounds"] == 1
    assert told["reinforced"]["episodes"] == 4
    assert told["reinforced"]["about"] == {"tasks": ["made up"]}
    lines = [json.loads(line) for line in (tmp_path / "run" / CURVE).read_text().splitlines()]
    assert [line["judged"] for line in lines] == [0.2, 0.6]


def test_a_folder_of_another_run_is_refused(folder: Path, collect: Collect, tmp_path: Path) -> None:
    reinforce(folder, tmp_path, ReinforceConfig(rounds=1, learn=LEARN), collect)
    with pytest.raises(KinemaError, match="holds a run with another config; choose another --out"):
        reinforce(folder, tmp_path, ReinforceConfig(rounds=1, seed=1, learn=LEARN), collect)
    reinforce(folder, tmp_path, ReinforceConfig(rounds=2, learn=LEARN), collect)  # longer is no other run
    assert len((tmp_path / CURVE).read_text().splitlines()) == 2


def test_a_round_in_which_nothing_was_played_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match=r"no rollout lies in .*round_000"):
        reinforce(folder, tmp_path, ReinforceConfig(rounds=1, learn=LEARN), lambda *_: None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: LearnConfig(rule="ppo"), r"rule 'ppo' is unknown; choices: weighted, flow_sde"),  # type: ignore[arg-type]
        (lambda: ReinforceConfig(rounds=0), "rounds must be at least 1; got 0"),
    ],
)
def test_wrong_settings_are_refused(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(KinemaError, match=said):
        wrong()
