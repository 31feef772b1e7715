"""The vision-language backbone: transformers' Qwen3.5 classes, run over batches of fixed-size images.

The modules and the names of their weights are transformers' own; only the order of work differs. Stock code
loops over images in Python and leaves attention to kernels whose CPU backward is slow; here all images of a
batch go through the vision tower together and attention is plain matrix products. A test holds that both give
the same numbers.

The sequence is: text (left-padded), then per view <|tag_start|> image tokens <|tag_end|>. Text comes first
so that, under the causal mask, image tokens know the instruction and can carry what it points at.

Axes: B batch, V views, N image tokens per view, L text tokens, T = L + V (N + 2) sequence, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5Config
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model, Qwen3_5RMSNorm

from kinema.model import kernels
from kinema.model.tables import Tables


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the action decoder reads: hidden states (B, T, C), their mask, and where the images lie."""

    hidden: Tensor  # (B, T, C)
    mask: Tensor  # bool (B, T)
    image_tokens: Tensor  # (B, V, N, C): the same hidden states, by view
    grid: int  # image tokens per side: N = grid * grid


class ConvStem(nn.Module):
    """Convolutions instead of one patch projection (Xiao et al. 2021, arXiv 2106.14881).

    Images (n, 3, S, S) in [-1, 1] to patch tokens (n, S / 16, S / 16, C). The first convolution does not
    overlap: it shrinks the picture where memory traffic, not arithmetic, is what costs.
    """

    PATCH = 16

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 48, 4, stride=4),
                nn.Conv2d(48, 96, 3, stride=2, padding=1),
                nn.Conv2d(96, 96, 3, padding=1),
                nn.Conv2d(96, 192, 3, stride=2, padding=1),
            ]
        )
        self.proj = nn.Conv2d(192, width, 1)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = images.contiguous(memory_format=torch.channels_last)
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.proj(x).permute(0, 2, 3, 1)


class Backbone(nn.Module):
    """A Qwen3.5 model with an optional convolutional stem.

    tag_ids: for each view name tag, the (start, end) token ids that wrap its image.
    """

    def __init__(self, config: Qwen3_5Config, image_size: int, conv_stem: bool) -> None:
        super().__init__()
        vision = config.vision_config
        if image_size % (vision.patch_size * vision.spatial_merge_size):
            raise ValueError(
                f"image_size {image_size} must be a multiple of patch x merge = "
                f"{vision.patch_size} x {vision.spatial_merge_size}"
            )
        if conv_stem and vision.patch_size != ConvStem.PATCH:
            raise ValueError(
                f"the convolutional stem makes patches of {ConvStem.PATCH}, config says {vision.patch_size}"
            )
        self.config = config
        self.qwen = Qwen3_5Model(config)
        self.patches = image_size // vision.patch_size
        self.grid = self.patches // vision.spatial_merge_size
        self.stem: ConvStem | None = None
        if conv_stem:
            self.stem = ConvStem(vision.hidden_size)
            del self.qwen.visual.patch_embed
        self._rotary = Tables()

    @property
    def width(self) -> int:
        return self.config.text_config.hidden_size

    def forward(
        self, images: Tensor, image_mask: Tensor, tokens: Tensor, token_mask: Tensor, tags: Tensor
    ) -> Context:
        """images uint8 (B, V, 3, S, S); masks as in `Inputs`; tags int64 (B, V, 2) wrap ids."""
        B, V = images.shape[:2]
        image_tokens = self.embed_images(images.flatten(0, 1)).unflatten(0, (B, V))  # (B, V, N, C)
        N, L = image_tokens.shape[2], tokens.shape[1]
        embed = self.qwen.language_model.embed_tokens
        start, end = embed(tags).split(1, 2)  # (B, V, 1, C) each
        views = torch.cat(
            [start.to(image_tokens.dtype), image_tokens, end.to(image_tokens.dtype)], 2
        ).flatten(1, 2)
        sequence = torch.cat([embed(tokens).to(views.dtype), views], 1)
        mask = torch.cat([token_mask, image_mask.repeat_interleave(N + 2, 1)], 1)
        hidden = self.run_text(sequence, mask, self.position_ids(L, V, tokens.device))
        by_view = hidden[:, L:].unflatten(1, (V, N + 2))[:, :, 1:-1]
        return Context(hidden=hidden, mask=mask, image_tokens=by_view, grid=self.grid)

    # --- vision -------------------------------------------------------------------------------------

    def embed_images(self, images: Tensor) -> Tensor:
        """uint8 (n, 3, S, S) to merged image tokens (n, N, C)."""
        visual = self.qwen.visual
        x = images.to(visual.pos_embed.weight.dtype) / 127.5 - 1.0
        merge, side = visual.spatial_merge_size, self.patches
        x = self.stem(x) if self.stem else self._patch_embed(x)  # (n, side, side, c)
        # the merger wants the patches of one merged cell next to each other
        x = x.unflatten(2, (side // merge, merge)).unflatten(1, (side // merge, merge))
        x = x.permute(0, 1, 3, 2, 4, 5).flatten(1, 4)  # (n, side * side, c)
        x = x + self._vision_positions(x.device).to(x.dtype)
        cos, sin = self._vision_rotary(x.device)
        for block in visual.blocks:
            x = x + _vision_attention(block.attn, block.norm1(x), cos, sin)
            x = x + block.mlp(block.norm2(x))
        return visual.merger(x).unflatten(0, (len(images), -1))

    def _patch_embed(self, x: Tensor) -> Tensor:
        proj = self.qwen.visual.patch_embed.proj  # a Conv3d over repeated frames: the same as its time sum
        return F.conv2d(x, proj.weight.sum(2), proj.bias, stride=self.qwen.visual.patch_size).permute(
            0, 2, 3, 1
        )

    def _merge_order(self, device: torch.device) -> Tensor:
        """Row and column (2, side * side) of each patch, in the merger's order."""
        merge, side = self.qwen.visual.spatial_merge_size, self.patches
        cells = torch.arange(side * side, device=device).view(side, side)
        order = cells.view(side // merge, merge, side // merge, merge).permute(0, 2, 1, 3).flatten()
        return torch.stack([order // side, order % side])

    def _vision_positions(self, device: torch.device) -> Tensor:
        """The learnt square position grid, resampled bilinearly (corners aligned) to this image's grid."""
        visual, side = self.qwen.visual, self.patches
        grid = visual.pos_embed.weight.view(visual.num_grid_per_side, visual.num_grid_per_side, -1)
        if visual.num_grid_per_side != side:
            grid = F.interpolate(
                grid.permute(2, 0, 1)[None], size=(side, side), mode="bilinear", align_corners=True
            )[0].permute(1, 2, 0)
        row, column = self._merge_order(device)
        return grid[row, column]

    def _vision_rotary(self, device: torch.device) -> tuple[Tensor, Tensor]:
        def make() -> tuple[Tensor, Tensor]:
            positions = self._merge_order(device)
            rotary = self.qwen.visual.rotary_pos_emb
            freqs = positions[..., None].float() * rotary.inv_freq.to(device)
            half = torch.cat([freqs[0], freqs[1]], -1)
            angle = torch.cat([half, half], -1)
            return angle.cos(), angle.sin()

        return self._rotary.get(device, make)

    # --- text ---------------------------------------------------------------------------------------

    def position_ids(self, num_text: int, num_views: int, device: torch.device) -> Tensor:
        """(3, T) time, height, width. Rotary positions are relative, so left padding moves nothing."""
        text = torch.arange(num_text)
        parts, begin = [text.expand(3, -1)], num_text
        cells = torch.arange(self.grid * self.grid)
        for _ in range(num_views):
            time = torch.full_like(cells, begin + 1)
            image = torch.stack([time, begin + 1 + cells // self.grid, begin + 1 + cells % self.grid])
            after = begin + 1 + self.grid
            parts += [torch.full((3, 1), begin), image, torch.full((3, 1), after)]
            begin = after + 1
        return torch.cat(parts, 1).to(device)

    def run_text(self, x: Tensor, mask: Tensor, position_ids: Tensor) -> Tensor:
        """Embeddings (B, T, C), bool mask (B, T), positions (3, T) to the last hidden states (B, T, C)."""
        model = self.qwen.language_model
        cos, sin = model.rotary_emb(x.float(), position_ids[:, None])
        cos, sin = cos[:, None], sin[:, None]  # the same for every head
        T = x.shape[1]
        causal = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        allowed = causal & mask[:, None, None, :]
        # a padded row would attend to nothing and give NaN; let it see itself
        allowed = allowed | torch.eye(T, dtype=torch.bool, device=x.device)
        bias = torch.zeros(allowed.shape, dtype=x.dtype, device=x.device).masked_fill_(~allowed, -1e9)
        for layer in model.layers:
            normed = rms_norm(layer.input_layernorm, x)
            if layer.block_type == "full_attention":
                x = x + _text_attention(layer.self_attn, normed, cos, sin, bias)
            else:
                x = x + layer.linear_attn(hidden_states=normed, attention_mask=mask)
            x = x + layer.mlp(rms_norm(layer.post_attention_layernorm, x))
        return rms_norm(model.norm, x)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Plain attention (B, heads, T, d): the CPU's fused kernel is several times slower backward in bf16."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, None if bias is None else bias.to(q.dtype))
    return kernels.attention(q, k, v, None if bias is None else bias.to(q.dtype))


def rms_norm(norm: Qwen3_5RMSNorm, x: Tensor) -> Tensor:
    """The stock zero-centred RMS norm, in x's own precision."""
    return kernels.rms_norm(x, (1.0 + norm.weight).to(x.dtype), norm.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of the first cos.shape[-1] channels, in x's own precision."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    turned, rest = x.split([cos.shape[-1], x.shape[-1] - cos.shape[-1]], -1)
    a, b = turned.chunk(2, -1)
    ca, cb = cos.chunk(2, -1)
    sa, sb = sin.chunk(2, -1)
    parts = [a * ca - b * sa, b * cb + a * sb]
    return torch.cat([*parts, rest] if rest.shape[-1] else parts, -1)


def _vision_attention(attn: nn.Module, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    qkv = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1))
    q, k, v = qkv.transpose(1, 3).unbind(2)  # (n, heads, tokens, d)
    out = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
    return attn.proj(out.transpose(1, 2).flatten(2))


def _text_attention(attn: nn.Module, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor) -> Tensor:
    shape = (*x.shape[:-1], -1, attn.head_dim)
    q, gate = attn.q_proj(x).view(*x.shape[:-1], -1, attn.head_dim * 2).chunk(2, -1)
    q = rotate(rms_norm(attn.q_norm, q).transpose(1, 2), cos, sin)
    k = rotate(rms_norm(attn.k_norm, attn.k_proj(x).view(shape)).transpose(1, 2), cos, sin)
    v = attn.v_proj(x).view(shape).transpose(1, 2)
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    out = attend(q, k, v, bias).transpose(1, 2).flatten(2)
    return attn.o_proj(out * torch.sigmoid(gate.flatten(2)))
