"""A small policy on Qwen3.5's hybrid pattern, a batch for any policy, what a forward keeps for backward."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kinema.data.batch import Batch, Inputs
from kinema.model.policy.action_dit import DecoderConfig, Mask
from kinema.model.policy.policy import PolicyConfig
from kinema.model.policy.second_look import SecondLookConfig
from kinema.space.layout import NUM_SLOTS


def hybrid(mask: Mask = "cached") -> PolicyConfig:
    """Three gated-delta layers and one of softmax, patches of 8 merged two by two, no stem."""
    text = dict(
        vocab_size=64, hidden_size=96, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, linear_num_key_heads=2, linear_num_value_heads=2,
        linear_key_head_dim=32, linear_value_head_dim=32,
        rope_parameters={
            "rope_type": "default", "rope_theta": 1000.0, "partial_rotary_factor": 0.5,
            "mrope_section": [4, 2, 2], "mrope_interleaved": True,
        },
    )  # fmt: skip
    vision = dict(
        depth=2, hidden_size=64, intermediate_size=96, num_heads=2, patch_size=8, spatial_merge_size=2,
        out_hidden_size=96, num_position_embeddings=64, hidden_act="gelu",
    )  # fmt: skip
    decoder = DecoderConfig(width=64, depth=2, heads=2, ffn=128, mask=mask, horizon=8)
    return PolicyConfig(text=text, vision=vision, image_size=64, decoder=decoder)


def looks_twice(mask: Mask = "cached") -> PolicyConfig:
    """The same with a second look."""
    return replace(hybrid(mask), second_look=SecondLookConfig(source_size=96, crop_size=32))


def batch_for(config: PolicyConfig, rows: int, device: str = "cpu") -> Batch:
    """Noise of the right shapes: two views, seven tokens."""
    views, side, points, horizon = 2, config.source_size, max(config.points, 1), config.decoder.horizon
    slots = torch.ones(rows, NUM_SLOTS, dtype=torch.bool, device=device)
    labelled = torch.ones(rows, views, points, dtype=torch.bool, device=device)
    generator = torch.Generator().manual_seed(0)
    inputs = Inputs(
        images=torch.randint(0, 256, (rows, views, 3, side, side), generator=generator).byte(),
        image_mask=torch.ones(rows, views, dtype=torch.bool),
        tokens=torch.randint(6, 64, (rows, 7), generator=generator),
        token_mask=torch.ones(rows, 7, dtype=torch.bool),
        tags=torch.tensor([[3, 4]] * views).expand(rows, -1, -1),
        state=torch.randn(rows, NUM_SLOTS, generator=generator),
        moved=torch.zeros(rows, NUM_SLOTS), state_mask=slots, slot_mask=slots,
    )  # fmt: skip
    return Batch(
        inputs=inputs.to(device),
        actions=torch.randn(rows, horizon, NUM_SLOTS, generator=generator).to(device),
        action_mask=slots[:, None].expand(-1, horizon, -1), quiet_mask=~slots,
        points=torch.rand(rows, views, points, 2, generator=generator).to(device),
        point_mask=labelled, point_visible=labelled, clipped=torch.zeros(rows),
    )  # fmt: skip


def saved_bytes(model: nn.Module, work: Callable[[], object]) -> int:
    """What `work` keeps for a backward pass, beside the model's own tensors."""
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in own:
            kept[id(base)] = base  # held, so that no other tensor gets its number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = work()
    del made
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
