"""What of a network is trained, how fast, in how many parts and with which average: of every recipe alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from test_new_stage import LINE
from torch import Tensor
from toy_stage import Net, toy_loop, weights

from kinema import recipes
from kinema.data.frames import Way
from kinema.data.stream import Feed
from kinema.schema import KinemaError
from kinema.train.loop import Loop
from kinema.train.optim import OptimConfig, Optimizer, Rule, freeze
from kinema.train.parallel import Group
from kinema.train.recipe import Options
from kinema.train.run import Run

FIRST = "inner.blocks.0.*"


def _begun(out: Path, *rules: Rule, **loop: Any) -> Loop[Any]:
    freeze_first = lambda model: freeze(model, rules)  # noqa: E731
    optim = OptimConfig(warmup_steps=2, ema_decay=loop.pop("ema_decay", 0.9), rules=rules)
    return toy_loop(out, prepare=freeze_first, optim=optim, **loop)


def _moved(loop: Loop[Any], before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in loop.model.state_dict().items() if not torch.equal(value, before[name])}


def _weights(loop: Loop[Any]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in loop.model.state_dict().items()}


@pytest.mark.parametrize(
    ("pattern", "moving"), [(FIRST, "1"), ("!inner.blocks.0.*", "0"), ("*.weight", None), ("!*.bias", None)]
)
def test_what_is_frozen_stays_and_has_neither_average_nor_moments(
    pattern: str, moving: str | None, tmp_path: Path
) -> None:
    loop = _begun(tmp_path, Rule(pattern=pattern, frozen=True))
    before = _weights(loop)
    loop.run(until=3)
    wanted = {n for n in before if (f"blocks.{moving}." in n if moving else n.endswith(".bias"))}
    assert _moved(loop, before) == wanted
    assert loop.ema.weights.keys() == wanted
    assert {name.rpartition(".")[0] for name in loop.optimizer.moments()} == wanted


@pytest.mark.parametrize(
    ("pattern", "near"), [("iner.blocks.0.*", "inner.blocks.0.*"), ("!*", "inner.*"), ("zzz", "inner.*")]
)
def test_a_pattern_that_matches_nothing_is_refused_with_near_ones(pattern: str, near: str) -> None:
    with pytest.raises(KinemaError, match="no parameter matches") as refused:
        freeze(Net(), [Rule(pattern=pattern, lr=0.1)])
    assert near in str(refused.value)


def test_all_frozen_is_refused() -> None:
    with pytest.raises(KinemaError, match="nothing to train"):
        freeze(Net(), [Rule(pattern="*", frozen=True)])


def test_rates_and_decay_by_pattern_and_the_last_one_counts() -> None:
    rules = (
        Rule(pattern="inner.*", lr=0.5), Rule(pattern="*.bias", lr=0.25, weight_decay=0.125),
        Rule(pattern=FIRST, weight_decay=0.75),
    )  # fmt: skip
    optimizer = Optimizer(Net(), OptimConfig(rules=rules))
    found = {
        optimizer.names[p]: (group["peak_lr"], group["weight_decay"], type(part).__name__)
        for part in optimizer.parts
        for group in part.param_groups
        for p in group["params"]
    }
    assert found == {
        "inner.blocks.0.weight": (0.5, 0.75, "Muon"),
        "inner.blocks.0.bias": (0.25, 0.75, "AdamW"),
        "inner.blocks.1.weight": (0.5, 0.05, "Muon"),
        "inner.blocks.1.bias": (0.25, 0.125, "AdamW"),
    }


def test_a_rate_of_nothing_moves_nothing_and_the_rest_is_as_without_it(tmp_path: Path) -> None:
    loop, plain = _begun(tmp_path / "a", Rule(pattern=FIRST, lr=0.0)), _begun(tmp_path / "b")
    before = _weights(loop)
    loop.run(until=1)
    plain.run(until=1)
    assert _moved(loop, before) == {n for n in before if "blocks.1." in n}
    for name in _moved(loop, before):
        assert torch.equal(loop.model.state_dict()[name], plain.model.state_dict()[name])


def test_what_is_trained_may_change_when_a_run_goes_on(tmp_path: Path) -> None:
    first = _begun(tmp_path, Rule(pattern=FIRST, frozen=True))
    first.run(until=2)
    stored = weights(first)
    again = _begun(tmp_path, Rule(pattern="*.bias", lr=0.5))
    again.resume()
    now = weights(again)
    assert {name for name in stored if not torch.equal(now[name], stored[name])} == set()
    for name in ("weight", "bias"):  # an average that begins now begins with the weight
        key = f"inner.blocks.0.{name}"
        assert torch.equal(again.ema.weights[key], again.model.state_dict()[key])
    again.run()
    assert again.step == 6


def test_without_an_average_the_last_weights_are_shipped(tmp_path: Path) -> None:
    run = Run(LINE, tmp_path, tmp_path / "whole", Options(average=False, steps=9))
    loop = run.train()
    assert loop.ema.weights == {}
    assert torch.equal(run.averaged(loop).weight, run.stage.model.weight)  # type: ignore[arg-type]
    assert run.provenance(loop)["averaged"] is False
    Run(LINE, tmp_path, tmp_path / "halves", Options(average=False, steps=5)).train()
    rest = Run(LINE, tmp_path, tmp_path / "halves", Options(average=False, steps=9, resume=True))
    assert rest.train().step == 9


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_batch_in_parts_is_the_batch(parts: int, tmp_path: Path) -> None:
    whole = Run(LINE, tmp_path, tmp_path / "whole", Options(steps=20)).train()
    taken = Run(LINE, tmp_path, tmp_path / "parts", Options(steps=20, accumulate=parts)).train()
    assert taken.batch_size == whole.batch_size == 8
    assert taken.mixture.state == whole.mixture.state
    for name, value in whole.model.state_dict().items():
        assert torch.allclose(taken.model.state_dict()[name], value, atol=1e-6, rtol=0)


def test_a_part_has_the_randomness_of_the_process_that_would_have_it(tmp_path: Path) -> None:
    one, two = (
        toy_loop(tmp_path / "one", accumulate=4),
        toy_loop(tmp_path / "two", accumulate=2, group=Group(rank=1, size=2)),
    )
    draws = [torch.randn(3, generator=one._generator(part)) for part in range(4)]
    for part in (0, 1):
        assert torch.equal(torch.randn(3, generator=two._generator(part)), draws[2 + part])
    assert one._batch_in_words() == "batches of 16 (4 parts of 4)"
    assert two._batch_in_words() == "batches of 16 (2 processes, 2 parts of 4)"


def test_a_bad_number_in_any_part_is_named(tmp_path: Path) -> None:
    run = Run(LINE, tmp_path, tmp_path, Options(accumulate=4))
    run.stage.table[5] = torch.nan
    with pytest.raises(KinemaError, match=r"in the data: table, row 5"):
        run.train()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_of_any_stage_make_the_same_batches(workers: int, tmp_path: Path) -> None:
    loop = Run(LINE, tmp_path, tmp_path / "w", Options(workers=workers, accumulate=2, seed=3)).begin()
    again = Run(LINE, tmp_path, tmp_path / "n", Options(accumulate=2, seed=3)).begin()
    for part in (0, 1, 0, 1):
        assert torch.equal(loop.mixture.draw(part), again.mixture.draw(part))
    assert [loop.mixture.origin(part) for part in (0, 1)] == [again.mixture.origin(part) for part in (0, 1)]


def test_more_shares_than_rows_are_refused(tmp_path: Path) -> None:
    stage = Run(LINE, tmp_path, tmp_path, Options(accumulate=8)).stage
    choose: Callable[..., np.ndarray] = stage.choose
    stage.choose = lambda rng, count, drawn: choose(rng, count // 2, drawn)  # as of films with two views
    with pytest.raises(KinemaError, match="4 rows cannot be shared by 8"):
        stage.stream(Feed(batch_size=1, parts=8)).draw()


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_recipe_heeds_the_options(name: str) -> None:
    recipe = recipes.get(name)
    rule = Rule(pattern="*", lr=0.5)
    options = Options(accumulate=2, rules=(rule,), average=False, lr_scale=0.5, seed=9, steps=7)
    asked = options.of(recipe)
    assert (asked.loop.accumulate, asked.loop.seed, asked.loop.steps) == (2, 9, 7)
    assert asked.loop.optim.rules[-1] == rule  # not scaled
    assert asked.loop.optim.ema_decay is None
    assert asked.loop.optim.lr == recipe.loop.optim.lr / 2
    for way in get_args(Way):
        if recipe.pictures is not None:
            assert replace(options, pictures=way).of(recipe).pictures == way
        else:
            with pytest.raises(KinemaError, match="reads no pictures of data sets"):
                replace(options, pictures=way).of(recipe)
