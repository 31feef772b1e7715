"""The video code: diffusers' causal 3D autoencoder, a quarter of the frames and an eighth of each side.

Causal in time: the first latent frame holds the first picture alone, every later one the next four. The
small one reads pictures in cells of 2 x 2 pixels, so that the costly layers at full resolution fall away; its
`input_channels` says so (3 times the cell's pixels), and nothing else is needed to rebuild it.

Axes: B batch, F frames, H x W pixels of the canvas, C latent channels, T = 1 + (F - 1) / 4, h x w = H/8 x W/8.
"""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor, nn
from torch.nn import functional as F

FRAMES_PER_LATENT, PIXELS_PER_LATENT = 4, 8


class VideoVae(nn.Module):
    """Pictures to normalised latents and back. `net` is the stock class, saved and loaded as such."""

    def __init__(self, net: AutoencoderKLQwenImage) -> None:
        super().__init__()
        self.net = net
        self.cell = math.isqrt(net.config.input_channels // 3)
        if 3 * self.cell**2 != net.config.input_channels:
            raise ValueError(f"input_channels {net.config.input_channels} are not 3 times a square")
        if self.cell * 2 ** len(net.config.temperal_downsample) != PIXELS_PER_LATENT:
            raise ValueError(f"this code shrinks sides {self.cell * net.spatial_compression_ratio} times, not 8")

    @classmethod
    def build(cls, config: dict) -> VideoVae:
        """From the stock class's own keys; latents unnormalised until `set_statistics`."""
        plain = {"latents_mean": [0.0] * config["z_dim"], "latents_std": [1.0] * config["z_dim"]}
        return cls(AutoencoderKLQwenImage(**(plain | config)))

    @property
    def channels(self) -> int:
        return self.net.config.z_dim

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Per channel (C,): written into the configuration, where the stock pipelines look for them."""
        self.net.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())

    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 (B, 3, F, H, W) to normalised latents (B, C, T, h, w): the posterior's mean."""
        mean, std = self._statistics(pictures.device)
        return (self.net.encode(self._cells(to_unit(pictures))).latent_dist.mode().float() - mean) / std

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, T, h, w) to uint8 (B, 3, F, H, W)."""
        mean, std = self._statistics(latents.device)
        pictures = self._pictures(self.net.decode(latents * std + mean).sample.float())
        return (pictures * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)

    def reconstruct(self, pictures: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Pictures in [-1, 1] (B, 3, F, H, W) as they come back, and the mean KL divergence of the latents."""
        posterior = self.net.encode(self._cells(pictures)).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(pictures.device)
        drawn = posterior.mean + posterior.std * noise
        return self._pictures(self.net.decode(drawn).sample.float()), posterior.kl().mean() / drawn[0].numel()

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        config = self.net.config
        mean, std = (torch.tensor(x, device=device) for x in (config.latents_mean, config.latents_std))
        return mean[:, None, None, None], std[:, None, None, None]

    def _cells(self, pictures: Tensor) -> Tensor:
        """(B, 3, F, H, W) to (B, 3 * cell^2, F, H / cell, W / cell)."""
        if self.cell == 1:
            return pictures
        frames = pictures.transpose(1, 2)
        return F.pixel_unshuffle(frames, self.cell).transpose(1, 2)

    def _pictures(self, cells: Tensor) -> Tensor:
        if self.cell == 1:
            return cells
        return F.pixel_shuffle(cells.transpose(1, 2), self.cell).transpose(1, 2)


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return pictures.float() / 127.5 - 1.0


def latent_frames(frames: int) -> int:
    """T for F frames. Raises ValueError when the code cannot hold so many exactly."""
    if frames < 1 or frames % FRAMES_PER_LATENT != 1:
        raise ValueError(f"a causal video code holds 1, 5, 9, 13, ... frames; got {frames}")
    return 1 + (frames - 1) // FRAMES_PER_LATENT
