"""Transformers' Qwen3.5 modules with their order of work changed, and nothing else.

`adopt` gives each module of a stock model the class of ours that has its name here; weights and their names
stay. Stock code loops over images in Python and leaves attention to kernels whose CPU backward is slow; here
all images of a batch go through the vision tower together, and attention is plain matrix products. Every
module does its work in `forward`, so that checkpointing, sharding, adapters and quantisation, which wrap a
module's call, find it there. A test holds that the numbers are transformers' own.

Axes: n images, B batch, T sequence, C width, side patches of an image's side, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.models.qwen3_5 import modeling_qwen3_5 as stock

from kinema.model import kernels
from kinema.model.tables import Tables


class RmsNorm(stock.Qwen3_5RMSNorm):
    """The zero-centred RMS norm, in x's own precision."""

    def forward(self, x: Tensor) -> Tensor:
        return kernels.rms_norm(x, (1.0 + self.weight).to(x.dtype), self.eps)


class TextAttention(stock.Qwen3_5Attention):
    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """x (B, T, C); cos, sin (1 or B, 1, T, d); additive bias (B, 1, T, S), S all tokens so far."""
        shape = (*x.shape[:-1], -1, self.head_dim)
        q, gate = self.q_proj(x).view(*x.shape[:-1], -1, self.head_dim * 2).chunk(2, -1)
        q = rotate(self.q_norm(q).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x).view(shape)).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(shape).transpose(1, 2)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        out = kernels.attention(q, k, v, bias).transpose(1, 2).flatten(2)
        return self.o_proj(out * torch.sigmoid(gate.flatten(2)))


class TextLayer(stock.Qwen3_5DecoderLayer):
    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, mask: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """As `TextAttention`; mask: bool (B, T), what linear attention may see."""
        normed = self.input_layernorm(x)
        if self.block_type == "full_attention":
            x = x + self.self_attn(normed, cos, sin, bias, cache)
        else:
            x = x + self.linear_attn(hidden_states=normed, attention_mask=mask, cache_params=cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class TextTower(stock.Qwen3_5TextModel):
    def forward(self, x: Tensor, mask: Tensor, position_ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Embeddings (B, T, C), bool mask (B, S), positions (3, T) or (3, B, T) to the last hidden states
        (B, T, C).

        cache: of the S - T tokens before these, which are added to it; without one S is T
        """
        shared = position_ids.ndim == 2
        cos, sin = self.rotary_emb(x.float(), position_ids[:, None] if shared else position_ids)
        cos, sin = cos[:, None], sin[:, None]  # the same for every head
        T, S = x.shape[1], mask.shape[1]
        causal = torch.ones(S, S, dtype=torch.bool, device=x.device).tril()[S - T :]
        allowed = causal & mask[:, None, None, :]
        # a padded row would attend to nothing and give NaN; let it see itself
        allowed = allowed | torch.eye(S, dtype=torch.bool, device=x.device)[S - T :]
        bias = torch.zeros(allowed.shape, dtype=x.dtype, device=x.device).masked_fill_(~allowed, -1e9)
        for layer in self.layers:
            x = layer(x, cos, sin, bias, mask[:, S - T :], cache)
        return self.norm(x)


class VisionAttention(stock.Qwen3_5VisionAttention):
    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (n, patches, C); cos, sin (patches, d)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.transpose(1, 3).unbind(2)  # (n, heads, patches, d)
        out = kernels.attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.proj(out.transpose(1, 2).flatten(2))


class VisionBlock(stock.Qwen3_5VisionBlock):
    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(stock.Qwen3_5VisionPatchEmbed):
    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, S, S) to (n, side, side, C): a Conv3d over repeated frames is the same as its time sum."""
        weight = self.proj.weight.sum(2)
        return F.conv2d(images, weight, self.proj.bias, stride=self.patch_size).permute(0, 2, 3, 1)


class VisionTower(stock.Qwen3_5VisionModel):
    _tables: Tables

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (n, 3, S, S) to merged image tokens (n, N, C).

        Where the tower's own patch embedding is taken out, x (n, side, side, c) are patches already.
        """
        if self.patch_embed is not None:
            x = self.patch_embed(x)
        count, side, merge = len(x), x.shape[1], self.spatial_merge_size
        # the merger wants the patches of one merged cell next to each other
        x = x.unflatten(2, (side // merge, merge)).unflatten(1, (side // merge, merge))
        x = x.permute(0, 1, 3, 2, 4, 5).flatten(1, 4)  # (n, side * side, c)
        x = x + self._positions(side).to(x.dtype)
        cos, sin = self._rotary(side, x.device)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.merger(x).unflatten(0, (count, -1))

    def _merge_order(self, side: int, device: torch.device) -> Tensor:
        """Row and column (2, side * side) of each patch, in the merger's order."""
        merge = self.spatial_merge_size
        cells = torch.arange(side * side, device=device).view(side, side)
        order = cells.view(side // merge, merge, side // merge, merge).permute(0, 2, 1, 3).flatten()
        return torch.stack([order // side, order % side])

    def _positions(self, side: int) -> Tensor:
        """The learnt square position grid, resampled bilinearly (corners aligned) to this image's grid."""
        learnt = self.num_grid_per_side
        grid = self.pos_embed.weight.view(learnt, learnt, -1)
        if learnt != side:
            grid = F.interpolate(
                grid.permute(2, 0, 1)[None], size=(side, side), mode="bilinear", align_corners=True
            )[0].permute(1, 2, 0)
        row, column = self._merge_order(side, grid.device)
        return grid[row, column]

    def _rotary(self, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
        def make() -> tuple[Tensor, Tensor]:
            positions = self._merge_order(side, device)
            freqs = positions[..., None].float() * self.rotary_pos_emb.inv_freq.to(device)
            half = torch.cat([freqs[0], freqs[1]], -1)
            angle = torch.cat([half, half], -1)
            return angle.cos(), angle.sin()

        return self._tables.get((side, device), make)


_OURS: dict[type[nn.Module], type[nn.Module]] = {
    ours.__mro__[1]: ours
    for ours in (
        RmsNorm, TextAttention, TextLayer, TextTower, VisionAttention, VisionBlock, PatchEmbed, VisionTower
    )
}  # fmt: skip


def adopt(qwen: stock.Qwen3_5Model) -> None:
    """Give the modules of a stock model our classes, in place."""
    for module in qwen.modules():
        module.__class__ = _OURS.get(type(module), type(module))
    qwen.visual._tables = Tables()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of the first cos.shape[-1] channels, in x's own precision."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    turned, rest = x.split([cos.shape[-1], x.shape[-1] - cos.shape[-1]], -1)
    a, b = turned.chunk(2, -1)
    ca, cb = cos.chunk(2, -1)
    sa, sb = sin.chunk(2, -1)
    parts = [a * ca - b * sa, b * cb + a * sb]
    return torch.cat([*parts, rest] if rest.shape[-1] else parts, -1)
