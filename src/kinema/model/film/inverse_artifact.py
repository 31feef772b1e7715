"""A trained reader of films as one folder, and reading with it.

inverse.json        format, layout, network sizes, bodies with their statistics, errors, provenance
weights.safetensors
cards/NAME.json     the bodies it reads
example.safetensors one film and the reading it must give, checked at every load
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from kinema.model.film.inverse_dynamics import (
    InverseConfig,
    InverseDynamics,
    body_vector,
    steady,
)
from kinema.model.stored import meaning_of, read_card, read_json, read_tensors
from kinema.schema import Film, KinemaError
from kinema.space.codec import Codec
from kinema.space.layout import LAYOUT_VERSION
from kinema.space.motion import Motion, steps_between, targets_along
from kinema.space.stats import ChannelStats

FORMAT = 1
_TOLERANCE = 5e-3  # of unified values; other processors round differently
_TRUST = 0.2  # of a change beside a state; larger values let small errors of changes add up


@dataclass(frozen=True, kw_only=True)
class FilmReader:
    """A loaded reader. `errors` are what was measured on episodes it never learnt from, by body."""

    model: InverseDynamics
    codecs: Mapping[str, Codec]
    errors: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def codec(self, card_name: str) -> Codec:
        """Raises KinemaError naming the bodies that can be read."""
        if card_name not in self.codecs:
            raise KinemaError(f"films of {card_name!r} cannot be read; bodies: {', '.join(self.codecs)}")
        return self.codecs[card_name]

    @torch.inference_mode()
    def read(self, film: Film, first_state: np.ndarray | None = None) -> Motion:
        """The states and actions that a film shows. first_state (S,): where it begins, if that is known.

        Raises KinemaError for a body it does not know, pictures of another size or another rate.
        """
        codec, config = self.codec(film.card), self.model.config
        card = codec.card
        F, V, H, W, _ = film.frames.shape
        size = config.image_size
        if (size, size) != (H, W) or film.cameras != card.camera_names[: config.views]:
            raise KinemaError(
                f"films of {card.name} are read at {size} px from {card.camera_names[: config.views]}; "
                f"this one has {H} x {W} px from {film.cameras}"
            )
        if steps_between(film.fps, card.control_hz) != config.steps:
            raise KinemaError(
                f"films are read at {card.control_hz / config.steps:.3g} Hz; this one has {film.fps}"
            )
        frames = np.zeros((1, F, config.views, 3, size, size), np.uint8)
        frames[0, :, :V] = np.moveaxis(film.frames, -1, 2)
        device = next(self.model.parameters()).device
        body = torch.from_numpy(body_vector(card, config))[None].to(device)
        reading = self.model(torch.from_numpy(frames).to(device), body)
        state, change, actions = (
            x[0].cpu().numpy() for x in (reading.state, reading.change, reading.actions)
        )
        first = None if first_state is None else codec.encode_state(first_state)
        path = codec.decode_state(steady(state, change, trust=_TRUST, first=first))
        return Motion(
            card=card.name,
            states=path,
            actions=_actions(codec, path, actions),
            drift=np.abs(np.diff(state, axis=0) - change)[:, codec.state_mask].mean(1).astype(np.float64),
            fps=film.fps,
            control_hz=card.control_hz,
        )


def _actions(codec: Codec, path: np.ndarray, unified: np.ndarray) -> np.ndarray:
    """Poses from the steadied path, grippers as they were read: a command is not what the jaws then do."""
    measured = {channel.slot for channel in codec.card.states}
    targets = targets_along(codec.card, path, unified.shape[1])
    read = codec.decode(unified, path[:-1]).reshape(targets.shape)
    for i, channel in enumerate(codec.card.actions):
        if channel.slot.endswith("gripper") or channel.slot not in measured:
            targets[:, i] = read[:, i]
    low, high = np.array([channel.range for channel in codec.card.actions]).T
    return np.clip(targets, low, high)


def save(folder: Path, reader: FilmReader, frames: Tensor, body: Tensor) -> None:
    """Write an artifact, weights in half precision. `frames` and `body` (B = 1) become the example."""
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().contiguous() for k, v in reader.model.state_dict().items()}
    reader.model.load_state_dict(weights)  # the example is answered by the weights as stored
    save_file(weights, folder / "weights.safetensors")
    about = {
        "format": FORMAT,
        "layout_version": LAYOUT_VERSION,
        "inverse": reader.model.config.to_json(),
        "bodies": {
            name: {"actions": codec.action_stats.to_json(), "states": codec.state_stats.to_json()}
            for name, codec in reader.codecs.items()
        },
        "errors": dict(reader.errors),
        "provenance": dict(reader.provenance),
    }
    (folder / "inverse.json").write_text(json.dumps(about, indent=1) + "\n")
    for name, codec in reader.codecs.items():
        (folder / "cards" / f"{name}.json").write_text(codec.card.model_dump_json(indent=1))
    tensors = {
        "frames": frames.contiguous(),
        "body": body.contiguous(),
        "state": _answer(reader, frames, body),
    }
    save_file(tensors, folder / "example.safetensors")


def load(folder: Path, *, check: bool = True, device: str = "cpu") -> FilmReader:
    """Read an artifact and, with `check`, prove it on its example. KinemaError names file and fault."""
    about = read_json(folder / "inverse.json", "film reader")
    if about.get("format") != FORMAT or about.get("layout_version") != LAYOUT_VERSION:
        raise KinemaError(
            f"{folder}/inverse.json: format {about.get('format')!r}, layout {about.get('layout_version')!r}; "
            f"this code reads {FORMAT} and {LAYOUT_VERSION}"
        )
    with meaning_of(folder / "inverse.json"):
        model = InverseDynamics(InverseConfig(**about["inverse"]))
        bodies = dict(about["bodies"])
    try:
        model.load_state_dict(read_tensors(folder / "weights.safetensors", "film reader"))
    except RuntimeError as error:
        raise KinemaError(f"{folder}/weights.safetensors does not fit inverse.json: {error}") from None
    codecs = {}
    for name, stats in bodies.items():
        card = read_card(folder / "cards" / f"{name}.json", "film reader")
        with meaning_of(folder / "inverse.json"):
            codecs[name] = Codec(
                card, ChannelStats.from_json(stats["actions"]), ChannelStats.from_json(stats["states"])
            )
    with meaning_of(folder / "inverse.json"):
        reader = FilmReader(
            model=model.to(device).eval(),
            codecs=codecs,
            errors=about["errors"],
            provenance=about["provenance"],
        )
    if check:
        tensors = read_tensors(folder / "example.safetensors", "film reader")
        with meaning_of(folder / "example.safetensors"):
            answer = _answer(reader, tensors["frames"].to(device), tensors["body"].to(device))
            error = (answer.cpu() - tensors["state"]).abs().max().item()
        if not error <= _TOLERANCE:
            raise KinemaError(
                f"{folder} reads its own example with an error of {error:.2g} (allowed {_TOLERANCE}); "
                f"weights, versions or kernels differ"
            )
    return reader


@torch.inference_mode()
def _answer(reader: FilmReader, frames: Tensor, body: Tensor) -> Tensor:
    return reader.model(frames, body).state.clone()
