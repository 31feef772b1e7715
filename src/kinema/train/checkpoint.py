"""What a run needs to go on bit for bit, and what gives its weights their meaning.

    checkpoint/step_000000500/
        model.safetensors, ema.safetensors, optimizer.safetensors
        position.json   steps taken, seconds, batches drawn; randomness is a function of seed and step
        record.json     recipe, network, precision, seed, data: what is compared before a run goes on
        assets/         words, statistics, and what else was made of the data at the start

Tensors in safetensors, the rest in JSON. A checkpoint is written beside the others, flushed to the disk and
only then given its name, so no kill leaves a half behind, and the last few are kept. Weights that are not
finite are not written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kinema.data.mixture import MixtureState
from kinema.model.stored import flush, flush_one, read_json, read_tensors
from kinema.schema import KinemaError
from kinema.train.optim import Ema, Optimizer
from kinema.train.record import RunRecord

_PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands, between two steps. skipped: steps in a row just before that were not taken."""

    step: int
    elapsed_s: float
    mixture: MixtureState
    skipped: int = 0


def save(
    folder: Path, position: Position, record: RunRecord, model: nn.Module, ema: Ema, optimizer: Optimizer,
    keep: int,
) -> None:  # fmt: skip
    """Write a checkpoint below `folder` and remove all but the newest `keep`.

    Raises KinemaError, and leaves everything as it was, when a weight or an average is not finite.
    """
    whole = folder / f"step_{position.step:09d}"
    if whole.exists():
        return
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    averages = {k: v.detach().cpu().contiguous() for k, v in ema.weights.items()}
    _check_finite(weights, averages)
    _discard(folder.glob(f"*{_PARTIAL}"))
    fresh = whole.with_name(whole.name + _PARTIAL)
    fresh.mkdir(parents=True)
    save_file(weights, fresh / "model.safetensors")
    save_file(averages, fresh / "ema.safetensors")
    save_file(_flatten(optimizer), fresh / "optimizer.safetensors")
    (fresh / "position.json").write_text(json.dumps(asdict(position)))
    record.write(fresh)
    flush(fresh)
    fresh.rename(whole)
    flush_one(folder)
    _discard(stored(folder)[keep:])


def stored(folder: Path) -> list[Path]:
    """The whole checkpoints below `folder`, the newest first."""
    return sorted((p for p in folder.glob("step_*") if p.suffix != _PARTIAL), reverse=True)


def newest(folder: Path) -> Path:
    """The newest one. Raises KinemaError when there is none."""
    for path in stored(folder):
        return path
    if (folder / "position.json").is_file():
        raise KinemaError(f"{folder} was written by an earlier kinema and cannot be gone on with; start anew")
    raise KinemaError(f"no checkpoint in {folder}")


def load(folder: Path, model: nn.Module, ema: Ema, optimizer: Optimizer) -> Position:
    """Restore the newest checkpoint below `folder` into freshly built parts.

    Raises KinemaError when there is none, it is damaged, or it belongs to another network.
    """
    path = newest(folder)
    what = "checkpoint"
    weights, averages = (read_tensors(path / f"{name}.safetensors", what) for name in ("model", "ema"))
    moments = read_tensors(path / "optimizer.safetensors", what)
    data = read_json(path / "position.json", what)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise KinemaError(f"{path} was made by another recipe or version: {first}") from None
    if unknown := sorted(averages.keys() - weights.keys()):
        raise KinemaError(f"{path} was made by another recipe or version: an average of {unknown[0]}")
    for name, average in ema.weights.items():  # what was frozen until now begins with its weight
        average.copy_(averages.get(name, weights[name]))
    _restore(optimizer, moments)
    return Position(**{**data, "mixture": MixtureState(**data["mixture"])})


def _check_finite(*parts: dict[str, Tensor]) -> None:
    for part in parts:
        for name, value in part.items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise KinemaError(f"not saved: {name} is not finite; the last checkpoint stays")


def _discard(folders: Iterable[Path]) -> None:
    """Remove checkpoints; what a kill leaves of one is no checkpoint any more."""
    for folder in folders:
        doomed = folder.with_suffix(_PARTIAL)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _flatten(optimizer: Optimizer) -> dict[str, Tensor]:
    """The moments by parameter: which optimiser groups it lies in may change."""
    return {
        f"{optimizer.names[id(parameter)]}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for part in optimizer.parts
        for parameter, entry in part.state.items()
        for name, value in entry.items()
    }


def _restore(optimizer: Optimizer, flat: dict[str, Tensor]) -> None:
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        parameter, name = key.rsplit(".", 1)
        entries.setdefault(parameter, {})[name] = value
    for part in optimizer.parts:
        parameters = [p for group in part.param_groups for p in group["params"]]
        state = {
            i: {name: _lying_as(p, value) for name, value in entries[optimizer.names[id(p)]].items()}
            for i, p in enumerate(parameters)
            if optimizer.names[id(p)] in entries  # else it was frozen until now
        }
        part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def _lying_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A moment in its parameter's order in memory (channels last, say): the fused step sees no strides."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
