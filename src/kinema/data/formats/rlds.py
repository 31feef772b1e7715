"""RLDS sets as tensorflow_datasets stores them: one record an episode, its steps' columns as flat lists."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.formats.source import ForeignSource, Series, camera, image_of, stated_rate, steady, vector
from kinema.data.formats.tfrecord import count, lists_of, records
from kinema.data.metadata import PICTURES
from kinema.schema import KinemaError

_STEPS = "steps/"
_SENTENCES = ("language_instruction", "natural_language_instruction", "instruction")


class Rlds(ForeignSource):
    """All files of one folder. Columns are called as below steps, with points: observation.state.

    A record is read whole when its episode is asked for, and the last one is kept.
    """

    def __init__(self, root: Path, rate_hz: float | None) -> None:
        self.root = folder_of(root)
        self.rate_hz = stated_rate(self.root, "RLDS sets", rate_hz)
        self._places = _described(self.root)
        self.features = {
            name.replace("/", "."): f for name, f in self._places.items() if f["dtype"] != "text"
        }
        self._index = [
            (path, number) for path in sorted(self.root.glob("*.tfrecord*")) for number in range(count(path))
        ]
        self._kept: tuple[int, dict[str, list[Any]]] = (-1, {})
        self._open: tuple[Path, int, Iterator[bytes]] | None = None
        if not self._index:
            raise KinemaError(f"{self.root} holds no episode")

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, number: int) -> RldsEpisode:
        return RldsEpisode(self, number)

    def lists(self, number: int) -> Mapping[str, list[Any]]:
        if self._kept[0] != number:
            path, at = self._index[number]
            if self._open is None or self._open[0] != path or self._open[1] > at:
                self._open = (path, 0, records(path))
            _, read, stream = self._open
            for _ in range(at - read):
                next(stream)
            self._kept = (number, lists_of(next(stream), f"{path}, record {at}"))
            self._open = (path, at + 1, stream)
        return self._kept[1]

    def place_of(self, name: str) -> str:
        return _STEPS + next(place for place in self._places if place.replace("/", ".") == name)


class RldsEpisode:
    def __init__(self, source: Rlds, number: int) -> None:
        self._source, self._number, self.name = source, number, f"episode {number}"

    @property
    def task(self) -> str:
        lists = self._source.lists(self._number)
        for name, values in lists.items():
            if name.split("/")[-1] in _SENTENCES and values and isinstance(values[0], bytes):
                return values[0].decode("utf-8", "replace")
        return ""

    def column(self, name: str) -> Series:
        feature, stored = self._source.features[name], self._stored(name)
        width = feature["shape"][0]
        values = np.asarray(stored, np.float64)
        if values.size % width or values.ndim != 1:
            raise KinemaError(f"{self._source.root}: {name} of {self.name} is not rows of {width} numbers")
        values = values.reshape(-1, width)
        return Series(times_s=steady(len(values), self._source.rate_hz), values=values)

    def frame_times(self, camera: str) -> np.ndarray:
        return steady(len(self._stored(camera)), self._source.rate_hz)

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        stored, where = self._stored(camera), f"{self._source.root}: {camera} of {self.name}"
        return np.stack([image_of(stored[i], f"{where}, step {i}") for i in np.asarray(indices).tolist()])

    def _stored(self, name: str) -> list[Any]:
        place = self._source.place_of(name)
        lists = self._source.lists(self._number)
        if place not in lists:
            raise KinemaError(f"{self._source.root}: {self.name} has no {place}")
        return lists[place]


def folder_of(root: Path) -> Path:
    """The folder that holds the files: `root`, or that of the newest version below it."""
    if (root / "features.json").is_file():
        return root
    versions = sorted(path.parent for path in root.glob("*/features.json"))
    if not versions:
        raise KinemaError(f"{root} holds no features.json, which says what the records of an RLDS set are")
    return versions[-1]


def _described(root: Path) -> dict[str, dict[str, Any]]:
    """What features.json says of the steps, by name; texts have the dtype "text"."""
    try:
        whole = json.loads((root / "features.json").read_text())
        steps = whole["featuresDict"]["features"]["steps"]["sequence"]["feature"]
        found = dict(_leaves(steps, ""))
    except (ValueError, KeyError, TypeError) as error:
        raise KinemaError(f"{root / 'features.json'} describes no steps: {error!r}") from None
    if not any(feature["dtype"] not in (*PICTURES, "text") for feature in found.values()):
        raise KinemaError(f"{root / 'features.json'} describes no numbers")
    return found


def _leaves(described: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Features by path. What is neither text, picture nor one axis of numbers is left out."""
    if "featuresDict" in described:
        for key, below in described["featuresDict"]["features"].items():
            yield from _leaves(below, f"{name}/{key}" if name else key)
    elif "text" in described:
        yield name, {"dtype": "text", "shape": [1]}
    elif "image" in described:
        height, width, channels = map(int, described["image"]["shape"]["dimensions"])
        if channels == 3 and described["image"]["dtype"] == "uint8":
            yield name, camera(height, width)
    elif "tensor" in described:
        tensor = described["tensor"]
        shape = [int(size) for size in tensor["shape"].get("dimensions", [])]
        if tensor["dtype"] == "string":
            yield name, {"dtype": "text", "shape": [1]}
        elif len(shape) <= 1 and tensor.get("encoding", "none") == "none":
            yield name, vector(shape[0] if shape else 1, (), name.replace("/", "."))
