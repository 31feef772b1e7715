"""A trained success check as one folder, and the check that a long task is steered by.

check.json          format, network, body, cameras, detector, limit, its measured error, provenance
weights.safetensors
example.safetensors features and the chances they must give, checked at every load
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from kinema.model.film.eyes import FilmEyes
from kinema.model.film.step_check import StepCheckConfig, StepCheckNet, features_of
from kinema.model.stored import meaning_of, read_json, read_tensors
from kinema.schema import KinemaError, Observation

FORMAT = 1
_TOLERANCE = 5e-3  # of chances; other processors round differently
_WHAT = "the success check"


class SuccessCheck:
    """Says how likely a step is done, from pictures, the body's state and the step's words.

    names: the things of a step's sentence: what is acted on and where it goes, empty where nowhere
    limit: the chance from which a step counts as done
    error: what it gets wrong on scenes that training never saw
    """

    def __init__(
        self,
        net: StepCheckNet,
        eyes: FilmEyes,
        names: Callable[[str], tuple[str, str]],
        about: Mapping[str, Any],
    ) -> None:
        self.net, self.eyes, self._names = net.eval(), eyes, names
        self.card, self.cameras = str(about["card"]), tuple(about["cameras"])
        self.limit, self.error = float(about["limit"]), about["error"]
        self.provenance = about["provenance"]
        self._latest: tuple[Observation, np.ndarray] | None = None

    @classmethod
    def load(
        cls, folder: Path | str, eyes: FilmEyes, names: Callable[[str], tuple[str, str]]
    ) -> SuccessCheck:
        """Read an artifact and prove it on its example. KinemaError names file and fault, or other eyes."""
        folder = Path(folder)
        about = read_json(folder / "check.json", _WHAT)
        if about.get("format") != FORMAT:
            raise KinemaError(
                f"{folder}/check.json: format {about.get('format')!r}, this code reads {FORMAT}"
            )
        with meaning_of(folder / "check.json"):
            if about["detector"] != eyes.version:
                raise KinemaError(
                    f"{folder} was trained on the film detector {about['detector']}, "
                    f"and this one is {eyes.version}"
                )
            net = StepCheckNet(StepCheckConfig(**about["network"]))
            check = cls(net, eyes, names, about)
        try:
            net.load_state_dict(read_tensors(folder / "weights.safetensors", _WHAT))
        except RuntimeError as error:
            raise KinemaError(f"{folder}/weights.safetensors does not fit check.json: {error}") from None
        example = read_tensors(folder / "example.safetensors", _WHAT)
        with meaning_of(folder / "example.safetensors"), torch.inference_mode():
            wrong = float((net(example["features"]).sigmoid() - example["chance"]).abs().max())
        if not wrong <= _TOLERANCE:
            raise KinemaError(f"{folder} answers its own example with an error of {wrong:.2g}")
        return check

    def chance(self, observation: Observation, step: str) -> float:
        """The probability that a step is done. Raises KinemaError for another body's pictures."""
        thing, place = self._names(step)
        features = features_of(self.eyes, self._see(observation), observation.state, thing, place)
        with torch.inference_mode():
            return float(self.net(torch.from_numpy(features)[None]).sigmoid())

    def sees(self, observation: Observation, least: float = 0.5) -> list[str]:
        """Names of the things that are in some view."""
        found = self._see(observation)[..., 2].max(0) >= least
        return [name for name, there in zip(self.eyes.things, found) if there]

    def _see(self, observation: Observation) -> np.ndarray:
        """The detector's points (V, K, 3) in an observation, which several questions may be about."""
        missing = [name for name in self.cameras if name not in observation.images]
        if missing:
            raise KinemaError(f"the success check looks through {missing[0]!r}, which was not seen")
        if self._latest is None or self._latest[0] is not observation:
            images = np.stack([observation.images[name] for name in self.cameras])
            self._latest = (observation, self.eyes.locate(images))
        return self._latest[1]


def save_check(net: StepCheckNet, folder: Path, about: Mapping[str, Any], example: np.ndarray) -> None:
    """Write an artifact. example: float32 (n, F). about: all that check.json holds but format and network."""
    folder.mkdir(parents=True, exist_ok=True)
    net.eval()
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "weights.safetensors")
    told = {"format": FORMAT, "network": net.config.to_json(), **about}
    (folder / "check.json").write_text(json.dumps(told, indent=1) + "\n")
    features = torch.from_numpy(example)
    with torch.inference_mode():
        chance = net(features).sigmoid()
    save_file({"features": features, "chance": chance}, folder / "example.safetensors")
