"""Everything a run needs to go on bit for bit: weights, average, optimiser, position.

All randomness of a step is a function of the seed and the step, so no generator needs keeping.

Tensors in safetensors, the rest in JSON; written to a temporary folder and renamed, so a kill leaves the
previous checkpoint whole.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinema.data.mixture import MixtureState
from kinema.schema import KinemaError
from kinema.train.optim import Ema, Optimizer


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands."""

    step: int
    elapsed_s: float
    mixture: MixtureState


def save(folder: Path, position: Position, model: nn.Module, ema: Ema, optimizer: Optimizer) -> None:
    """Write a checkpoint, replacing the one in `folder` only when the new one is whole."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, fresh / "model.safetensors")
    save_file({k: v.contiguous() for k, v in ema.weights.items()}, fresh / "ema.safetensors")
    save_file(_flatten(optimizer), fresh / "optimizer.safetensors")
    (fresh / "position.json").write_text(json.dumps(asdict(position)))
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, model: nn.Module, ema: Ema, optimizer: Optimizer) -> Position:
    """Restore a checkpoint into freshly built parts. Raises KinemaError if it belongs to another model."""
    if not (folder / "position.json").is_file():
        old = folder.with_name(folder.name + ".old")  # a kill between the two renames
        if not (old / "position.json").is_file():
            raise KinemaError(f"no checkpoint in {folder}")
        old.rename(folder)
    weights = load_file(folder / "model.safetensors")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise KinemaError(f"{folder} was made by another recipe or version: {first}") from None
    for name, value in load_file(folder / "ema.safetensors").items():
        ema.weights[name].copy_(value)
    _restore(optimizer, load_file(folder / "optimizer.safetensors"))
    data = json.loads((folder / "position.json").read_text())
    return Position(step=data["step"], elapsed_s=data["elapsed_s"], mixture=MixtureState(**data["mixture"]))


def _flatten(optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{number}.{i}.{name}": torch.as_tensor(value).contiguous()
        for number, part in enumerate(optimizer.parts)
        for i, entry in part.state_dict()["state"].items()
        for name, value in entry.items()
    }


def _restore(optimizer: Optimizer, flat: dict[str, Tensor]) -> None:
    for number, part in enumerate(optimizer.parts):
        parameters = [p for group in part.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in flat.items():
            owner, index, name = key.split(".", 2)
            if int(owner) == number:
                state.setdefault(int(index), {})[name] = _lying_as(parameters[int(index)], value)
        part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def _lying_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A moment in its parameter's order in memory (channels last, say): the fused step sees no strides."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
