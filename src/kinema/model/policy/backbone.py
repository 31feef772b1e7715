"""The vision-language backbone: transformers' Qwen3.5 classes, run over batches of fixed-size images.

The names of the weights are transformers' own, and so are the numbers; `qwen.py` has the order of work.

The sequence is: text (left-padded), then per view <|tag_start|> image tokens <|tag_end|>, then what closes
the turn of a model that was trained to chat, then, where words are wanted, the reply. Text comes first so
that, under the causal mask, image tokens know the instruction and can carry what it points at.

Axes: B batch, V views, N image tokens per view, L text tokens, A reply tokens, C width,
T = L + V (N + 2) + closing (+ A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model

from kinema.model.policy.qwen import adopt
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
    """A Qwen3.5 model with an optional convolutional stem."""

    def __init__(
        self, qwen: Qwen3_5Model, image_size: int, *, conv_stem: bool = False,
        image_mean: Sequence[float] = (0.5,) * 3, image_std: Sequence[float] = (0.5,) * 3,
        closing: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """qwen: a stock model, whose modules become ours; the rest as in `PolicyConfig`."""
        super().__init__()
        config = qwen.config
        vision = config.vision_config
        self.config = config
        self.check_size("image_size", image_size)
        if conv_stem and vision.patch_size != ConvStem.PATCH:
            raise ValueError(
                f"the convolutional stem makes patches of {ConvStem.PATCH}, config says {vision.patch_size}"
            )
        adopt(qwen)
        self.qwen = qwen
        self._mean, self._std, self._closing = image_mean, image_std, tuple(closing)
        self._tables = Tables()
        self.patches = image_size // vision.patch_size
        self.grid = self.patches // vision.spatial_merge_size
        self.stem: ConvStem | None = None
        if conv_stem:
            self.stem = ConvStem(vision.hidden_size)
            self.qwen.visual.patch_embed = None

    def check_size(self, what: str, size: int) -> None:
        """Raise ValueError for pictures of a size that the vision tower cannot read."""
        vision = self.config.vision_config
        if size % (vision.patch_size * vision.spatial_merge_size):
            raise ValueError(
                f"{what} {size} must be a multiple of patch x merge = "
                f"{vision.patch_size} x {vision.spatial_merge_size}"
            )

    @property
    def width(self) -> int:
        return self.config.text_config.hidden_size

    def forward(
        self, images: Tensor, image_mask: Tensor, tokens: Tensor, token_mask: Tensor, tags: Tensor,
        reply: Tensor | None = None, reply_mask: Tensor | None = None, cache: Cache | None = None,
    ) -> Context:  # fmt: skip
        """images (B, V, 3, S, S), bytes or in their range; masks as in `Inputs`; tags (B, V, 2) wrap ids.

        reply, reply_mask (B, A): as in `Replies`; cache: an empty one, for `go_on`
        """
        B, V = images.shape[:2]
        image_tokens = self.embed_images(images.flatten(0, 1)).unflatten(0, (B, V))  # (B, V, N, C)
        N, L = image_tokens.shape[2], tokens.shape[1]
        embed = self.qwen.language_model.embed_tokens
        start, end = embed(tags).split(1, 2)  # (B, V, 1, C) each
        views = torch.cat(
            [start.to(image_tokens.dtype), image_tokens, end.to(image_tokens.dtype)], 2
        ).flatten(1, 2)
        after = torch.tensor(self._closing, dtype=tokens.dtype, device=tokens.device).expand(B, -1)
        sequence = torch.cat([embed(tokens).to(views.dtype), views, embed(after).to(views.dtype)], 1)
        mask = torch.cat(
            [token_mask, image_mask.repeat_interleave(N + 2, 1), torch.ones_like(after, dtype=torch.bool)], 1
        )
        positions = self.position_ids(L, V, tokens.device)
        if reply is not None and reply_mask is not None:
            sequence = torch.cat([sequence, embed(reply).to(views.dtype)], 1)
            mask = torch.cat([mask, reply_mask], 1)
            positions = self._with_reply(positions, self.after_pictures(L, image_mask), reply.shape[1])
        hidden = self.qwen.language_model(sequence, mask, positions, cache)
        by_view = hidden[:, L : L + V * (N + 2)].unflatten(1, (V, N + 2))[:, :, 1:-1]
        return Context(hidden=hidden, mask=mask, image_tokens=by_view, grid=self.grid)

    def go_on(self, token: Tensor, mask: Tensor, position: Tensor, cache: Cache) -> Tensor:
        """The hidden states (B, C) of one more token (B,) at its position (B,).

        mask: bool (B, S) of all tokens up to this one; cache: of those before it
        """
        x = self.qwen.language_model.embed_tokens(token[:, None])
        hidden = self.qwen.language_model(x, mask, position[None, :, None].expand(3, -1, -1), cache)
        return hidden[:, 0]

    def after_pictures(self, num_text: int, image_mask: Tensor) -> Tensor:
        """The position (B,) after each row's own pictures: absent ones move nothing."""
        return num_text + image_mask.sum(1) * (self.grid + 2)

    def _with_reply(self, positions: Tensor, after: Tensor, length: int) -> Tensor:
        """Positions (3, B, T): up to the pictures those of all rows, then what follows a row's own."""
        follows = len(self._closing) + length
        shown = positions[:, None, : positions.shape[1] - len(self._closing)].expand(-1, len(after), -1)
        then = after[:, None] + torch.arange(follows, device=after.device)
        return torch.cat([shown, then.expand(3, -1, -1)], -1)

    def embed_images(self, images: Tensor) -> Tensor:
        """Bytes, or numbers in their range, (n, 3, S, S) to merged image tokens (n, N, C); n may be 0."""
        visual = self.qwen.visual
        if not len(images):
            return visual.pos_embed.weight.new_zeros(0, self.grid**2, self.width)
        scale, shift = self._tables.get(images.device, lambda: self._normalisation(images.device))
        x = (images / scale - shift).to(visual.pos_embed.weight.dtype)
        return visual(self.stem(x) if self.stem else x)

    def _normalisation(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """What a byte is divided by, and what is taken from it then (3, 1, 1)."""
        mean, std = (torch.tensor(x, device=device)[:, None, None] for x in (self._mean, self._std))
        return 255 * std, mean / std

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
        parts.append(begin + torch.arange(len(self._closing)).expand(3, -1))
        return torch.cat(parts, 1).to(device)
