"""Where a run's curves go: TensorBoard's files, Weights & Biases or trackio.

Beside them every run keeps its curves as lines of JSON, which its page is drawn from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

from kinema.schema import KinemaError

TRACKERS = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "trackio": "trackio"}


class Tracker(Protocol):
    """Takes numbers by name, step after step."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def check(names: Sequence[str]) -> None:
    """Raise KinemaError for a tracker that is unknown or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise KinemaError(f"unknown tracker {name!r}; choices: {', '.join(TRACKERS)}")
        package = "tensorboard" if name == "tensorboard" else name
        if find_spec(package) is None:
            raise KinemaError(f"tracker {name} is not installed; install it with: pip install {package}")


def open_trackers(
    names: Sequence[str], out: Path, about: Mapping[str, Any], *, goes_on: bool
) -> list[Tracker]:
    """The curves' own file, and these. out: the run's folder, whose name is the run's; about: what it is.

    goes_on: whether what lies there is the beginning of the same run
    """
    out.mkdir(parents=True, exist_ok=True)
    if not goes_on:
        for left in ("curves.jsonl", "tracker_id"):
            (out / left).unlink(missing_ok=True)
    found: list[Tracker] = [CurveFile(out)]
    for name in names:
        found.append(TensorBoard(out) if name == "tensorboard" else Service(name, out, about))
    return found


class CurveFile:
    """`curves.jsonl`: a step and its numbers a line; of a step that was taken again the last line counts."""

    def __init__(self, out: Path) -> None:
        self._file = (out / "curves.jsonl").open("a", encoding="utf-8", buffering=1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files in the folder `tensorboard`."""

    def __init__(self, out: Path) -> None:
        self._writer = import_module(TRACKERS["tensorboard"]).SummaryWriter(str(out / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Service:
    """Weights & Biases, or trackio, which has the same interface. A run that goes on is one run there."""

    def __init__(self, name: str, out: Path, about: Mapping[str, Any]) -> None:
        self._module = import_module(TRACKERS[name])
        told = {"id": _run_id(out)} if name == "wandb" else {}  # trackio goes by the name
        self._module.init(
            project="kinema", name=out.resolve().name, config=dict(about), resume="allow", **told
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        self._module.finish()


def _run_id(out: Path) -> str:
    """The same for every part of a run: named in its folder when it begins."""
    path = out / "tracker_id"
    if not path.exists():
        path.write_text(token_hex(8))
    return path.read_text()
