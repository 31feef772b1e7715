"""The published video code: diffusers' causal 3D autoencoder, an eighth of each side, a quarter of frames.

Causal in time: the first latent frame holds the first picture alone, every later one the next four. It is
for released weights; what is small enough to be trained here is `change_code.py`, with the same interface.

Axes: B batch, F frames, H x W pixels, C latent channels, T = 1 + (F - 1) / 4, h x w = H/8 x W/8.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor, nn

FRAMES_PER_LATENT = 4


class VideoVae(nn.Module):
    """Pictures to normalised latents and back. `net` is the stock class, saved and loaded as such."""

    def __init__(self, net: AutoencoderKLQwenImage) -> None:
        super().__init__()
        self.net = net

    @property
    def channels(self) -> int:
        return self.net.config.z_dim

    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 (B, 3, F, H, W) to normalised latents (B, C, T, h, w): the posterior's mean."""
        mean, std = self._statistics(pictures.device)
        return (self.net.encode(to_unit(pictures)).latent_dist.mode().float() - mean) / std

    def decode(self, latents: Tensor, first: Tensor | None = None) -> Tensor:
        """Normalised latents (B, C, T, h, w) to uint8 (B, 3, F, H, W). A known `first` is of no use."""
        mean, std = self._statistics(latents.device)
        return to_bytes(self.net.decode(latents * std + mean).sample.float())

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        config = self.net.config
        mean, std = (torch.tensor(x, device=device) for x in (config.latents_mean, config.latents_std))
        return mean[:, None, None, None], std[:, None, None, None]


def view_by_view(films: np.ndarray) -> Tensor:
    """Films uint8 (n, F, V, S, S, 3) as pictures (n * V, 3, F, S, S): each view by itself."""
    return torch.from_numpy(films).permute(0, 2, 5, 1, 3, 4).flatten(0, 1)


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return pictures.float() / 127.5 - 1.0


def to_bytes(pictures: Tensor) -> Tensor:
    """[-1, 1] to uint8."""
    return (pictures * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def latent_frames(frames: int) -> int:
    """T for F frames. Raises ValueError when the code cannot hold so many exactly."""
    if frames < 1 or frames % FRAMES_PER_LATENT != 1:
        raise ValueError(f"a causal video code holds 1, 5, 9, 13, ... frames; got {frames}")
    return 1 + (frames - 1) // FRAMES_PER_LATENT
