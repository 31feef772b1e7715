"""From what was understood to what the transformer reads: its text stream, and a guide on every cell.

The nano backbone's picture cells and the transformer's video tokens are the same 16 px squares. So beside the
text stream of words, points and pictures, each video token is told what the backbone saw in its own square,
and how far from it the named thing and its goal are pointed at. A network of this size would otherwise spend
its whole training on finding that correspondence by attention.

Axes: B batch, L words, V views, N = g * g cells, P points, C backbone width, J joint width, K guide channels.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from kinema.model.world.understanding import WORDS, Understood

Conditioning = Literal["multimodal", "text", "none"]
_POINT = 3  # u, v, visible


class Connector(ModelMixin, ConfigMixin):
    """`conditioning` says what is told: all of it, the words alone (the baseline), or nothing.

    Without `pictures_in_stream` the guide alone tells what the pictures hold: a third less to attend to.
    """

    @register_to_config
    def __init__(
        self, width: int, joint: int, guide: int = 32, grid: int = 6, points: int = 2, max_views: int = 4,
        conditioning: str = "multimodal", pictures_in_stream: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if conditioning not in get_args(Conditioning):
            raise ValueError(f"unknown conditioning {conditioning!r}; choices: {get_args(Conditioning)}")
        self.words = _two_layers(width, joint)
        self.pictures = _two_layers(width, joint) if pictures_in_stream else None
        self.point = _two_layers(_POINT, joint)
        self.which = nn.Parameter(torch.randn(max_views, max(points, 1), joint) * 0.02)
        self.nothing = nn.Parameter(torch.zeros(joint))
        self.local = nn.Linear(width + 4 * points, guide) if guide else None

    def forward(self, understood: Understood, dropped: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Text stream (B, L', J), its mask (B, L') and the guide (B, V, N, K), nothing where `dropped` (B,).

        The points stand behind the first words, where they are whatever the longest sentence of the batch.
        The pictures' tokens come last, view by view, which is where the rotary embedding expects them.
        """
        u, config = understood, self.config
        told = ~dropped if config.conditioning != "none" else torch.zeros_like(dropped)
        sees = told & u.seen if config.conditioning == "multimodal" else torch.zeros_like(told)
        B, V, N = u.pictures.shape[:3]
        pictures, where = u.pictures.to(self.dtype), u.where.to(self.dtype)
        points = self.point(where[..., N:]) + self.which[:V, : where.shape[2]]
        words, seen = u.word_mask & told[:, None], sees[:, None]
        said = self.words(u.words.to(self.dtype))
        stream = [self.nothing.expand(B, 1, -1), said[:, :WORDS], points.flatten(1, 2), said[:, WORDS:]]
        mask = [torch.ones_like(seen), words[:, :WORDS], seen.expand(B, V * where.shape[2]), words[:, WORDS:]]
        if self.pictures is not None:
            stream.append(self.pictures(pictures).flatten(1, 2))
            mask.append(seen.expand(B, V * N))
        return torch.cat(stream, 1), torch.cat(mask, 1), self._guide(pictures, where, sees)

    def _guide(self, pictures: Tensor, where: Tensor, sees: Tensor) -> Tensor | None:
        if self.local is None:
            return None
        guide = self.local(torch.cat([pictures, self._towards(where)], -1))
        return guide * sees[:, None, None, None].to(guide.dtype)

    def _towards(self, where: Tensor) -> Tensor:
        """From each cell to each point (B, V, N, 4 * P): probability of the cell, way there, visible."""
        grid = self.config.grid
        cells, uv, visible = where.split([grid**2, 2, 1], -1)
        along = (torch.arange(grid, device=uv.device, dtype=uv.dtype) + 0.5) / grid
        middle = torch.stack(torch.meshgrid(along, along, indexing="xy"), -1).view(-1, 2)  # u, v of a cell
        way = (uv[:, :, :, None] - middle) * visible[..., None]  # (B, V, P, N, 2)
        parts = torch.cat([cells[..., None] * 4, way * 2, visible[..., None].expand_as(way[..., :1])], -1)
        return parts.transpose(2, 3).flatten(3)


def _two_layers(width: int, joint: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, joint), nn.SiLU(), nn.Linear(joint, joint))
