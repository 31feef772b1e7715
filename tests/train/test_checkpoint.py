"""A checkpoint is never replaced by a broken one and says what it means; a bad number names its data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policy_run import Begun, begin, debug_recipe
from safetensors.torch import load_file
from toy_stage import assert_same, toy_loop, watched, weights

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.source import Source
from kinema.schema import KinemaError
from kinema.train import checkpoint
from kinema.train.loop import Loop
from kinema.train.parallel import Group, together
from kinema.train.recipe import Recipe
from kinema.train.record import DataPart, RunRecord, digest
from kinema.train.run import run


def _explode(loop: Loop[Any], *steps: int) -> None:
    """Losses stay finite at these steps, their gradients do not."""
    objective = loop.objective

    def exploding(batch: Any, generator: torch.Generator) -> Any:
        losses = dict(objective(batch, generator))
        if loop.step in steps:
            losses["fit"].register_hook(lambda gradient: gradient * float("inf"))
        return losses

    loop.objective = exploding


def test_a_gradient_that_is_not_finite_is_not_stepped_along(tmp_path: Path) -> None:
    loop = toy_loop(tmp_path)
    loop.run(until=2)
    before = weights(loop)
    _explode(loop, 2)
    loop.run(until=3)
    assert_same(weights(loop), before)
    assert loop.step == 3
    loop.run()
    assert all(torch.isfinite(value).all() for value in weights(loop).values())
    halves = toy_loop(tmp_path / "halves")
    _explode(halves, 2)
    halves.run(until=3)
    rest = toy_loop(tmp_path / "halves")
    rest.resume()
    rest.run()
    assert_same(weights(rest), weights(loop))  # a skipped step does not spoil resuming either


def test_many_in_a_row_end_the_run_name_the_data_and_leave_good_weights(tmp_path: Path) -> None:
    loop = toy_loop(tmp_path, most_skipped=2)
    _explode(loop, 3, 4, 5)
    with pytest.raises(KinemaError, match=r"not finite at step 4 .* 1 before.* rows are of table"):
        loop.run()
    (shard,) = checkpoint.newest(tmp_path / "checkpoint").glob("*.safetensors")
    assert all(torch.isfinite(value).all() for value in load_file(shard).values())
    again = toy_loop(tmp_path, most_skipped=2)
    again.resume()
    assert (again.step, again.skipped) == (5, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_rows_and_loses_nothing(bad: float, tmp_path: Path) -> None:
    good = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    whole = toy_loop(tmp_path / "whole", table=good)
    whole.run()
    spoilt = good.clone()
    spoilt[7, 3] = bad
    loop = toy_loop(tmp_path / "spoilt", table=spoilt)
    with pytest.raises(KinemaError, match=r"loss is not finite at step \d.*in the data: table, row 7$"):
        loop.run()
    assert 0 < loop.step < 6
    rest = toy_loop(tmp_path / "spoilt", table=good)  # mended
    rest.resume()
    assert rest.step == loop.step
    rest.run()
    assert_same(weights(rest), weights(whole))


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    loop = toy_loop(tmp_path)
    loop.run(until=2)
    with torch.no_grad():
        next(loop.model.parameters()).fill_(float("nan"))
    loop.step = 3
    with pytest.raises(KinemaError, match="not saved"):
        loop.save()
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["step_000000002"]


@pytest.mark.parametrize(
    ("moment", "loses"),
    [
        ("before draw", False), ("after draw", False), ("after objective", False), ("after average", False),
        ("before AdamW", True), ("before Muon", True), ("before average of weights", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_before_an_update_loses_nothing_and_within_it_leaves_the_last_checkpoint(
    moment: str, loses: bool, error: type[BaseException], tmp_path: Path
) -> None:
    whole = toy_loop(tmp_path / "whole", save_every=2)
    whole.run()
    loop, count = toy_loop(tmp_path / "failed", save_every=2), 0

    def happens(name: str) -> None:
        nonlocal count
        count += name == moment
        if count == 4 and name == moment:
            raise error("the disk is gone")

    with watched(loop, happens), pytest.raises(error, match="disk"):
        loop.run()
    rest = toy_loop(tmp_path / "failed", save_every=2)
    rest.resume()
    assert rest.step == (2 if loses else 3)
    rest.run()
    assert_same(weights(rest), weights(whole))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_few_are_kept_and_any_of_them_goes_on(keep: int, tmp_path: Path) -> None:
    loop = toy_loop(tmp_path, save_every=1, keep=keep)
    loop.run()
    kept = checkpoint.stored(tmp_path / "checkpoint")
    assert [path.name for path in kept] == [f"step_00000000{step}" for step in range(6, 6 - keep, -1)]
    (shard,) = kept[0].glob("*.safetensors")
    shard.write_bytes(b"rot")
    with pytest.raises(KinemaError, match=rf"{shard.name} is damaged"):
        toy_loop(tmp_path).resume()
    shard.unlink()
    with pytest.raises(KinemaError, match=rf"incomplete: no file .*{shard.name}"):
        toy_loop(tmp_path).resume()
    if keep > 1:
        kept[0].rename(tmp_path / "away")
        rest = toy_loop(tmp_path, keep=keep)
        rest.resume()
        rest.run()
        assert_same(weights(rest), weights(loop))


def test_a_run_is_not_begun_over_another(tmp_path: Path) -> None:
    toy_loop(tmp_path).run(until=2)
    with pytest.raises(KinemaError, match="holds a run"):
        toy_loop(tmp_path).run()
    (tmp_path / "old" / "checkpoint").mkdir(parents=True)
    (tmp_path / "old" / "checkpoint" / "position.json").write_text("{}")
    with pytest.raises(KinemaError, match="earlier kinema"):
        toy_loop(tmp_path / "old").resume()


def test_what_may_not_change_is_refused_and_what_may_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy_loop(tmp_path).run(until=2)
    with pytest.raises(KinemaError, match=r"not the run of the checkpoint: seed was 0 and is 9"):
        toy_loop(tmp_path, seed=9).resume()
    toy_loop(tmp_path, table=torch.ones(40, 6), steps=8).resume()
    said = capsys.readouterr().err
    assert "steps was 6 and is 8" in said
    assert "data table has changed (32 rows before, 40 now)" in said


def test_a_record_comes_back_as_written_and_compares_by_leaf(tmp_path: Path) -> None:
    record = RunRecord(
        fixed={"network": {"sizes": (3, 4), "deep": {"x": None}}},
        noted={"lr": 1e-3},
        data=[DataPart(name="a", rows=2, digest="1"), DataPart(name="b", rows=3, digest="2")],
        assets={"words": b"\x00\xff", "other": b""},
    )
    record.write(tmp_path)
    stored = RunRecord.read(tmp_path)
    assert record.check_continues(stored) == []
    other = replace(record, data=[record.data[1], DataPart(name="c", rows=9, digest="3")], noted={"lr": 2e-3})
    assert other.check_continues(stored) == [
        "lr was 0.001 and is 0.002", "data a is gone", "data c is new (9 rows)",
    ]  # fmt: skip
    with pytest.raises(KinemaError, match=r"network.deep.x was None and is 1"):
        replace(record, fixed={"network": {"sizes": (3, 4), "deep": {"x": 1}}}).check_continues(stored)
    with pytest.raises(KinemaError, match="words was made anew"):
        replace(record, assets={**record.assets, "words": b"new"}).check_continues(stored)
    assert digest(np.zeros((2, 3))) != digest(np.zeros((3, 2)))
    assert digest(torch.zeros(2), ["a"]) != digest(torch.zeros(2), ["b"])
    assert digest(torch.zeros(())) == digest(torch.zeros(()))


# --- a policy's words and statistics ------------------------------------------------------------------


def _recipe(*sources: Source, **loop: Any) -> Recipe:
    settings = {"steps": 3, "save_every": 100, **loop}
    return replace(debug_recipe(sources, **settings), batch_size=4)


def _begin(out: Path, *sources: Source, **options: Any) -> Begun:
    return begin(_recipe(*sources), out, **{"precision": "fp32", **options})


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Begun]:
    """A policy's run after one step, and its folder."""
    out = tmp_path_factory.mktemp("begun")
    training = _begin(out, fake_source(load_card("panda"), image_size=64))
    training.loop.run(until=1)
    return out, training


def test_a_policy_goes_on_with_its_own_words_and_statistics_whatever_the_data_has_become(
    begun: tuple[Path, Begun], capsys: pytest.CaptureFixture[str]
) -> None:
    out, first = begun
    source = fake_source(load_card("panda"), image_size=64)
    grown = replace(
        source, action=source.action * 1.01, tasks=["hand over the screwdriver", *list(source.tasks)[1:]]
    )
    for anew in (grown, replace(source, tasks=grown.tasks)):  # statistics and words; words alone
        with pytest.raises(KinemaError, match=r"json was made anew|vocab_size was 371 and is 372"):
            _begin(out, anew).loop.resume()
    again = _begin(out, grown, resume=True)
    np.testing.assert_array_equal(
        again.codecs["panda"].action_stats.q99, first.codecs["panda"].action_stats.q99
    )
    for text in (*source.tasks, *grown.tasks):
        assert again.tokenizer.encode(text) == first.tokenizer.encode(text)
    assert "has changed" in capsys.readouterr().err
    again.loop.run(until=2)
    assert again.loop.step == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch_size": 8}, "batch size was 4 and is 8"),
        ({"seed": 9}, "seed was 0 and is 9"),
        ({"precision": "bf16"}, "precision was fp32 and is bf16"),
        ({"name": "another"}, "recipe was debug and is another"),
    ],
    ids=lambda value: str(value),
)
def test_another_run_is_refused(change: dict[str, Any], says: str, begun: tuple[Path, Begun]) -> None:
    recipe = _recipe(fake_source(load_card("panda"), image_size=64))
    options = {"precision": "fp32", "resume": True, **change}
    recipe = replace(recipe, name=options.pop("name", recipe.name))
    with pytest.raises(KinemaError, match=says):
        begin(recipe, begun[0], **options)


def test_a_body_that_came_later_is_refused_and_a_card_that_changed_too(begun: tuple[Path, Begun]) -> None:
    panda, ur5e = (fake_source(load_card(name), image_size=64) for name in ("panda", "ur5e"))
    with pytest.raises(KinemaError, match=r"the data holds ur5e, which this run began without"):
        _begin(begun[0], panda, ur5e, resume=True)
    other = panda.card.model_copy(update={"control_hz": panda.card.control_hz / 2})
    with pytest.raises(KinemaError, match=r"cards.panda was"):
        _begin(begun[0], replace(panda, card=other), resume=True)


def test_a_bad_number_in_a_data_set_is_named_by_set_episode_and_frame(tmp_path: Path) -> None:
    source = fake_source(load_card("panda"), image_size=64)
    ends = source.ends
    action = source.action.copy()
    action[ends[0] + 5] = np.nan
    spoilt = replace(source, name="shelf", action=action, starts=np.arange(ends[0], ends[0] + 6))
    with pytest.raises(KinemaError, match=r"not finite at step 0.*shelf, episode 1, frame 5"):
        run(_recipe(source, spoilt), tmp_path, tmp_path)


def test_the_row_is_named_whichever_process_drew_it(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    table = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))

    def work(group: Group) -> None:
        own = table.clone()
        if not group.is_chief:
            own[:] = float("nan")
        toy_loop(tmp_path, table=own, group=group).run()

    with together(2, work) as group, pytest.raises(KinemaError, match=r"not finite in the data: table, row"):
        work(group)


def test_a_run_that_was_resumed_still_says_what_it_started_from(
    begun: tuple[Path, Begun], tmp_path: Path
) -> None:
    parent = begun[1].export(tmp_path / "parent")
    source = fake_source(load_card("panda"), image_size=64)
    _begin(tmp_path / "child", source, init=parent).loop.run(until=1)
    rest = _begin(tmp_path / "child", source, resume=True)
    made = json.loads((rest.export(tmp_path / "made") / "provenance.json").read_text())
    assert made["started_from"]["recipe"] == "debug"
    assert made["precision"] == rest.loop.precision
