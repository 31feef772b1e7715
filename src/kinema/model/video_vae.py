"""The video code: diffusers' causal 3D autoencoder, a quarter of the frames.

Causal in time: the first latent frame holds the first picture alone, every later one the next four. The
published code has an eighth of each side and 16 channels, and its transformer takes patches of 2 x 2. The
small one has a sixteenth of each side and 320 channels, and its transformer takes single latents.

The small one also has a linear shortcut (`block_basis.py`): its latents are the shortcut's coefficients, and
the autoencoder's decoder adds what they leave out. Its encoder is not used then; it is there because the
stock class has one. Without a shortcut the stock class does all.

Axes: B batch, F frames, H x W pixels, C latent channels, T = 1 + (F - 1) / 4, h x w = H/16 x W/16 (or /8).
"""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.model.block_basis import BlockBasis

FRAMES_PER_LATENT = 4


class VideoVae(nn.Module):
    """Pictures to normalised latents and back. `net` is the stock class, saved and loaded as such.

    It reads pictures in cells: `input_channels` is 3 times a cell's pixels.
    """

    def __init__(self, net: AutoencoderKLQwenImage, basis: BlockBasis | None = None) -> None:
        super().__init__()
        self.net, self.basis = net, basis
        self.cell = math.isqrt(net.config.input_channels // 3)
        if 3 * self.cell**2 != net.config.input_channels:
            raise ValueError(f"input_channels {net.config.input_channels} are not 3 times a square")
        if basis is not None:
            if basis.config.channels != net.config.z_dim:
                raise ValueError(f"basis of {basis.config.channels} channels, network of {net.config.z_dim}")
            for part in (net.encoder, net.quant_conv):
                part.requires_grad_(False)

    @classmethod
    def build(cls, config: dict, *, shortcut: bool = True) -> VideoVae:
        """From the stock class's own keys; latents unnormalised until `set_statistics`."""
        C = config["z_dim"]
        net = AutoencoderKLQwenImage(**({"latents_mean": [0.0] * C, "latents_std": [1.0] * C} | config))
        with torch.no_grad():
            if shortcut:  # begin as the shortcut alone
                net.decoder.conv_out.weight.zero_()
                net.decoder.conv_out.bias.zero_()
            else:  # begin almost without noise of the latents' own: it would drown for long what they say
                net.quant_conv.weight[C:].mul_(0.1)
                net.quant_conv.bias[C:].fill_(-5.0)
        return cls(net, BlockBasis(C) if shortcut else None)

    @property
    def channels(self) -> int:
        return self.net.config.z_dim

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Per channel (C,): written into the configuration, where the stock pipelines look for them."""
        self.net.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())

    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 (B, 3, F, H, W) to normalised latents (B, C, T, h, w): the posterior's mean."""
        x = to_unit(pictures)
        found = self.basis.encode(x) if self.basis else self.net.encode(self._cells(x)).latent_dist.mode()
        mean, std = self._statistics(pictures.device)
        return (found.float() - mean) / std

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, C, T, h, w) to uint8 (B, 3, F, H, W)."""
        return (self.decode_unit(latents) * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)

    def decode_unit(self, latents: Tensor) -> Tensor:
        """The same in [-1, 1], differentiable."""
        mean, std = self._statistics(latents.device)
        raw = latents * std + mean
        # with a shortcut the network reads normalised latents: raw coefficients differ a hundredfold
        mended = self._pictures(self.net.decode(latents if self.basis else raw).sample.float())
        return mended + self.basis.decode(raw) if self.basis else mended

    def reconstruct(self, pictures: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """uint8 pictures (B, 3, F, H, W) as they come back in [-1, 1], and the latents' KL divergence."""
        if self.basis:
            return self.decode_unit(self.encode(pictures)), torch.zeros(())
        posterior = self.net.encode(self._cells(to_unit(pictures))).latent_dist
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
        return F.pixel_unshuffle(pictures.transpose(1, 2), self.cell).transpose(1, 2)

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
