"""A stage more is one file: this one holds a stage and its recipe, and everything else is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinema.data.stream import Feed
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Options, Recipe
from kinema.train.record import DataPart
from kinema.train.run import Run, run
from kinema.train.stage import MadeOf, RowStage, Setting, start_from


class Line(RowStage[nn.Linear, Tensor]):
    """Learns y = 3 x from a table."""

    weights: Mapping[str, float] = {"wrong": 1.0}

    def __init__(self, setting: Setting, *, size: int) -> None:
        self.table = torch.linspace(-1, 1, size)
        self.model = nn.Linear(1, 1)
        if setting.init is not None:
            start = nn.Linear(1, 1)
            start.load_state_dict(load_file(setting.init / "line.safetensors"))
            start_from(self.model, start)
        self.made_of = MadeOf(network=1, data=[DataPart(name="table", rows=size, digest=str(size))])

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        return rng.integers(0, len(self.table), count)

    def gather(self, rows: np.ndarray) -> Tensor:
        return self.table[rows, None]

    def origin(self, rows: np.ndarray) -> list[str]:
        return [f"table, row {row}" for row in rows]

    def __call__(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        batch = batch.to(self.model.weight.device)
        return {"wrong": (self.model(batch) - 3 * batch).square().mean()}

    def judge(self, model: nn.Linear) -> Mapping[str, Any]:
        return {"slope": model.weight.item()}

    def export(
        self, model: nn.Linear, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), folder / "line.safetensors")
        (folder / "about.json").write_text(json.dumps(provenance))


LINE = Recipe(
    name="line",
    summary="a line through the origin",
    data_command="nothing",
    stage=partial(Line, size=64),
    batch_size=8,
    loop=LoopConfig(steps=60, save_every=20, optim=OptimConfig(lr=0.3, warmup_steps=1, ema_decay=0.8)),
)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_trains_stops_goes_on_and_is_exported(processes: int, tmp_path: Path) -> None:
    options = Options(processes=processes)
    made = run(LINE, tmp_path, tmp_path / "whole", options)
    about = json.loads((made / "about.json").read_text())
    assert load_file(made / "line.safetensors")["weight"].item() == pytest.approx(3, abs=0.3)
    assert (about["recipe"], about["steps"], about["processes"]) == ("line", 60, processes)
    run(LINE, tmp_path, tmp_path / "halves", replace(options, steps=30))
    rest = run(LINE, tmp_path, tmp_path / "halves", replace(options, resume=True))
    assert json.loads((rest / "about.json").read_text())["steps"] == 60


@pytest.mark.parametrize("death", [KeyboardInterrupt, OSError])
def test_an_artifact_is_replaced_whole_or_not_at_all(
    death: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after any of its files, the artifact before is there as it was; else nothing of it is."""
    made = run(LINE, tmp_path, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    whole = Line.export

    def dies(self: Line, model: nn.Linear, folder: Path, *about: Any) -> None:
        whole(self, model, folder, *about)
        raise death

    monkeypatch.setattr(Line, "export", dies)
    with pytest.raises(death):
        run(LINE, tmp_path, tmp_path / "run", Options(steps=80, resume=True))
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    assert sorted(path.name for path in made.parent.iterdir()) == [
        "artifact", "checkpoint", "curves.jsonl", "run.json", "tensorboard",
    ]  # fmt: skip
    monkeypatch.setattr(Line, "export", whole)
    (made / "of_another_run.json").write_text("{}")
    run(LINE, tmp_path, tmp_path / "run", Options(steps=80, resume=True))
    assert sorted(path.name for path in made.iterdir()) == sorted(before)
    assert (made / "line.safetensors").read_bytes() != before["line.safetensors"]


def test_halves_equal_a_whole_and_every_option_is_heeded(tmp_path: Path) -> None:
    whole = Run(LINE, tmp_path, tmp_path / "whole").train()
    Run(LINE, tmp_path, tmp_path / "halves").begin().run(until=31)
    rest = Run(LINE, tmp_path, tmp_path / "halves", Options(resume=True))
    loop = rest.train()
    assert torch.equal(loop.ema.weights["weight"], whole.ema.weights["weight"])
    folder = rest.export(loop, tmp_path / "artifact")
    again = Run(LINE, tmp_path, tmp_path / "again", Options(init=folder, seed=4, batch_size=2, lr_scale=0.1))
    assert torch.equal(again.stage.model.weight, loop.ema.weights["weight"])
    assert again.begin().mixture.draw().shape == (2, 1)
    judged: list[float] = []
    watched = Run(LINE, tmp_path, tmp_path / "watched", Options(evaluate_every=30))
    watched.stage.judge = lambda model: judged.append(model.weight.item()) or {}  # type: ignore[func-returns-value]
    watched.train()
    assert len(judged) == 2


def test_a_step_on_two_processes_sees_the_rows_of_one(tmp_path: Path) -> None:
    stage = LINE.stage(Setting(data=tmp_path, out=tmp_path))
    whole = stage.stream(Feed(batch_size=8, seed=5))
    shares = [stage.stream(Feed(batch_size=4, seed=5, rank=i, ranks=2)) for i in (0, 1)]
    for _ in range(3):
        parts = torch.stack([share.draw() for share in shares], 1).flatten(0, 1)
        assert torch.equal(parts, whole.draw())
        assert len(shares[0].origin()) == 4


def test_batches_of_any_kind_are_drawn_for_a_device_that_wants_them_pinned(tmp_path: Path) -> None:
    stage = LINE.stage(Setting(data=tmp_path, out=tmp_path))
    wanted, drawn = (stage.stream(Feed(batch_size=8, pin=pin)).draw() for pin in (False, True))
    assert torch.equal(drawn, wanted)
