"""A trained film detector as one folder, and the eyes that judge films with it.

detector.json       format, words, network sizes, its measured error, provenance
weights.safetensors
example.safetensors one picture and the points it must give, checked at every load
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from kinema.model.film.detector import DetectorConfig, FilmDetector
from kinema.model.stored import meaning_of, read_json, read_tensors
from kinema.schema import KinemaError

FORMAT = 1
_TOLERANCE = 5e-3  # of coordinates and probabilities; other processors round differently
_AT_ONCE = 64  # pictures


class FilmEyes:
    """Finds every thing of its vocabulary in pictures, and encodes pictures for feature distances.

    error:   what it gets wrong on held-out true films, as measured after its training
    version: a digest of its weights; numbers of two versions must not be compared
    """

    def __init__(
        self, model: FilmDetector, *, error: Mapping[str, Any], provenance: Mapping[str, Any], version: str
    ) -> None:
        self.model = model.eval()
        self.things = model.config.things
        self.error, self.provenance, self.version = error, provenance, version

    @classmethod
    def load(cls, folder: Path | str) -> FilmEyes:
        """Read an artifact and prove it on its example. KinemaError names file and fault."""
        folder = Path(folder)
        about = read_json(folder / "detector.json", "the film detector")
        if about.get("format") != FORMAT:
            raise KinemaError(
                f"{folder}/detector.json: format {about.get('format')!r}, this code reads {FORMAT}"
            )
        with meaning_of(folder / "detector.json"):
            sizes, measured, provenance = about["network"], about["error"], about["provenance"]
            config = DetectorConfig(
                things=tuple(sizes["things"]), image_size=sizes["image_size"], widths=tuple(sizes["widths"])
            )
            model = FilmDetector(config)
        tensors = read_tensors(folder / "weights.safetensors", "the film detector")
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise KinemaError(f"{folder}/weights.safetensors does not fit detector.json: {error}") from None
        eyes = cls(model, error=measured, provenance=provenance, version=_digest(tensors))
        example = read_tensors(folder / "example.safetensors", "the film detector")
        with meaning_of(folder / "example.safetensors"):
            wrong = np.abs(eyes.locate(example["images"].numpy()) - example["points"].numpy()).max()
        if not wrong <= _TOLERANCE:
            raise KinemaError(f"{folder} answers its own example with an error of {wrong:.2g}")
        return eyes

    def save(self, folder: Path, example: np.ndarray) -> None:
        """Write an artifact. example: uint8 (1, S, S, 3)."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        save_file(weights, folder / "weights.safetensors")
        about = {
            "format": FORMAT,
            "network": self.model.config.to_json(),
            "error": dict(self.error),
            "provenance": dict(self.provenance),
        }
        (folder / "detector.json").write_text(json.dumps(about, indent=1) + "\n")
        answered = torch.from_numpy(self.locate(example))
        save_file({"images": torch.from_numpy(example), "points": answered}, folder / "example.safetensors")

    @torch.inference_mode()
    def locate(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (n, S, S, 3) to float32 (n, K, 3): u, v in [0, 1] and the probability of being seen."""
        parts = [self.model(chunk).points() for chunk in self._chunks(pictures)]
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def features(self, pictures: np.ndarray) -> list[np.ndarray]:
        """uint8 (n, S, S, 3) to maps float32 (n, h, w, C), from fine to coarse."""
        layers = [self.model.maps(chunk) for chunk in self._chunks(pictures)]
        return [torch.cat(parts).permute(0, 2, 3, 1).numpy() for parts in zip(*layers)]

    def _chunks(self, pictures: np.ndarray) -> list[Tensor]:
        size = self.model.config.image_size
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (size, size, 3):
            raise KinemaError(
                f"the film detector reads uint8 pictures (n, {size}, {size}, 3); "
                f"got {pictures.dtype} {pictures.shape}"
            )
        whole = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
        return list(whole.split(_AT_ONCE))


def load_eyes(folder: str) -> FilmEyes:
    """`FilmEyes.load` as a plain function, so that worker processes can be told to call it."""
    return FilmEyes.load(folder)


def fresh_eyes(model: FilmDetector, *, error: Mapping[str, Any], provenance: Mapping[str, Any]) -> FilmEyes:
    """Eyes of a network that was just trained."""
    return FilmEyes(model, error=error, provenance=provenance, version=_digest(model.state_dict()))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = blake2b(digest_size=6)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
