"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on a policy's large matrices, by `peft`.

They are put on after the weights are there and merged before an artifact is written, which knows nothing of
them. In an adapted part nothing else learns; the other parts learn as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kinema.model.policy.policy import Policy
from kinema.schema import KinemaError

# By part: its matrices. The gated delta rule's own small ones (in_proj_a, in_proj_b) stay as they are.
_MATRICES = {
    "backbone": r"backbone\.qwen\.language_model\.layers\..*\."
    r"(q_proj|k_proj|v_proj|o_proj|in_proj_qkv|in_proj_z|out_proj|gate_proj|up_proj|down_proj)",
    "decoder": r"decoder\.blocks\..*\.(q|kv|proj|gate_up|down)",
}
PARTS = tuple(_MATRICES)


def adapt(policy: Policy, rank: int, parts: Sequence[str]) -> None:
    """Put adapters of this rank on these parts, in place. Raises KinemaError without peft, or for no part."""
    if unknown := [part for part in parts if part not in PARTS] or (not parts and ["none"]):
        raise KinemaError(f"adapters are put on {' or '.join(PARTS)}, not on {unknown[0]!r}")
    peft = _peft()
    before = {name for name, parameter in policy.named_parameters() if parameter.requires_grad}
    matrices = "|".join(f"({_MATRICES[part]})" for part in parts)
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=matrices)
    peft.inject_adapter_in_model(config, policy)
    for name, parameter in policy.named_parameters():  # peft leaves the adapters alone to learn
        if name in before and not name.startswith(tuple(f"{part}." for part in parts)):
            parameter.requires_grad_(True)


def merge(policy: Policy) -> None:
    """Add what the adapters have learnt to the matrices and take them off, in place."""
    for name, module in list(policy.named_modules()):
        if hasattr(module, "get_base_layer"):  # what every adapted layer of peft has
            module.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(policy.get_submodule(parent), own, module.get_base_layer())


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise KinemaError("adapters need peft; install it with: pip install 'kinema[lora]'") from None
    return peft
