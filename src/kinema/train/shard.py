"""What is done to a network from outside, so that it fits and is fast: the same for every stage.

Its layers (`Stage.layers`) are the units. Each may be recomputed in the backward pass instead of kept
(gradient checkpointing), compiled, and sharded over the processes of a group (FSDP2): every process holds
its share of weights, gradients, moments and averages, and a layer is whole only while it computes. Modules
are changed in place and names stay as they are, so rules by name, checkpoints and exports do not know.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate
from torch.utils.checkpoint import checkpoint

from kinema.model.device import Precision
from kinema.train.parallel import Group, SharedError

# torch remembers results by meshes that are equal; one of an earlier group, with another rank, must not be
_MESHES = count()
_SMALL = 50_000_000


def layers_of(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules in lists, which is how a network holds what it repeats."""
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else layers_of(child)


def prepare(
    model: nn.Module, layers: Sequence[nn.Module], group: Group, device: torch.device, precision: Precision,
    *, checkpointing: bool = False, compiled: bool = False, units_from: int = _SMALL,
) -> None:  # fmt: skip
    """Bring a network, which must be the same in all processes of the group, to where it is trained.

    checkpointing: recompute the layers in the backward pass; compiled: each of them by itself
    units_from: so many parameters make each layer a unit of its own; a smaller network is gathered at once
    """
    for layer in layers:
        if checkpointing:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # type: ignore[method-assign]
        if compiled:
            layer.compile()
    if group.size == 1:
        model.to(device)
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    numbers = set()  # stay whole
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.contiguous()  # channels last cannot be sharded
        if not parameter.ndim:
            if parameter.requires_grad:
                raise SharedError(f"{name} is trained and a single number, which FSDP2 does not shard")
            numbers.add(parameter)
    # autocast decides what is computed in bf16 (`device.py`), so inputs are left as they are
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if precision == "bf16" else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    mesh = init_device_mesh(device.type, (group.size,), mesh_dim_names=(f"shards_{next(_MESHES)}",))
    # about views that are changed in place, which none here is: processes learn what one alone does
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")
    units = layers if sum(parameter.numel() for parameter in model.parameters()) >= units_from else ()
    for unit in (*units, model):
        fully_shard(unit, mesh=mesh, mp_policy=policy, ignored_params=numbers)
    model.to(device)  # what is not sharded


def shard(tensor: Tensor) -> Tensor:
    """This process's share of a tensor: a view, all of it where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor. Every process of the group must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shared_as(full: Tensor, tensor: Tensor) -> Tensor:
    """A tensor that every process has whole, sharded as another one is."""
    if not isinstance(tensor, DTensor):
        return full
    everywhere = DTensor.from_local(full, tensor.device_mesh, [Replicate()], run_check=False)
    return everywhere.redistribute(placements=tensor.placements)


def blueprint(model: nn.Module) -> nn.Module:
    """A copy of a network without the memory of its parameters."""
    empty = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()
    }
    return copy.deepcopy(model, empty)


def built(plain: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network of a blueprint with these parameters and buffers, by name."""
    full = {id(p): nn.Parameter(tensors[name], p.requires_grad) for name, p in plain.named_parameters()}
    model = copy.deepcopy(plain, full)  # what is tied stays tied
    buffers = {name: tensors[name] for name, _ in model.named_buffers() if name in tensors}
    model.load_state_dict(buffers, strict=False)
    return model


def gathered(tensors: Mapping[str, Tensor], group: Group) -> dict[str, Tensor]:
    """All of each tensor, on the chief's CPU; nothing elsewhere. Every process of the group must ask."""
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())  # one after the other: no device ever holds them all
        if group.is_chief:
            found[name] = torch.empty_like(full, device="cpu").copy_(full)
    return found
