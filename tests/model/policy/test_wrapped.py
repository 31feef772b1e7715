"""What wraps a module's call (checkpointing, a compiler, adapters) finds the module's work in it."""

import copy
from dataclasses import replace
from functools import partial
from typing import get_args

import pytest
import torch
from torch import nn
from torch._dynamo import explain
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from wrapping import batch_for, hybrid, looks_twice, saved_bytes

from kinema.model.policy import presets
from kinema.model.policy.action_dit import Block, Mask
from kinema.model.policy.policy import Policy
from kinema.model.policy.qwen import TextLayer, VisionBlock

LAYERS = (TextLayer, VisionBlock, Block)


def _losses(policy, batch):
    return sum(policy(batch, torch.Generator().manual_seed(0)).values())


def _checkpointed(policy):
    wrap = partial(checkpoint_wrapper, checkpoint_impl=CheckpointImpl.NO_REENTRANT)
    apply_activation_checkpointing(policy, wrap, check_fn=lambda module: isinstance(module, LAYERS))
    return policy


@pytest.mark.parametrize("mask", get_args(Mask))
@pytest.mark.parametrize("make", [hybrid, lambda mask: presets.tiny(64), looks_twice])
def test_every_module_is_called(make, mask):
    """A linear layer that is not called is one whose adapter or whose 4 bits are not heeded."""
    policy, called = Policy(make(mask)), set()
    for module in policy.modules():
        module.register_forward_hook(lambda module, *_: called.add(module))
    _losses(policy, batch_for(policy.config, 2))
    past = {
        name for name, module in policy.named_modules()
        if module not in called and any(True for _ in module.parameters(recurse=False))
    }  # fmt: skip
    # stock code of the gated delta rule, and what is resampled to the picture before it is used
    assert {
        name for name in past if not name.endswith((".conv1d", ".pos_embed", "patch_embed.proj"))
    } == set()
    assert not any(isinstance(policy.get_submodule(name), nn.Linear) for name in past)


@pytest.mark.parametrize("mask", get_args(Mask))
def test_checkpointing_changes_no_number(mask):
    torch.manual_seed(0)
    policy = Policy(hybrid(mask))
    batch = batch_for(policy.config, 2)
    wrapped = _checkpointed(copy.deepcopy(policy))
    plain, again = _losses(policy, batch), _losses(wrapped, batch)
    plain.backward()
    again.backward()
    assert torch.equal(plain, again)
    for one, other in zip(policy.parameters(), wrapped.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.equal(one.grad, other.grad)


def test_transformers_own_switch_for_checkpointing_works():
    torch.manual_seed(0)
    policy = Policy(hybrid()).train()
    batch = batch_for(policy.config, 2)
    before = saved_bytes(policy, partial(_losses, policy, batch))
    policy.backbone.qwen.activation_checkpointing_enable()
    assert saved_bytes(policy, partial(_losses, policy, batch)) < 0.6 * before


def test_base_with_checkpointing_keeps_a_quarter_at_most():
    """Its shape, with a quarter of its layers; the whole of it keeps 3 %."""
    base = presets.base()
    base = replace(
        base, text={**base.text, "num_hidden_layers": 8}, vision={**base.vision, "depth": 6},
        decoder=replace(base.decoder, depth=4),
    )  # fmt: skip
    with torch.device("meta"):
        policy = Policy(base).train()
        batch = batch_for(base, 2, "meta")
    plain = saved_bytes(policy, partial(_losses, policy, batch))
    assert saved_bytes(_checkpointed(policy), partial(_losses, policy, batch)) <= plain / 4


@pytest.mark.slow
@pytest.mark.parametrize("make", [hybrid, looks_twice])
def test_acting_compiles_to_one_graph_each(make):
    config = make()
    text = {**config.text, "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}
    policy = Policy(replace(config, text=text)).eval()
    inputs = batch_for(config, 2).inputs
    with torch.no_grad():
        prefilled = policy.prefill(inputs)
        assert explain(policy.prefill)(inputs).graph_count == 1
        noise, tau = torch.randn(2, 2, config.decoder.horizon, 80), torch.rand(2, 2)
        assert explain(policy.predict)(prefilled, noise, tau).graph_count == 1
