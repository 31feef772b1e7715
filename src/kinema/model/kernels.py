"""Three small operations with their gradients written out.

Eager autograd spends more on the pieces of an RMS norm and of a SwiGLU than on the matrix products between
them. These compute the same values with one pass each, and write each gradient once. Tests hold them against
the plain formulas. They are for the CPU, where torch's fused attention is several times slower backward in
bf16 too; elsewhere, and under a compiler, which fuses by itself, torch's own stand in their place.

Axes: ... any leading axes, C width, F hidden width, T tokens, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x (..., C) divided by its root mean square, times weight (C,); in x's own precision."""
    if not _by_hand(x):
        return F.rms_norm(x, (x.shape[-1],), weight, eps)
    out: Tensor = _RmsNorm.apply(x, weight, eps)
    return out


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up for gate_up (..., 2 F), the gate first. Returns (..., F)."""
    if not _by_hand(gate_up):
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up
    out: Tensor = _SwiGlu.apply(gate_up)
    return out


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kT / sqrt(d) + bias) v for q, k, v (..., T, d); the bias carries no gradient."""
    bias = None if bias is None else bias.to(q.dtype)
    if not _by_hand(q):
        return F.scaled_dot_product_attention(q, k, v, bias)
    out: Tensor = _Attention.apply(q, k, v, bias)
    return out


def _by_hand(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class _Attention(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        scores = (q @ k.transpose(-2, -1)).mul_(q.shape[-1] ** -0.5)
        if bias is not None:
            scores.add_(bias)
        weights = scores.softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        return weights @ v

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = grad.contiguous()
        grad_weights = grad @ v.transpose(-2, -1)
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        grad_scores.mul_(q.shape[-1] ** -0.5)
        return (
            grad_scores @ k,
            grad_scores.transpose(-2, -1) @ q,
            weights.transpose(-2, -1) @ grad,
            None,
        )


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, inverse, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        along = grad * unit
        # the part of the gradient along x changes no root mean square, so it is taken out
        mean = (along.flatten(0, -2) @ weight[:, None]).view(inverse.shape) / unit.shape[-1]
        grad_x = (grad * weight).addcmul_(unit, mean, value=-1).mul_(inverse)
        return grad_x, along.flatten(0, -2).sum(0), None


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        opened = F.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        gate_up, opened = ctx.saved_tensors  # type: ignore[attr-defined]
        gate, up = gate_up.chunk(2, -1)
        out = torch.empty_like(gate_up)
        grad_gate, grad_up = out.chunk(2, -1)
        torch.mul(grad, opened, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return out
