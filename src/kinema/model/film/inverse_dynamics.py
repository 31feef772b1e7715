"""Inverse dynamics: from synchronised pictures to the states they show and the actions between them.

Each picture is read by a small convolutional network whose features are mostly places (the mean of a softmax
over the picture, Levine et al. 2016, arXiv 1504.00702), since a pose is a matter of places. What is known of
the body, which slots it has and where its cameras are, comes from its card. States are read from one
picture, changes and actions from two neighbours; the two readings are brought together in `steady`.

Axes: B films, F pictures, V views, S image side, N steps between two pictures, K slots, C channels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.card.card import EmbodimentCard
from kinema.space.layout import NUM_SLOTS, slot_index

_CAMERA_NUMBERS = 8  # position, orientation, field of view
_CELL_PX = 6
_PLACES, _THIN, _FROM_CELLS = 32, 12, 96  # numbers that an eye gives: places, and channels of the cells


@dataclass(frozen=True, kw_only=True)
class InverseConfig:
    """views: most cameras of a body; steps: control steps between two pictures."""

    views: int = 2
    steps: int = 3
    image_size: int = 96
    channels: int = 64
    width: int = 256

    def __post_init__(self) -> None:
        if self.image_size % _CELL_PX or min(self.views, self.steps, self.channels, self.width) < 1:
            raise ValueError(f"image_size must be a multiple of {_CELL_PX} and all sizes at least 1: {self}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """In unified slots: state and its change (B, F, K) and (B, F - 1, K); actions (B, F - 1, N, K)."""

    state: Tensor
    change: Tensor
    actions: Tensor


class _Eye(nn.Module):
    """One picture (M, 3, S, S) to places and a map read cell by cell (M, size)."""

    def __init__(self, config: InverseConfig) -> None:
        super().__init__()
        C, cells = config.channels, (config.image_size // _CELL_PX) ** 2
        self.stem = nn.Conv2d(3, C, 2 * _CELL_PX, stride=_CELL_PX, padding=_CELL_PX // 2)
        self.blocks = nn.ModuleList([nn.Conv2d(C, C, 3, padding=1) for _ in range(2)])
        self.norms = nn.ModuleList([nn.GroupNorm(4, C) for _ in range(3)])
        self.places = nn.Conv2d(C, _PLACES, 1)
        self.thin = nn.Conv2d(C, _THIN, 1)
        self.cells = nn.Linear(_THIN * cells, _FROM_CELLS)
        self.size = 2 * _PLACES + _FROM_CELLS

    def forward(self, pictures: Tensor) -> Tensor:
        x = functional.silu(self.norms[0](self.stem(pictures)))
        for block, norm in zip(self.blocks, self.norms[1:]):
            x = x + functional.silu(norm(block(x)))
        return torch.cat([_mean_places(self.places(x)), self.cells(self.thin(x).flatten(1))], 1)


def _mean_places(maps: Tensor) -> Tensor:
    """The mean place (M, 2C) of each map (M, C, H, W), in [-1, 1]; in float32: half a pixel counts."""
    H, W = maps.shape[2:]
    weight = maps.float().flatten(2).softmax(-1)
    rows = torch.linspace(-1, 1, H, device=maps.device).repeat_interleave(W)
    columns = torch.linspace(-1, 1, W, device=maps.device).repeat(H)
    return torch.cat([weight @ rows, weight @ columns], 1)


class InverseDynamics(nn.Module):
    """The network. One eye for each view: a fixed and a wrist camera show nothing alike."""

    def __init__(self, config: InverseConfig) -> None:
        super().__init__()
        self.config = config
        self.eyes = nn.ModuleList([_Eye(config) for _ in range(config.views)])
        seen = sum(int(eye.size) for eye in self.eyes) + body_size(config)
        W = config.width
        self.look = nn.Sequential(nn.Linear(seen, W), nn.SiLU(), nn.Linear(W, W), nn.SiLU())
        self.state = nn.Linear(W, NUM_SLOTS)
        self.compare = nn.Sequential(nn.Linear(3 * W, W), nn.SiLU(), nn.Linear(W, W), nn.SiLU())
        self.change = nn.Linear(W, NUM_SLOTS)
        self.actions = nn.Linear(W, config.steps * NUM_SLOTS)

    def forward(self, frames: Tensor, body: Tensor) -> Reading:
        """frames uint8 (B, F, V, 3, S, S) with V = config.views, body (B, size): `body_vector`."""
        B, F, V = frames.shape[:3]
        pictures = frames.flatten(0, 1).float() / 127.5 - 1.0
        features = [self.eyes[v](pictures[:, v]) for v in range(V)]
        told = body[:, None].expand(B, F, -1).flatten(0, 1)
        x = self.look(torch.cat([*features, told], 1)).unflatten(0, (B, F))
        pair = self.compare(torch.cat([x[:, :-1], x[:, 1:], x[:, 1:] - x[:, :-1]], -1))
        return Reading(
            state=self.state(x).float(),
            change=self.change(pair).float(),
            actions=self.actions(pair).float().unflatten(-1, (self.config.steps, NUM_SLOTS)),
        )


def body_size(config: InverseConfig) -> int:
    return 2 * NUM_SLOTS + _CAMERA_NUMBERS * config.views


def body_vector(card: EmbodimentCard, config: InverseConfig) -> np.ndarray:
    """What a card says of the body and its cameras, float32 (body_size,)."""
    vector = np.zeros(body_size(config), np.float32)
    for channel in card.states:
        vector[slot_index(channel.slot)] = 1
    for channel in card.actions:
        vector[NUM_SLOTS + slot_index(channel.slot)] = 1
    for i, camera in enumerate(card.cameras[: config.views]):
        at = 2 * NUM_SLOTS + _CAMERA_NUMBERS * i
        vector[at : at + 8] = [*camera.pos_m, *camera.quat_wxyz, camera.fovy_rad]
    return vector


def losses(reading: Reading, codec_state: Tensor, actions: Tensor, masks: tuple[Tensor, Tensor]) -> dict:
    """Named losses. codec_state (B, F, K), actions (B, F - 1, N, K), masks (B, K): state and action slots."""
    of_state, of_action = (mask.float() for mask in masks)
    change = codec_state[:, 1:] - codec_state[:, :-1]
    return {
        "state": _error(reading.state - codec_state, of_state[:, None]),
        "change": _error(reading.change - change, of_state[:, None]),
        "actions": _error(reading.actions - actions, of_action[:, None, None]),
    }


def _error(difference: Tensor, mask: Tensor) -> Tensor:
    weight = mask.expand_as(difference)
    size = functional.smooth_l1_loss(difference, torch.zeros_like(difference), beta=0.05, reduction="none")
    return (size * weight).sum() / weight.sum()


def steady(
    states: np.ndarray, changes: np.ndarray, *, trust: float, first: np.ndarray | None = None
) -> np.ndarray:
    """The path (F, K) that best agrees with states (F, K) and with changes (F - 1, K), by least squares.

    trust: how much a change counts beside a state (the ratio of their error variances)
    first: where the path is known to begin, if it is
    """
    F = len(states)
    matrix, right = np.eye(F), states.astype(np.float64).copy()
    if first is not None:
        matrix[0, 0], right[0] = 1e6, 1e6 * first
    step = np.eye(F - 1, F, 1) - np.eye(F - 1, F)
    matrix += trust * step.T @ step
    right += trust * step.T @ changes
    return np.linalg.solve(matrix, right)
