"""The world model: what will be seen if a sentence is carried out, as a film in the video code's latents.

    first pictures, sentence -> frozen backbone -> Understood -> connector -> text stream and guide
    noisy latents, tau       -> double-stream transformer       -> clean latents

Segments: the one that is made at flow time tau, and those that are given at flow time 0, without loss. The
first picture's latent is given (image and text to video); nothing (text to image, text to video); or a scene
and a robot (Scene2Robot). The small model differs from the published one in three ways, because of size: it
predicts the clean latents instead of the velocity (`model/policy/flow.py` says why), as what they add to
those of a film in which nothing moves; it is shown that film's latents beside the noisy ones; and every token
gets the connector's guide. `full` has the stock architecture, without still film and guide, and predicts the
velocity; but it is trained here by the small model's loss, on the clean latents (a velocity's error times
tau) and more where something moves, so not as published.

Axes: B batch, C latent channels, T latent frames, h x w latents of the canvas, N video tokens, V views.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor, nn

from kinema.data.batch import Tensors
from kinema.model.policy.flow import MIN_TAU
from kinema.model.world import mmdit
from kinema.model.world.connector import Connector
from kinema.model.world.mmdit import Segment
from kinema.model.world.understanding import Understood


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """transformer, connector: keys of their classes. patch: latents per side of a token.

    still: predict what is added to a film in which nothing moves. shift: at 256 and at 4096 tokens, how far
    flow times are moved to the noise end. moving: weight of latents that move against those that stand.
    """

    transformer: dict
    connector: dict
    patch: int = 1
    still: bool = True
    shift: tuple[float, float] = (20.0, 32.0)
    moving: float = 6.0
    dropped: float = 0.1
    sample_steps: int = 4
    guidance: float = 1.0

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict) -> WorldConfig:
        """What `to_json` gave, its lists tuples again: equal to the configuration it came from."""
        return cls(**_with_tuples(data))


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class Scene(Tensors):
    """What is known before anything is imagined.

    given: segments (B, C, T_k, h, w) at flow time 0; still: latents (B, C, T, h, w) of the film to be made if
    nothing moves, zero where there is no first picture
    """

    given: tuple[Tensor, ...]
    still: Tensor
    understood: Understood

    def __len__(self) -> int:
        return len(self.still)


class WorldModel(nn.Module):
    """Transformer and connector: what is trained. The video code and the backbone stay outside, frozen."""

    def __init__(
        self, config: WorldConfig, transformer: QwenImageTransformer2DModel | None = None,
        connector: Connector | None = None,
    ) -> None:  # fmt: skip
        """`transformer` and `connector`: loaded ones, instead of fresh ones from the configuration."""
        super().__init__()
        self.config = config
        self.connector = connector or Connector(**config.connector)
        laid_out = self.connector.local is not None and self.connector.pictures is not None
        grid = self.connector.config.grid if laid_out else 0
        self.transformer = (
            mmdit.fit(transformer, grid) if transformer else mmdit.build(config.transformer, grid)
        )

    # --- training -----------------------------------------------------------------------------------

    def forward(self, scene: Scene, wanted: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Weighted squared error of the predicted latents; `wanted` (B, C, T, h, w) is the true segment.

        Tokens where the truth differs from the still film weigh `moving` times as much: a moving hand is
        some ten of two hundred tokens, and without this the model learns the wallpaper first.
        """
        B = len(wanted)
        added = wanted - scene.still
        noise = torch.randn(added.shape, generator=generator).to(added.device)
        tau = self.draw_tau(B, added[0, 0].numel() // self.config.patch**2, generator).to(added.device)
        dropped = (torch.rand(B, generator=generator) < self.config.dropped).to(added.device)
        at = tau.view(-1, 1, 1, 1, 1)
        noisy = (1 - at) * added + at * noise
        found = self.predict(scene, noisy, tau, dropped).float()
        energy = self._tokens(added**2).mean(-1)  # (B, N)
        weight = 1 + (self.config.moving - 1) * (energy / (energy + 0.1))
        weight = weight / weight.mean()
        return (self._tokens((found - added) ** 2).mean(-1) * weight).mean()

    def draw_tau(self, count: int, tokens: int, generator: torch.Generator | None) -> Tensor:
        """Flow times (count,): logit-normal, moved to the noise end the more the longer the sequence."""
        u = torch.randn(count, generator=generator).sigmoid()
        return shifted(u, self.shift_for(tokens)).clamp_min(MIN_TAU)

    def shift_for(self, tokens: int) -> float:
        at_256, at_4096 = self.config.shift
        return max(1.0, at_256 + (at_4096 - at_256) * (tokens - 256) / (4096 - 256))

    # --- prediction ---------------------------------------------------------------------------------

    def predict(self, scene: Scene, noisy: Tensor, tau: Tensor, dropped: Tensor) -> Tensor:
        """What is added to the still film (B, C, T, h, w), from noisy latents and flow times (B,)."""
        stream, mask, guide = self.connector(scene.understood, dropped)
        return self._predict(scene, noisy, tau, stream, mask, guide)

    def _predict(
        self, scene: Scene, noisy: Tensor, tau: Tensor, stream: Tensor, mask: Tensor, guide: Tensor | None
    ) -> Tensor:
        T, rows, columns = noisy.shape[2], *(side // self.config.patch for side in noisy.shape[3:])
        segments = [(noisy, scene.still), *((given, given) for given in scene.given)]
        tokens = torch.cat([self._as_tokens(x, still, guide) for x, still in segments], 1)
        shapes: list[Segment] = [(x.shape[2], rows, columns) for x, _ in segments]
        out = self.transformer(
            hidden_states=tokens,
            encoder_hidden_states=stream,
            encoder_hidden_states_mask=mask,
            timestep=tau,
            img_shapes=[shapes] * len(noisy),
            return_dict=False,
        )[0]
        found = latents_of(out[:, : T * rows * columns].float(), T, rows, columns, self.config.patch)
        return found if self.config.still else noisy - tau.view(-1, 1, 1, 1, 1) * found

    def _as_tokens(self, x: Tensor, still: Tensor, guide: Tensor | None) -> Tensor:
        """(B, C, T, h, w) to (B, N, channels): the latents, the still film's, and the guide of the cell."""
        parts = [self._tokens(x)]
        if self.config.still:
            parts.append(self._tokens(still))
        if guide is not None:
            B, V, cells, K = guide.shape
            side = round(cells**0.5)
            canvas = guide.view(B, V, side, side, K).transpose(1, 2).reshape(B, 1, side, V * side, K)
            parts.append(canvas.expand(B, x.shape[2], side, V * side, K).flatten(1, 3).to(parts[0].dtype))
        return torch.cat(parts, -1)

    def _tokens(self, x: Tensor) -> Tensor:
        return tokens_of(x, self.config.patch)

    # --- sampling -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def sample(
        self, scene: Scene, noise: Tensor, *, steps: int | None = None, guidance: float | None = None
    ) -> Tensor:
        """The imagined latents (B, C, T, h, w) from noise of that shape, by Euler steps."""
        steps, scale = steps or self.config.sample_steps, guidance or self.config.guidance
        nobody = torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
        told = self.connector(scene.understood, nobody)
        untold = self.connector(scene.understood, ~nobody) if scale != 1.0 else None
        grid = shifted(
            torch.linspace(1, 0, steps + 1), self.shift_for(noise[0, 0].numel() // self.config.patch**2)
        ).tolist()
        x = noise
        for now, then in pairwise(grid):
            tau = torch.full((len(x),), now, device=x.device)
            clean = self._predict(scene, x, tau, *told)
            if untold is not None:
                alone = self._predict(scene, x, tau, *untold)
                clean = alone + scale * (clean - alone)
            x = clean + (x - clean) * (then / now)
        return x + scene.still


def shifted(u: Tensor, shift: float) -> Tensor:
    """Flow times moved to the noise end (1): the map that keeps 0 and 1 and takes 1/2 to shift/(1+shift)."""
    return shift * u / (1 + (shift - 1) * u)


def tokens_of(x: Tensor, patch: int) -> Tensor:
    """Latents (B, C, T, h, w) to (B, N, C * patch^2), channels outermost as in the stock pipeline."""
    B, C, T, h, w = x.shape
    cells = x.reshape(B, C, T, h // patch, patch, w // patch, patch)
    return cells.permute(0, 2, 3, 5, 1, 4, 6).reshape(B, -1, C * patch**2)


def latents_of(tokens: Tensor, T: int, rows: int, columns: int, patch: int) -> Tensor:
    """What undoes `tokens_of`."""
    B, _, channels = tokens.shape
    cells = tokens.view(B, T, rows, columns, channels // patch**2, patch, patch)
    return cells.permute(0, 4, 1, 2, 5, 3, 6).reshape(B, -1, T, rows * patch, columns * patch)
