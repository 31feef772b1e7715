"""Episode files of R2R-CE and RxR-CE: one reader and one writer for both.

`{split}.json.gz` has the episodes, `{split}_gt.json.gz` where the expert went. Axes are Habitat's: y up, and
a base without rotation looks along -z. RxR-CE's have a role in their names (`{split}_guide.json.gz`) and
more keys; a test split has neither goal nor way. What is not as it should be is an error that names file,
episode and field.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from kinema.schema import KinemaError

ACTIONS = ("stop", "forward", "left", "right", "up", "down")
_SCENES = "data/scene_datasets/"  # what some files put before a scene's path, and loaders take away
_MOST_BYTES = 1 << 30  # of an unpacked file; RxR-CE's largest has a third of it
_TOKENS = 200  # R2R-CE's instructions are padded to as many


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Where the expert was: locations (M, 3) [m], and what it did, numbers of ACTIONS."""

    locations: np.ndarray
    actions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One instruction in one scene. Positions are (x, y, z) with y up [m]; rotations (x, y, z, w).

    goal, geodesic_m, reference_path, truth: None where they are kept secret
    language, role: of RxR-CE; None in R2R-CE
    """

    episode_id: str
    trajectory_id: str
    scene_id: str
    instruction: str
    start_position: np.ndarray
    start_rotation: np.ndarray
    goal: np.ndarray | None = None
    radius_m: float = 3.0
    geodesic_m: float | None = None
    reference_path: np.ndarray | None = None
    truth: Truth | None = None
    language: str | None = None
    role: str | None = None

    @property
    def scan(self) -> str:
        """The scene's own name: the folder that its file lies in."""
        return Path(self.scene_id).parent.name

    @property
    def heading_rad(self) -> float:
        """Which way the base looks at first, counter-clockwise from x, seen from above."""
        x, y, z, w = self.start_rotation
        about_up = math.atan2(2 * (w * y + x * z), 1 - 2 * (x * x + y * y))
        return (about_up + math.pi / 2 + math.pi) % (2 * math.pi) - math.pi


def on_the_floor(positions: np.ndarray) -> np.ndarray:
    """Positions (..., 3) with y up as places (..., 2) seen from above: x to the right, -z up."""
    return np.stack([positions[..., 0], -positions[..., 2]], -1)


def off_the_floor(places: np.ndarray) -> np.ndarray:
    """The inverse of `on_the_floor`, at height 0."""
    return np.stack([places[..., 0], np.zeros(places.shape[:-1]), -places[..., 1]], -1)


def rotation_of(heading_rad: float) -> np.ndarray:
    """The rotation (x, y, z, w) of a base with this heading."""
    half = (heading_rad - math.pi / 2) / 2
    return np.array([0.0, math.sin(half), 0.0, math.cos(half)])


def read_episodes(path: Path, languages: Sequence[str] = ()) -> list[Episode]:
    """Every episode of a file, with the expert's way where `_gt` lies beside it.

    languages: of RxR-CE, those that are kept; none: all. Raises KinemaError.
    """
    listed = _Field(path, "file", _unpacked(path)).mapping().at("episodes").items()
    truths = _truths(_beside(path))
    episodes = [_episode(one, truths) for one in listed]
    twice = len(episodes) - len({episode.episode_id for episode in episodes})
    if twice:
        raise KinemaError(f"{path}: {twice} episodes have an episode_id that another one has")
    return [e for e in episodes if not languages or e.language is None or e.language in languages]


def write_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """Write `{split}.json.gz`, and `{split}_gt.json.gz` where every expert's way is known.

    Words are numbered in the order in which they are first said, after the padding and the unknown one.
    """
    if not path.name.endswith(".json.gz"):
        raise KinemaError(f"an episode file is called SPLIT.json.gz; got {path}")
    vocabulary = _Vocabulary()
    listed = [_listed(episode, vocabulary) for episode in episodes]
    _pack(path, {"episodes": listed, "instruction_vocab": vocabulary.to_json()})
    truths = {episode.episode_id: episode.truth for episode in episodes}
    if all(truths.values()):
        _pack(
            _beside(path),
            {
                episode_id: {
                    "locations": truth.locations.tolist(),
                    "actions": list(truth.actions),
                    "forward_steps": truth.actions.count(ACTIONS.index("forward")),
                }
                for episode_id, truth in truths.items()
                if truth is not None
            },
        )


class _Field:
    """A value in a file, by whose name what is wrong with it is told."""

    def __init__(self, path: Path, name: str, value: Any) -> None:
        self._path, self._name, self._value = path, name, value

    def wrong(self, wanted: str) -> KinemaError:
        return KinemaError(f"{self._path}: {self._name} must be {wanted}, got {str(self._value)[:60]!r}")

    def mapping(self) -> _Field:
        if not isinstance(self._value, dict):
            raise self.wrong("a mapping")
        return self

    def has(self, key: str) -> bool:
        return self._value.get(key) is not None

    def at(self, key: str) -> _Field:
        if not self.has(key):
            raise KinemaError(f"{self._path}: {self._name} has no {key}")
        return _Field(self._path, f"{self._name}: {key}", self._value[key])

    def items(self) -> list[_Field]:
        """Of a list, each by its own episode_id where it has one."""
        if not isinstance(self._value, list):
            raise self.wrong("a list")
        found = []
        for number, value in enumerate(self._value):
            told = (
                value.get("episode_id", f"number {number}") if isinstance(value, dict) else f"number {number}"
            )
            name = f"episode {told}" if self._name == "file: episodes" else f"{self._name} {number}"
            found.append(_Field(self._path, name, value).mapping())
        return found

    def text(self) -> str:
        if not isinstance(self._value, str) or not self._value.strip():
            raise self.wrong("text")
        return self._value

    def identity(self) -> str:
        """A number or a word, as text: R2R-CE has numbers, and its `_gt` the same as text."""
        if isinstance(self._value, bool) or not isinstance(self._value, int | str) or self._value == "":
            raise self.wrong("a number or a word")
        return str(self._value)

    def number(self) -> float:
        return float(self.numbers(()))

    def numbers(self, shape: tuple[int | None, ...]) -> np.ndarray:
        """Finite numbers of this shape, None for any length above 0."""
        try:
            found = np.array(self._value, np.float64)
        except (TypeError, ValueError):
            found = np.full((), np.nan)
        fits = found.ndim == len(shape) and all(
            n == m if m is not None else n > 0 for n, m in zip(found.shape, shape, strict=True)
        )
        if not fits or not np.isfinite(found).all():
            raise self.wrong(f"finite numbers of shape {tuple('any' if m is None else m for m in shape)}")
        return found


def _episode(told: _Field, truths: Mapping[str, Truth]) -> Episode:
    instruction = told.at("instruction").mapping()
    rotation = told.at("start_rotation").numbers((4,))
    if abs(float(np.linalg.norm(rotation)) - 1) > 1e-3:
        raise told.at("start_rotation").wrong("a unit quaternion (x, y, z, w)")
    goals = told.at("goals").items() if told.has("goals") else []
    if len(goals) > 1:
        raise told.at("goals").wrong("one goal")
    info = told.at("info").mapping() if told.has("info") else None
    episode_id = told.at("episode_id").identity()
    return Episode(
        episode_id=episode_id,
        trajectory_id=told.at("trajectory_id").identity(),
        scene_id=told.at("scene_id").text().removeprefix(_SCENES),
        instruction=instruction.at("instruction_text").text().strip(),
        start_position=told.at("start_position").numbers((3,)),
        start_rotation=rotation,
        goal=goals[0].at("position").numbers((3,)) if goals else None,
        radius_m=goals[0].at("radius").number() if goals and goals[0].has("radius") else 3.0,
        geodesic_m=info.at("geodesic_distance").number() if info and info.has("geodesic_distance") else None,
        reference_path=(told.at("reference_path").numbers((None, 3)) if told.has("reference_path") else None),
        truth=truths.get(episode_id),
        language=instruction.at("language").text() if instruction.has("language") else None,
        role=info.at("role").text() if info and info.has("role") else None,
    )


def _truths(path: Path) -> dict[str, Truth]:
    if not path.is_file():
        return {}
    told = _unpacked(path)
    if not isinstance(told, dict):
        raise KinemaError(f"{path}: file must be a mapping by episode_id")
    return {key: _truth(_Field(path, f"episode {key}", value).mapping()) for key, value in told.items()}


def _truth(told: _Field) -> Truth:
    actions = told.at("actions")
    numbers = actions.numbers((None,))
    if ((numbers != np.round(numbers)) | (numbers < 0) | (numbers >= len(ACTIONS))).any():
        raise actions.wrong(f"numbers of {', '.join(ACTIONS)}")
    return Truth(
        locations=told.at("locations").numbers((None, 3)), actions=tuple(int(number) for number in numbers)
    )


def _beside(path: Path) -> Path:
    """The file with the expert's ways."""
    return path.with_name(path.name.removesuffix(".json.gz") + "_gt.json.gz")


def _unpacked(path: Path) -> Any:
    """The JSON in a packed file, which may not grow beyond _MOST_BYTES."""
    try:
        with gzip.open(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise KinemaError(f"{path} is no whole .json.gz: {error}") from None
    if len(data) > _MOST_BYTES:
        raise KinemaError(f"{path} unpacks to more than {_MOST_BYTES >> 20} MiB; no episode file does")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise KinemaError(f"{path} holds no JSON: {error}") from None


def _pack(path: Path, content: Any) -> None:
    """Whole or not at all, and the same bytes for the same content."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    partial.replace(path)


def _listed(episode: Episode, vocabulary: _Vocabulary) -> dict[str, Any]:
    rxr = episode.language is not None
    info: dict[str, Any] = {} if episode.geodesic_m is None else {"geodesic_distance": episode.geodesic_m}
    words: dict[str, Any] = {"instruction_text": episode.instruction}
    if rxr:
        words |= {"instruction_id": episode.episode_id, "language": episode.language}
    else:
        words["instruction_tokens"] = vocabulary.tokens(episode.instruction)
    listed: dict[str, Any] = {
        "episode_id": _number(episode.episode_id),
        "trajectory_id": _number(episode.trajectory_id),
        "scene_id": episode.scene_id,
        "start_position": episode.start_position.tolist(),
        "start_rotation": episode.start_rotation.tolist(),
        "instruction": words,
    }
    if episode.role:
        info["role"] = episode.role
    if info:
        listed["info"] = info
    if episode.goal is not None:
        listed["goals"] = [{"position": episode.goal.tolist(), "radius": episode.radius_m}]
    if episode.reference_path is not None:
        listed["reference_path"] = episode.reference_path.tolist()
    return listed


def _number(identity: str) -> int | str:
    """As R2R-CE writes it, where reading it gives the same word again."""
    return int(identity) if identity.isdecimal() and str(int(identity)) == identity else identity


class _Vocabulary:
    """R2R-CE's numbers of words: 0 pads, 1 is unknown."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"<pad>": 0, "<unk>": 1}
        self._next = count(2)

    def tokens(self, text: str) -> list[int]:
        words = text.lower().replace(",", " , ").replace(".", " . ").split()[:_TOKENS]
        for word in words:
            if word not in self._numbers:
                self._numbers[word] = next(self._next)
        return [self._numbers[word] for word in words] + [0] * (_TOKENS - len(words))

    def to_json(self) -> dict[str, Any]:
        words = list(self._numbers)
        return {
            "word_list": words, "word2idx_dict": self._numbers, "stoi": self._numbers, "itos": words,
            "num_vocab": len(words), "UNK_INDEX": 1, "PAD_INDEX": 0,
        }  # fmt: skip
