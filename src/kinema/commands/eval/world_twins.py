"""The world model in the roles that its judging needs: itself, its compression alone, its twin without words.

Worker processes build these by name, so each is a plain function of a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema.schema import Film, Imagines

if TYPE_CHECKING:
    from kinema.model.world.artifact import World


class _Named:
    """A world model that says where its films come from."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self.provenance = {"policy": f"world model in {folder.name}", **dict(world.provenance)}

    def imagine(self, *arguments: Any, **options: Any) -> Film:
        return self._world.imagine(*arguments, **options)


def world_model(folder: str) -> Imagines:
    """The artifact in a folder."""
    from kinema.model.world.artifact import load

    return _Named(load(Path(folder)), Path(folder))


def through_compression(folder: str) -> Callable[[Film], Film]:
    """What sends a film through the model's video compression and back: the most it can show."""
    import torch

    from kinema.model.world.artifact import decode_views, encode_views, load

    world = load(Path(folder), check=False)

    @torch.inference_mode()
    def send(film: Film) -> Film:
        latents = encode_views(world.vae, film.frames[None])
        frames: np.ndarray = decode_views(world.vae, latents, film.frames[None, 0])[0]
        return replace(film, frames=frames)

    return send


def without_language(folder: str) -> Imagines:
    """The same weights told nothing, as a tenth of its training was: neither words nor what they point at."""
    from kinema.model.world.artifact import load

    world = load(Path(folder), check=False)
    world.model.connector.register_to_config(conditioning="none")
    return _Named(world, Path(folder))
