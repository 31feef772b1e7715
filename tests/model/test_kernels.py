"""The operations with written-out gradients against the plain formulas."""

import pytest
import torch
from torch.nn import functional as F

from kinema.model.kernels import rms_norm, swiglu

SHAPES = [(5, 8), (2, 3, 16), (2, 4, 3, 6)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm_and_its_gradients_equal_the_formula(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(shape[-1], generator=generator, dtype=torch.float64, requires_grad=True)
    plain = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), plain)
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-6), (x, weight))


@pytest.mark.parametrize("shape", SHAPES)
def test_swiglu_and_its_gradients_equal_the_formula(shape):
    generator = torch.Generator().manual_seed(1)
    gate_up = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    gate, up = gate_up.chunk(2, -1)
    torch.testing.assert_close(swiglu(gate_up), F.silu(gate) * up)
    assert torch.autograd.gradcheck(swiglu, gate_up)


def test_bf16_stays_within_rounding_of_single_precision():
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(64, 48, generator=generator), torch.rand(48, generator=generator) + 0.5
    exact, rounded = rms_norm(x, weight, 1e-6), rms_norm(x.bfloat16(), weight.bfloat16(), 1e-6)
    assert rounded.dtype == torch.bfloat16
    assert ((rounded.float() - exact).abs() <= 0.02 * exact.abs() + 1e-3).all()
    gate_up = torch.randn(64, 96, generator=generator)
    exact, rounded = swiglu(gate_up), swiglu(gate_up.bfloat16())
    assert ((rounded.float() - exact).abs() <= 0.03 * exact.abs() + 1e-2).all()
