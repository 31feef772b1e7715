"""The double-stream transformer of the world model: diffusers' class, with two parts of our own in it.

`SegmentRope` gives every segment of the video stream its own range of temporal indices (the stock one lets
them overlap) and sets picture tokens of the context on the cells they look at. `PlainAttention` is the stock
joint attention as matmul, softmax, matmul in the stream's own precision: on the CPU the fused kernel is
several times slower backward in bf16, and the stock rotation goes through complex floats.

Axes: B batch, L context tokens, N video tokens, H heads, d channels of a head, D = d / 2 rotary pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from kinema.model.kernels import attention
from kinema.model.policy.qwen import rotate
from kinema.model.tables import Tables

Segment = tuple[int, int, int]  # latent frames, rows and columns of tokens
_THETA = 10000.0
_BEFORE = -1  # the temporal index of the context's pictures: a range of their own, before every segment


class SegmentRope(nn.Module):
    """Rotary frequencies of segments and context, called as the stock position embedding is.

    The first segment is the one that is made; the others are given and come before it in time, in their
    order. Rows and columns count from the middle, as in the stock class. Context words go along the diagonal
    behind everything; the last picture tokens, `grid` x `grid` for each view, lie where they look.
    """

    def __init__(self, axes: Sequence[int], grid: int = 0) -> None:
        super().__init__()
        self.axes, self.grid = tuple(axes), grid
        self._tables = Tables()

    def forward(
        self, video_fhw: list[list[Segment]], max_txt_seq_len: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Complex (N, D) and (L, D); every sample of a batch has the same segments."""
        segments = tuple(tuple(segment) for segment in video_fhw[0])

        def make() -> tuple[Tensor, Tensor]:
            video = positions(segments)
            words = context_positions(segments, int(max_txt_seq_len), self.grid)
            return self._turned(video).to(device), self._turned(words).to(device)

        return self._tables.get((segments, int(max_txt_seq_len), str(device)), make)

    def _turned(self, where: Tensor) -> Tensor:
        angles = []
        for axis, size in enumerate(self.axes):
            speed = _THETA ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
            angles.append(where[:, axis, None].double() * speed)
        angle = torch.cat(angles, 1)
        return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def positions(segments: Sequence[Segment]) -> Tensor:
    """int64 (N, 3): time, row and column of every video token, in the order of the segments."""
    made, *given = segments
    begins, at = [], 0
    for frames, _, _ in given:
        begins.append(at)
        at += frames
    parts = []
    for begin, (frames, rows, columns) in zip([at, *begins], [made, *given]):
        time, row, column = torch.meshgrid(
            begin + torch.arange(frames), _from_middle(rows), _from_middle(columns), indexing="ij"
        )
        parts.append(torch.stack([time, row, column], -1).view(-1, 3))
    return torch.cat(parts)


def context_positions(segments: Sequence[Segment], length: int, grid: int) -> Tensor:
    """int64 (L, 3): words along the diagonal, then the picture tokens of all views."""
    rows, columns = segments[0][1:]
    pictures = torch.zeros(0, 3, dtype=torch.int64)
    if grid and length >= (columns // grid) * grid * grid:
        views = columns // grid
        row = _from_middle(rows)[:grid]
        column = _from_middle(columns)[: views * grid].view(views, 1, grid).expand(views, grid, grid)
        row = row[None, :, None].expand(views, grid, grid)
        pictures = torch.stack([torch.full_like(row, _BEFORE), row, column], -1).reshape(-1, 3)
    # words begin where no video token can be, in any axis
    first = max(sum(frames for frames, _, _ in segments), rows, columns)
    words = (first + torch.arange(length - len(pictures)))[:, None].expand(-1, 3)
    return torch.cat([words, pictures])


def _from_middle(count: int) -> Tensor:
    return torch.arange(count) - (count - count // 2)


class PlainAttention:
    """The stock joint attention of both streams without fused kernels or complex numbers."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video (B, N, H * d) and context (B, L, H * d) tokens to the same shapes; mask bool (B, L)."""
        assert attention_mask is None
        assert image_rotary_emb is not None
        d, L = attn.inner_dim // attn.heads, encoder_hidden_states.shape[1]

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (-1, d)).transpose(1, 2)  # (B, H, tokens, d)

        freqs = torch.cat([image_rotary_emb[1], image_rotary_emb[0]])
        q = torch.cat(
            [
                attn.norm_added_q(heads(attn.add_q_proj(encoder_hidden_states))),
                attn.norm_q(heads(attn.to_q(hidden_states))),
            ],
            2,
        )
        k = torch.cat(
            [
                attn.norm_added_k(heads(attn.add_k_proj(encoder_hidden_states))),
                attn.norm_k(heads(attn.to_k(hidden_states))),
            ],
            2,
        )
        v = torch.cat([heads(attn.add_v_proj(encoder_hidden_states)), heads(attn.to_v(hidden_states))], 2)
        q, k = turn(q, freqs), turn(k, freqs)
        bias = None
        if encoder_hidden_states_mask is not None:
            hidden = torch.zeros(len(q), q.shape[2], dtype=q.dtype, device=q.device)
            hidden[:, :L] = torch.where(encoder_hidden_states_mask, 0.0, -1e9).to(q.dtype)
            bias = hidden[:, None, None]
        out = attention(q.to(v.dtype), k.to(v.dtype), v, bias).transpose(1, 2).flatten(2)
        video = attn.to_out[1](attn.to_out[0](out[:, L:]))
        return video, attn.to_add_out(out[:, :L])


def turn(x: Tensor, freqs: Tensor) -> Tensor:
    """Rotate neighbouring channels (B, H, tokens, d) by complex freqs (tokens, D), in x's own precision."""
    pairs = x.unflatten(-1, (-1, 2))
    halves = rotate(torch.cat([pairs[..., 0], pairs[..., 1]], -1), _twice(freqs.real), _twice(freqs.imag))
    return torch.stack(halves.chunk(2, -1), -1).flatten(-2)


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x], -1)


def build(config: dict, grid: int, *, plain: bool = True) -> QwenImageTransformer2DModel:
    """The stock class from its own keys, with conditions at flow time 0 and segments of their own.

    `plain` replaces the attention; the numbers are the same.
    """
    return fit(QwenImageTransformer2DModel(**(config | {"zero_cond_t": True})), grid, plain=plain)


def fit(
    transformer: QwenImageTransformer2DModel, grid: int, *, plain: bool = True
) -> QwenImageTransformer2DModel:
    """Put our two parts into a stock transformer, freshly built or loaded."""
    transformer.pos_embed = SegmentRope(transformer.config.axes_dims_rope, grid)
    if plain:
        transformer.set_attn_processor(PlainAttention())
    return transformer
