"""How a policy is held and computed when it acts: where, in which numbers, compiled or not.

Quantised are the matrices of the repeated blocks of backbone and decoder, 1.5 of 1.8 B in `edge`. What
is outside the blocks stays as it is: embeddings, stem, pointing head, state, time and actions in, actions
out. They are few, and an error of theirs is one of a coordinate or an action, that no later layer mends. So
do the two small gates of linear attention (decay and write), whose errors grow along the sequence.

int8: one scale for each row of a matrix, made numbers of the policy's own precision when it is used: less
memory, on any device. fp8: activations, too, on the units for it: less memory and time, where they are.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from kinema.model.device import Precision, device_of
from kinema.schema import KinemaError

Quantised = Literal["int8", "fp8"]

_BLOCKS = ("backbone.qwen.visual.blocks.", "backbone.qwen.language_model.layers.", "decoder.blocks.")
_GATES = (".in_proj_a.weight", ".in_proj_b.weight")
_FP8_FROM = (8, 9)  # CUDA's compute capability
_SCALE_BYTES = 4
# Actions are in [-1, 1]. An artifact's own example may be answered so much differently: other kernels and
# the storage's rounding; the rounding of every layer; and that of the matrices as well (docs/serving.md).
_TOLERANCE = {"fp32": 2e-3, "bf16": 0.1}
_TOLERANCE_QUANTISED = 0.2


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Checked when it is made: KinemaError for what does not exist, does not fit or is not here.

    device: as torch names it. dtype: of weights and arithmetic. compile: each block, warmed up before the
    first answer.
    """

    device: str = "cpu"
    dtype: Precision = "fp32"
    quantise: Quantised | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        device = device_of(self.device)
        if self.dtype not in get_args(Precision):
            raise KinemaError(f"unknown dtype {self.dtype!r}; choices: {', '.join(get_args(Precision))}")
        if self.quantise is None:
            return
        if self.quantise not in get_args(Quantised):
            raise KinemaError(
                f"unknown quantise {self.quantise!r}; choices: {', '.join(get_args(Quantised))}"
            )
        if self.quantise == "fp8":
            _check_fp8(device, self.dtype)
        if find_spec("torchao") is None:
            raise KinemaError(f"--quantise {self.quantise} needs torchao: pip install 'kinema[quantise]'")

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults; `Loading(**that)` is equal to this one."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.dtype == "bf16" else torch.float32

    @property
    def tolerance(self) -> float:
        """How far an artifact's own example may be missed, in units of its normalised actions."""
        return _TOLERANCE_QUANTISED if self.quantise else _TOLERANCE[self.dtype]

    def quantises(self, name: str, weight: Tensor) -> bool:
        """Whether the weight of this name in an artifact is one of those that are quantised."""
        is_chosen = weight.ndim == 2 and name.startswith(_BLOCKS) and not name.endswith(_GATES)
        return self.quantise is not None and is_chosen

    def bring(self, name: str, weight: Tensor) -> Tensor:
        """A weight as it will be held: there, in this precision, quantised; in memory of its own."""
        held = weight.to(self.device, self.torch_dtype if weight.is_floating_point() else None)
        if self.quantises(name, held):
            found = _quantised(held, self.quantise)
            del held
            _give_back_freed_memory()
            return found
        return held.clone() if held is weight else held

    def __str__(self) -> str:
        words = [self.dtype, self.quantise or "", "compiled" * self.compile]
        return ", ".join(filter(None, words))

    def bytes_of(self, name: str, weight: Tensor) -> int:
        """What a weight of this name and shape takes when it is held."""
        if self.quantises(name, weight):
            return weight.numel() + _SCALE_BYTES * len(weight)
        dtype = self.torch_dtype if weight.is_floating_point() else weight.dtype
        return weight.numel() * dtype.itemsize


PLAIN = Loading()


def _check_fp8(device: torch.device, dtype: Precision) -> None:
    if device.type != "cuda":
        raise KinemaError(
            f"--quantise fp8 needs a GPU with fp8 units; {device} has none. Choose --quantise int8"
        )
    if (found := torch.cuda.get_device_capability(device)) < _FP8_FROM:
        raise KinemaError(
            f"--quantise fp8 needs a GPU of compute capability 8.9; {torch.cuda.get_device_name(device)} has "
            f"{found[0]}.{found[1]}. Choose --quantise int8"
        )
    if dtype != "bf16":
        raise KinemaError(f"--quantise fp8 computes in bf16, not in {dtype}: add --dtype bf16")


def _quantised(weight: Tensor, kind: Quantised | None) -> Tensor:
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int8WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    rows, columns = weight.shape
    linear = nn.Linear(columns, rows, bias=False, device="meta")  # torchao quantises modules
    linear.weight = nn.Parameter(weight, requires_grad=False)
    row = PerRow()
    int8, fp8 = Int8WeightOnlyConfig(), Float8DynamicActivationFloat8WeightConfig(granularity=row)
    quantize_(linear, int8 if kind == "int8" else fp8)
    found: Any = linear.weight
    return found


def _give_back_freed_memory() -> None:
    """To the system. What was quantised lies between what stays, where glibc would keep all of it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
