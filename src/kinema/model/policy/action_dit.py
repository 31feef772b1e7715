"""The action decoder: a single-stream diffusion transformer over context tokens and noisy action tokens.

Default mask ("cached"): context tokens attend only to context and are not modulated by the flow time, so
`prefill` computes their keys and values once per observation and every Euler step reuses them. The "joint"
mask lets context see the actions and be modulated too, as the published model's wording suggests; it is
recomputed in every step. "read" leaves the context as the backbone made it, and every block only reads it:
a quarter less work in training. All run the same weights (Qwen-VLA, arXiv 2605.30280, section 3).

Axes: B batch, R noise draws per sample, T context tokens, H action steps, K slots, C width, d head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.model.kernels import attention, swiglu

KeyValue = tuple[Tensor, Tensor]
Mask = Literal["cached", "joint", "read"]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    width: int
    depth: int
    heads: int
    ffn: int  # hidden width of the SwiGLU
    horizon: int = 16
    mask: Mask = "cached"
    prefix: int = 0  # most steps at the start of a chunk that may be given, in training; 0: none ever are

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"decoder width {self.width} must be a multiple of heads {self.heads}")
        if self.mask not in get_args(Mask):
            raise ValueError(f"decoder mask {self.mask!r} must be one of {get_args(Mask)}")
        if not 0 <= self.prefix < self.horizon:
            raise ValueError(f"decoder prefix {self.prefix} must be in 0 ... {self.horizon - 1}")


class ActionDiT(nn.Module):
    """Predicts the clean chunk from a noisy one, the flow time, a conditioning vector and the context."""

    def __init__(self, config: DecoderConfig, slots: int) -> None:
        super().__init__()
        C = config.width
        self.config = config
        self.action_in = nn.Sequential(nn.Linear(slots, C), nn.SiLU(), nn.Linear(C, C))
        self.step_embed = nn.Parameter(torch.randn(config.horizon, C) * 0.02)
        # says of a step that its action is given, and not noise
        self.given_embed = nn.Parameter(torch.zeros(C)) if config.prefix else None
        self.time_embed = nn.Sequential(nn.Linear(256, C), nn.SiLU(), nn.Linear(C, C))
        self.blocks = nn.ModuleList(Block(C, config.heads, config.ffn) for _ in range(config.depth))
        self.norm_out = nn.LayerNorm(C, elementwise_affine=False)
        self.modulate_out = nn.Linear(C, 2 * C)
        self.action_out = nn.Sequential(nn.Linear(C, C), nn.SiLU(), nn.Linear(C, slots))
        for layer in [self.modulate_out, *(block.modulation for block in self.blocks)]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def answer(self, horizon: int) -> None:
        """Answer with so many steps. The first ones stay what they are; new ones begin as the last one is."""
        known = self.step_embed.detach()[:horizon]
        more = known[-1:].repeat(horizon - len(known), 1)
        self.step_embed = nn.Parameter(torch.cat([known, more]))
        self.config = replace(self.config, horizon=horizon)

    def prefill(self, context: Tensor, mask: Tensor) -> list[KeyValue]:
        """Keys and values of the context (B, T, C) for every block, none if joint; mask bool (B, T)."""
        bias = _bias(mask).to(context.dtype)
        cache: list[KeyValue] = []
        if self.config.mask == "joint":
            return cache
        for i, block in enumerate(self.blocks):
            only_read = self.config.mask == "read" or i == len(self.blocks) - 1
            context, key_value = block(context, bias, only_read=only_read)
            cache.append(key_value)
        return cache

    def forward(
        self, y: Tensor, tau: Tensor, condition: Tensor, context: Tensor, mask: Tensor,
        cache: list[KeyValue], given: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """y (B, R, H, K), tau (B, R), condition (B, C), context (B, T, C) and its cache to data (B, R, H, K).

        given: bool (B, R, H), the steps of y that are actions and not noise.
        """
        x, modulation = self._embed(y, tau, condition, given)
        bias = _bias(mask)
        if self.config.mask != "joint":
            for block, key_value in zip(self.blocks, cache):
                x, _ = block(x, bias, modulation, key_value)
            return self._read_out(x, modulation)
        R, H = y.shape[1], y.shape[2]
        joint = torch.cat([context[:, None].expand(-1, R, -1, -1), x], 2)
        bias = _bias(torch.cat([mask, mask.new_ones(len(mask), H)], 1)).repeat_interleave(R, 0)
        for block in self.blocks:
            joint, _ = block(joint, bias, modulation)
        return self._read_out(joint[:, :, -H:], modulation)

    def _embed(
        self, y: Tensor, tau: Tensor, condition: Tensor, given: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = self.action_in(y.to(self.step_embed.dtype))  # as wide as the weights
        x = x + self.step_embed[: y.shape[2]].to(x.dtype)
        if given is not None and self.given_embed is not None:
            x = x + given[..., None] * self.given_embed.to(x.dtype)
        wave = sinusoid(tau, 256).to(condition.dtype)
        modulation = F.silu(self.time_embed(wave) + condition[:, None])  # (B, R, C)
        return x, modulation[:, :, None]

    def _read_out(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = self.modulate_out(modulation).chunk(2, -1)
        return self.action_out(self.norm_out(x) * (1 + scale) + shift)


class Block(nn.Module):
    """One transformer block whose weights serve context and action tokens alike."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)  # the context may be read without a query
        self.proj = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * ffn, bias=False)
        self.down = nn.Linear(ffn, width, bias=False)
        self.modulation = nn.Linear(width, 6 * width)
        self.register_load_state_dict_pre_hook(_split_qkv)

    def forward(
        self, x: Tensor, bias: Tensor, modulation: Tensor | None = None, context: KeyValue | None = None,
        only_read: bool = False,
    ) -> tuple[Tensor, KeyValue]:  # fmt: skip
        """Tokens through the block, and the keys and values (n, heads, T, d) that they showed.

        Without modulation x is context (B, T, C), left as it is where it is `only_read`. With it, x holds
        actions (B, R, H, C) that see the context's keys and values and their own draw's actions; without
        `context`, x (B, R, T + H, C) is both, and all see all. bias: over the context's, or all, keys.
        """
        if modulation is None:
            normed = self.norm1(x)
            k, v = self._heads(self.kv(normed), 2)
            if only_read:
                return x, (k, v)
            (q,) = self._heads(self.q(normed), 1)
            x = x + self._merge(attention(q, k, v, bias))
            return x + self._ffn(self.norm2(x)), (k, v)
        B, R = x.shape[:2]
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(modulation).chunk(6, -1)
        normed = torch.addcmul(shift1, self.norm1(x), 1 + scale1).flatten(0, 1)
        (q,) = self._heads(self.q(normed), 1)
        k, v = self._heads(self.kv(normed), 2)
        seen = attention(q, k, v, bias) if context is None else _attend_to_both(q, k, v, context, bias, R)
        x = x + gate1 * self._merge(seen).unflatten(0, (B, R))
        return x + gate2 * self._ffn(self.norm2(x) * (1 + scale2) + shift2), (k, v)

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(n, T, parts * C) to `parts` tensors (n, heads, T, d)."""
        return x.unflatten(-1, (parts, self.heads, -1)).transpose(1, 3).unbind(2)

    def _merge(self, x: Tensor) -> Tensor:
        return self.proj(x.transpose(1, 2).flatten(2))

    def _ffn(self, x: Tensor) -> Tensor:
        return self.down(swiglu(self.gate_up(x)))


def _attend_to_both(q: Tensor, k: Tensor, v: Tensor, context: KeyValue, bias: Tensor, draws: int) -> Tensor:
    """Actions (B R, heads, H, d) see the context (B, heads, T, d), which all draws share, and themselves."""
    H, R = q.shape[2], draws
    q = q * q.shape[-1] ** -0.5
    own = q @ k.transpose(-2, -1)  # (BR, heads, H, H)
    q = q.unflatten(0, (-1, R)).transpose(1, 2).flatten(2, 3)  # (B, heads, RH, d)
    seen = q @ context[0].transpose(-2, -1) + bias.to(q.dtype)
    seen = seen.unflatten(2, (R, H)).transpose(1, 2).flatten(0, 1)  # (BR, heads, H, T)
    weights = torch.cat([seen, own], -1).softmax(-1)
    seen, own = weights.split([seen.shape[-1], H], -1)
    read = seen.unflatten(0, (-1, R)).transpose(1, 2).flatten(2, 3) @ context[1]  # (B, heads, RH, d)
    return read.unflatten(2, (R, H)).transpose(1, 2).flatten(0, 1) + own @ v


def _split_qkv(block: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights from before queries had a matrix of their own."""
    if (whole := state.pop(f"{prefix}qkv.weight", None)) is not None:
        width = whole.shape[1]
        state[f"{prefix}q.weight"], state[f"{prefix}kv.weight"] = whole[:width], whole[width:]


def sinusoid(position: Tensor, width: int) -> Tensor:
    """Positions (...,) in [0, 1] to sinusoids (..., width)."""
    half = width // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, device=position.device) / half)
    angle = 1000 * position[..., None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


def _bias(mask: Tensor) -> Tensor:
    """bool (B, T) to an additive attention bias (B, 1, 1, T)."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -1e9)[:, None, None]
