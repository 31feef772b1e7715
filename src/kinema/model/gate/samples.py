"""Labelled chunks and scenes in memory, as the gate's network takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.card.card import EmbodimentCard
from kinema.card.harm import events
from kinema.card.load import load_card
from kinema.data.batch import Tensors
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.latent_dynamics import DynamicsConfig, Scenes


@dataclass(frozen=True, kw_only=True)
class DynamicsBatch(Tensors):
    """B states with K chunks each, and what the simulator says of them.

    path (B, K, T, A, F); events (B, K, T, E) in [0, 1]; heights (B, 2, G, G) [m]; tool_m (B, K, T, A, 3);
    shift_m (B, K, T, 3), how far the thing has moved; progress (B, K) [m]
    """

    scenes: Scenes
    path: Tensor
    events: Tensor
    heights: Tensor
    tool_m: Tensor
    shift_m: Tensor
    progress: Tensor
    more: tuple[Scenes, Tensor] | None = None  # scenes to look at only, and their heights

    def __len__(self) -> int:
        return len(self.path)


class BodyScenes:
    """Scenes of one body, as `data.hazards.read_shards` gives them: pictures, and what stands where."""

    def __init__(self, reader: SceneReader, arrays: Mapping[str, np.ndarray]) -> None:
        self.reader, self._arrays = reader, arrays

    def __len__(self) -> int:
        return len(self._arrays["state"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def draw(self, rows: np.ndarray) -> tuple[Scenes, Tensor]:
        a = self._arrays
        scenes = self.reader.scenes(
            a["images"][rows], a["earlier"][rows], a["state"][rows], list(a["instruction"][rows])
        )
        return scenes, torch.from_numpy(a["heights"][rows].astype(np.float32))


class BodySamples(BodyScenes):
    """Scenes of one body, and what was tried in each."""

    def __init__(self, reader: SceneReader, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(reader, arrays)
        self.path = reader.paths.path(arrays["actions"], arrays["state"][:, None])
        self.events = events(arrays["severity"])
        self._tool = _by_side(reader.card, arrays["tool_m"].astype(np.float32))

    def batch(self, rows: np.ndarray) -> DynamicsBatch:
        a = self._arrays
        scenes, heights = self.draw(rows)
        thing = a["thing_m"][rows].astype(np.float32)
        return DynamicsBatch(
            scenes=scenes,
            path=torch.from_numpy(self.path[rows]),
            events=torch.from_numpy(self.events[rows]),
            heights=heights,
            tool_m=torch.from_numpy(self._tool[rows]),
            shift_m=torch.from_numpy(thing - a["thing_now_m"][rows][:, None, None]),
            progress=torch.from_numpy(a["progress"][rows].astype(np.float32)),
        )


def _by_side(card: EmbodimentCard, tool_m: np.ndarray) -> np.ndarray:
    """(..., A of the card, 3) in the card's order to (..., 2, 3) as right and left."""
    out = np.zeros((*tool_m.shape[:-2], 2, 3), np.float32)
    for i, arm in enumerate(card.arms):
        out[..., ("right", "left").index(arm.side), :] = tool_m[..., i, :]
    return out


def samples_of(read: Mapping[str, Mapping[str, np.ndarray]], config: DynamicsConfig) -> list[BodySamples]:
    """The samples of every body, from what `data.hazards.read_bodies` gives."""
    return [BodySamples(SceneReader(load_card(name), config), arrays) for name, arrays in read.items()]


def scenes_of(read: Mapping[str, Mapping[str, np.ndarray]], config: DynamicsConfig) -> list[BodyScenes]:
    """The scenes of every body that are looked at only."""
    return [BodyScenes(SceneReader(load_card(name), config), arrays) for name, arrays in read.items()]
