"""Curves go to whatever is asked for, once a run, whole over a stop; what is not there is refused early."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_new_stage import LINE
from toy_stage import toy_loop

from kinema.schema import KinemaError
from kinema.train.recipe import Options
from kinema.train.run import Run


class _Service(ModuleType):
    """What Weights & Biases and trackio have in common, in place of them."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = sys.__spec__  # installed
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **told: Any) -> None:
        self.begun.append(told)

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


def _lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_gets_the_curves_of_one_run_over_a_stop(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = _Service(name)
    monkeypatch.setitem(sys.modules, name, service)
    out = tmp_path / "one"
    Run(LINE, tmp_path, out, Options(trackers=(name,), steps=25)).train()
    Run(LINE, tmp_path, out, Options(trackers=(name,), steps=60, resume=True)).train()
    first, second = service.begun
    assert first["name"] == "one"
    assert first["config"]["recipe"] == "line"
    assert {k: first[k] for k in first if k != "config"} == {k: second[k] for k in second if k != "config"}
    assert service.finished == 2
    assert [step for step, _ in service.logged] == [25, 50]
    assert [{"step": step, **values} for step, values in service.logged] == _lines(out)
    assert not (out / "tensorboard").exists()
    other = Run(LINE, tmp_path, tmp_path / "other", Options(trackers=(name,), steps=1))
    other.train()
    if name == "wandb":
        assert service.begun[-1]["id"] != first["id"]


def test_the_curves_are_all_there(tmp_path: Path) -> None:
    Run(LINE, tmp_path, tmp_path, Options(steps=25)).train()
    (line,) = _lines(tmp_path)
    assert line.keys() == {
        "step", "loss/wrong", "optim/grad_norm", "optim/skipped_steps", "lr/adamw", "rate/samples_per_s",
        "rate/data_wait_fraction",
    }  # fmt: skip
    assert 0 < line["rate/data_wait_fraction"] < 1
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_new_run_in_a_used_folder_begins_its_curves_anew(tmp_path: Path) -> None:
    (tmp_path / "curves.jsonl").write_text('{"step": 99, "loss/wrong": 1}\n')
    Run(LINE, tmp_path, tmp_path, Options(trackers=(), steps=25)).train()
    assert [line["step"] for line in _lines(tmp_path)] == [25]


def test_a_run_that_may_not_begin_leaves_the_curves_of_the_other(tmp_path: Path) -> None:
    Run(LINE, tmp_path, tmp_path, Options(trackers=(), steps=25)).train()
    before = _lines(tmp_path)
    with pytest.raises(KinemaError, match="holds a run"):
        Run(LINE, tmp_path, tmp_path, Options(trackers=())).train()
    assert _lines(tmp_path) == before


def test_what_is_watched_is_logged_and_not_learnt_from(tmp_path: Path) -> None:
    plain, watched = toy_loop(tmp_path / "plain"), toy_loop(tmp_path / "watched")
    watched.weights = {**watched.weights, "seen": 0.0}
    objective = watched.objective

    def seeing(batch: Any, generator: Any) -> Any:
        losses = objective(batch, generator)
        return {**losses, "seen": losses["fit"].detach() * float("nan")}  # not even a bad one stops the run

    watched.objective = seeing
    plain.run()
    watched.run()
    for name, value in plain.model.state_dict().items():
        assert value.equal(watched.model.state_dict()[name])
    taken = watched._curves(type("Taken", (), {"losses": {"fit": 1.0, "seen": 2.0}, "grad_norm": 3.0})())  # type: ignore[arg-type]
    assert taken == {"loss/fit": 1.0, "watched/seen": 2.0, "optim/grad_norm": 3.0}


@pytest.mark.parametrize(
    ("name", "says"), [("tensorbord", "choices: tensorboard, wandb, trackio"), ("wandb", "pip install wandb")]
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_is_built(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinema.train.trackers.find_spec", lambda name: None)
    with pytest.raises(KinemaError, match=says):
        Options(trackers=(name,))
