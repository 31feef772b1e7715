"""The operations with written-out gradients against the plain formulas."""

import pytest
import torch
from torch.nn import functional as F

from kinema.model.kernels import attention, rms_norm, swiglu

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


@pytest.mark.parametrize("masked", [True, False])
def test_attention_and_its_gradients_equal_the_formula(masked):
    q, k, v = (torch.randn(2, 3, n, 4, dtype=torch.float64, requires_grad=True) for n in (5, 6, 6))
    bias = torch.zeros(2, 1, 5, 6, dtype=torch.float64)
    bias[0, :, :, 4:] = -1e9
    bias = bias if masked else None
    scores = q @ k.transpose(-2, -1) / 2 + (0 if bias is None else bias)
    torch.testing.assert_close(attention(q, k, v, bias), scores.softmax(-1) @ v)
    assert torch.autograd.gradcheck(lambda *inputs: attention(*inputs, bias), (q, k, v))


def test_attention_under_autocast_takes_single_precision():
    q, k, v = (torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = attention(q, k, v)
    rounded.float().sum().backward()
    assert rounded.dtype == torch.bfloat16
    assert q.grad.dtype == torch.float32
    torch.testing.assert_close(rounded.float(), attention(q, k, v), atol=2e-2, rtol=2e-2)


def test_bf16_stays_within_rounding_of_single_precision():
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(64, 48, generator=generator), torch.rand(48, generator=generator) + 0.5
    exact, rounded = rms_norm(x, weight, 1e-6), rms_norm(x.bfloat16(), weight.bfloat16(), 1e-6)
    assert rounded.dtype == torch.bfloat16
    assert ((rounded.float() - exact).abs() <= 0.02 * exact.abs() + 1e-3).all()
    gate_up = torch.randn(64, 96, generator=generator)
    exact, rounded = swiglu(gate_up), swiglu(gate_up.bfloat16())
    assert ((rounded.float() - exact).abs() <= 0.03 * exact.abs() + 1e-2).all()
