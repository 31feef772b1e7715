"""The small video code: a first picture, and what each later one changes about it.

A robot's film is one picture and some moving things. So the code of a later picture is read, and decoded,
beside the first one: a cell of 16 x 16 pixels holds a few dozen numbers that say what is there now, and the
decoder takes everything else from the first picture, through skips and a mask. Linear codes of the same rate
(principal components of blocks) reach the same PSNR, but a network of a few million parameters does not learn
to predict them: their numbers have no meaning that neighbours share.

What the decoder still gets wrong, edges above all, is coded by principal components: of the same cell in
four pictures at once, since what it gets wrong stays wrong. These details are in units of the strongest of
them, so that most are small numbers, and what predicts latents by squared error cares for them little.

The first picture itself is coded by the principal components of its cells. Where the picture is at hand, as
in image and text to video, the decoder is given the picture and not its code. Four later pictures make one
latent frame: their codes one after the other in its channels, then their details.

Axes: B batch, F frames, n later ones, S side, c channels of a picture, d details, C = 4 c + d,
T = 1 + (F - 1) / 4, t = T - 1, h = S / 16.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.model.world.video_vae import FRAMES_PER_LATENT, to_bytes, to_unit

CELL_PX = 16
_MASK_BIAS = 2.0  # before training the mask shows mostly the first picture
_GROUPS = 8  # of the norms

_MOVED = 0.1  # of a pixel's range [-1, 1]: below is the video file's own noise
_MOVING_WEIGHT = 6.0


class ChangeCode(ModelMixin, ConfigMixin):
    """Pictures to latents and back; the interface of `VideoVae`. `noise`: what training adds to the code."""

    @register_to_config
    def __init__(
        self, per_picture: int = 32, details: int = 0, widths: Sequence[int] = (24, 40, 80, 128),
        noise: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first, self.see = _Pyramid(3, widths), _Pyramid(6, widths)
        self.squeeze = nn.Conv2d(widths[-1], per_picture, 1)
        self.back = nn.Conv2d(per_picture, widths[-1], 1)
        self.merge = nn.ModuleList([nn.Conv2d(2 * width, width, 1) for width in widths])
        self.res = nn.ModuleList([nn.Sequential(_Residual(width)) for width in widths])
        self.up = nn.ModuleList([nn.Conv2d(wide, thin, 1) for thin, wide in pairwise(widths)])
        self.out = nn.Conv2d(widths[0], 4 * (3 + 1), 3, padding=1)
        size = 3 * CELL_PX**2
        if self.channels > size:
            raise ValueError(f"{self.channels} channels; a cell of a picture has only {size} components")
        for name, value in (
            ("basis", torch.eye(size)[: self.channels]),
            ("mean", torch.zeros(size)),
            ("scale", torch.ones(self.channels)),
            ("left_basis", torch.eye(FRAMES_PER_LATENT * size)[:details]),
            ("left_scale", torch.ones(())),
        ):
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))

    @property
    def channels(self) -> int:
        return FRAMES_PER_LATENT * self.config.per_picture + self.config.details

    # --- whole films --------------------------------------------------------------------------------

    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 (B, 3, F, S, S) to latents (B, C, T, h, h)."""
        x = to_unit(pictures)
        first, later = x[:, :, 0], x[:, :, 1:].transpose(1, 2)
        parts = [self.encode_first(first)[:, :, None]]
        if later.shape[1]:
            code = self.encode_later(first, later)
            parts.append(self._latents(code, later - self.decode_later(code, first)))
        return torch.cat(parts, 2)

    def decode(self, latents: Tensor, first: Tensor | None = None) -> Tensor:
        """Latents (B, C, T, h, h) to uint8 (B, 3, F, S, S); `first` uint8 (B, 3, S, S), where it is known."""
        seen = self.decode_first(latents[:, :, 0]) if first is None else to_unit(first)
        film = seen[:, None]
        if latents.shape[2] > 1:
            codes, details = latents[:, :, 1:].tensor_split([FRAMES_PER_LATENT * self.config.per_picture], 1)
            later = self.decode_later(_unfolded(codes, self.config.per_picture), seen)
            film = torch.cat([film, later + self._left(details)], 1)
        return to_bytes(film.clamp(-1, 1).transpose(1, 2))

    def still(self, pictures: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) to the latent (B, C, h, h) of four later ones that are the same."""
        first = to_unit(pictures)
        code = self.encode_later(first, first[:, None])
        left = first[:, None] - self.decode_later(code, first)
        times = (1, FRAMES_PER_LATENT, 1, 1, 1)
        return self._latents(code.repeat(times), left.repeat(times))[:, :, 0]

    def _latents(self, code: Tensor, left: Tensor) -> Tensor:
        """Codes (B, n, c, h, h) and what they leave (B, n, 3, S, S) to (B, C, t, h, h)."""
        details = _cells(_by_four(left)) @ self.left_basis.T / self.left_scale
        return torch.cat([_folded(code), details.unflatten(0, (len(left), -1)).permute(0, 4, 1, 2, 3)], 1)

    def _left(self, details: Tensor) -> Tensor:
        """Details (B, d, t, h, h) to pictures (B, n, 3, S, S)."""
        cells = details.permute(0, 2, 3, 4, 1).flatten(0, 1) * self.left_scale @ self.left_basis
        return (
            _pictures(cells, 3 * FRAMES_PER_LATENT)
            .unflatten(1, (FRAMES_PER_LATENT, 3))
            .unflatten(0, (len(details), -1))
            .flatten(1, 2)
        )

    # --- the first picture --------------------------------------------------------------------------

    @torch.no_grad()
    def fit_first(self, pictures: Iterable[Tensor]) -> None:
        """Find the components of single pictures in [-1, 1] (B, 3, S, S).

        A component's scale is the geometric mean of its own deviation and the average one, so that the small
        ones stay small.
        """
        cells = torch.cat([_cells(picture).flatten(0, 2) for picture in pictures])
        self.mean.copy_(cells.mean(0))
        variance, vectors = torch.linalg.eigh(torch.cov(cells.T))
        self.basis.copy_(vectors.flip(1)[:, : self.channels].T)
        std = variance.flip(0)[: self.channels].clamp_min(1e-6).sqrt()
        self.scale.copy_((std * std.square().mean().sqrt()).sqrt())

    def encode_first(self, first: Tensor) -> Tensor:
        """[-1, 1] (B, 3, S, S) to (B, C, h, h)."""
        return ((_cells(first) - self.mean) @ self.basis.T / self.scale).permute(0, 3, 1, 2)

    def decode_first(self, latent: Tensor) -> Tensor:
        """What undoes `encode_first`, as far as the components say."""
        cells = (latent.permute(0, 2, 3, 1) * self.scale) @ self.basis + self.mean
        return _pictures(cells, 3).clamp(-1, 1)

    @torch.no_grad()
    def fit_details(self, films: Iterable[Tensor]) -> None:
        """Find the components of what the trained code leaves of films in [-1, 1] (B, 3, F, S, S)."""
        if not self.config.details:
            return
        size = self.left_basis.shape[1]
        moment, count = torch.zeros(size, size), 0
        for film in films:
            first, later = film[:, :, 0], film[:, :, 1:].transpose(1, 2)
            left = later - self.decode_later(self.encode_later(first, later), first)
            cells = _cells(_by_four(left)).flatten(0, 2)
            moment, count = moment + cells.T @ cells, count + len(cells)
        with torch.random.fork_rng(devices=[]):  # the strongest of some thousand are found by iteration
            torch.manual_seed(0)
            vectors, power, _ = torch.svd_lowrank(moment / count, q=self.config.details + 64, niter=8)
        self.left_basis.copy_(vectors[:, : self.config.details].T)
        self.left_scale.copy_(power[0].clamp_min(1e-6).sqrt())

    # --- the later ones -----------------------------------------------------------------------------

    def encode_later(self, first: Tensor, later: Tensor) -> Tensor:
        """First (B, 3, S, S) and later pictures (B, n, 3, S, S) in [-1, 1] to (B, n, c, h, h), each cell of
        mean 0 and variance 1 over its channels."""
        beside = torch.cat([first[:, None].expand_as(later), later - first[:, None]], 2)
        found = self.squeeze(self.see(beside.flatten(0, 1))[-1]).float().movedim(1, -1)
        code = F.layer_norm(found, (self.config.per_picture,)).movedim(-1, 1)
        return code.unflatten(0, later.shape[:2])

    def decode_later(self, code: Tensor, first: Tensor) -> Tensor:
        """What undoes `encode_later`: [-1, 1] (B, n, 3, S, S)."""
        n = code.shape[1]
        skips = [level.repeat_interleave(n, 0) for level in self.first(first)]
        x = self.back(code.flatten(0, 1))
        for level in reversed(range(len(skips))):
            x = self.res[level](self.merge[level](torch.cat([x, skips[level]], 1)))
            if level:
                x = self.up[level - 1](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        shown = F.pixel_shuffle(self.out(F.silu(x)), 2).float().unflatten(0, (-1, n))
        mask = (shown[:, :, 3:] - _MASK_BIAS).sigmoid()
        return first[:, None] * (1 - mask) + mask * shown[:, :, :3].tanh()

    def forward(self, first: Tensor, later: Tensor, generator: torch.Generator | None) -> Tensor:
        """Later pictures as they come back from a code with noise on it, so that near codes look alike."""
        code = self.encode_later(first, later)
        noise = torch.randn(code.shape, generator=generator).to(code.device)
        return self.decode_later(code + self.config.noise * noise, first)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.n = nn.GroupNorm(_GROUPS, width)
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(F.silu(self.a(F.silu(self.n(x)))))


class _Pyramid(nn.Module):
    """Features of a picture at a half, a quarter, an eighth and a sixteenth of its side."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.res = nn.ModuleList([nn.Sequential(_Residual(width)) for width in widths])
        self.down = nn.ModuleList(
            [nn.Conv2d(thin, wide, 3, stride=2, padding=1) for thin, wide in pairwise(widths)]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x, levels = self.stem(F.pixel_unshuffle(x, 2)), []
        for level, res in enumerate(self.res):
            x = res(x)
            levels.append(x)
            if level < len(self.down):
                x = self.down[level](x)
        return levels


def _cells(pictures: Tensor) -> Tensor:
    """(B, k, H, W) to (B, h, w, k * 16 * 16)."""
    B, k, H, W = pictures.shape
    x = pictures.reshape(B, k, H // CELL_PX, CELL_PX, W // CELL_PX, CELL_PX)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3)


def _pictures(cells: Tensor, k: int) -> Tensor:
    """What undoes `_cells`."""
    B, h, w, _ = cells.shape
    x = cells.reshape(B, h, w, k, CELL_PX, CELL_PX).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(B, k, h * CELL_PX, w * CELL_PX)


def _by_four(pictures: Tensor) -> Tensor:
    """(B, n, 3, S, S) to (B * t, 4 * 3, S, S): four pictures as the channels of one."""
    return pictures.unflatten(1, (-1, FRAMES_PER_LATENT)).flatten(0, 1).flatten(1, 2)


def _folded(code: Tensor) -> Tensor:
    """(B, n, c, h, w) to (B, 4 c, t, h, w)."""
    return code.unflatten(1, (-1, FRAMES_PER_LATENT)).flatten(2, 3).transpose(1, 2)


def _unfolded(latents: Tensor, per_picture: int) -> Tensor:
    """(B, 4 c, t, h, w) to (B, n, c, h, w)."""
    return latents.transpose(1, 2).unflatten(2, (FRAMES_PER_LATENT, per_picture)).flatten(1, 2)


def losses(code: ChangeCode, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Of a batch uint8 (B, 3, 1 + F, S, S): absolute and squared error of the later pictures.

    More of it where a pixel differs from the first picture: what moves is a few pixels, and it is what
    everything after this looks at.
    """
    pictures = to_unit(batch).transpose(1, 2)  # (B, F, 3, S, S)
    first, later = pictures[:, 0], pictures[:, 1:]
    moving = ((later - first[:, None]).abs().amax(2, keepdim=True) > _MOVED).float()
    weight = 1 + (_MOVING_WEIGHT - 1) * moving
    weight = weight / weight.mean()
    wrong = (code(first, later, generator) - later).abs()
    return {"absolute": (wrong * weight).mean(), "squared": (wrong**2 * weight).mean()}
