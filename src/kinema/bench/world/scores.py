"""Every measure of one imagined film against the true one, and all films' measures as one table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.bench.episode import EpisodeRecord
from kinema.bench.metrics import features, images, paths, physics
from kinema.bench.metrics.following import judge
from kinema.bench.metrics.geometry import Pinhole, fixed_camera
from kinema.bench.metrics.intervals import bootstrap95, wilson95
from kinema.bench.metrics.tracks import Eyes, Tracks, track
from kinema.bench.world.scene import Scene
from kinema.card.card import EmbodimentCard
from kinema.schema import Film, KinemaError, Result

# What is counted (0 or 1 per film) and what is averaged; the order of the table's columns.
COUNTED = ("followed", "right_thing", "placed")
AVERAGED = (
    "hsd", "ndtw", "dyn", "scene_consistency", "psnr_db", "ssim", "feature_distance", "permanence",
    "no_penetration", "gravity", "inertia", "views_apart_m", "views_apart_aligned_m",
)  # fmt: skip
LOWER_IS_BETTER = ("feature_distance", "views_apart_m", "views_apart_aligned_m", "frechet_distance")
_ALIGNED_WITHIN = 2  # frames
_EMBEDDED_LAYER, _CONSISTENCY_LAYER = 2, 2  # of the encoder's maps


@dataclass(frozen=True, kw_only=True)
class Judged:
    """scores: measures by name, without those that do not apply; embedding (D,) of the film."""

    scores: Mapping[str, float]
    embedding: np.ndarray
    cause: str


class FilmJudge:
    """Holds one true film, looked at once, and judges imagined ones against it."""

    def __init__(self, scene: Scene, eyes: Eyes, card: EmbodimentCard) -> None:
        self._scene, self._eyes, self._card = scene, eyes, card
        self._camera, self._pinhole = fixed_camera(card)
        self.true_tracks = track(scene.true, eyes)
        self._true_maps = self._maps(scene.true)

    def judge(self, film: Film, instruction: str) -> Judged:
        """Every measure of a film of this scene. KinemaError when its shape is not the true film's."""
        true = self._scene.true
        if film.frames.shape != true.frames.shape or film.cameras != true.cameras:
            raise KinemaError(
                f"the imagined film has frames {film.frames.shape} of {film.cameras}; the true one has "
                f"{true.frames.shape} of {true.cameras}"
            )
        tracks, maps = track(film, self._eyes), self._maps(film)
        followed = judge(tracks, instruction, self._card)
        scores = {
            "followed": float(followed.success),
            "right_thing": float(followed.right_thing),
            "placed": float(followed.placed),
            "distance_m": followed.distance_m,
            **paths.path_scores(tracks.grippers(self._camera), self.true_tracks.grippers(self._camera)),
            "scene_consistency": self._consistency(film, maps),
            "psnr_db": images.psnr(film.frames[1:], true.frames[1:]),
            "ssim": images.ssim(film.frames[1:], true.frames[1:]),
            "feature_distance": features.perceptual_distance(maps, self._true_maps),
            **self._physics(tracks),
        }
        known = {name: round(value, 6) for name, value in scores.items() if math.isfinite(value)}
        cause = _cause(followed.right_thing, followed.placed, followed.moved)
        embedding = np.concatenate([features.film_embedding(m) for m in self._by_view(film, maps)])
        return Judged(scores=known, embedding=embedding.astype(np.float32), cause=cause)

    def _maps(self, film: Film) -> list[np.ndarray]:
        return self._eyes.features(film.frames.reshape(-1, *film.frames.shape[2:]))

    def _by_view(self, film: Film, maps: list[np.ndarray]) -> list[np.ndarray]:
        """The embedded layer's maps (F, h, w, C) of each view."""
        layer = maps[_EMBEDDED_LAYER]
        split = layer.reshape(*film.frames.shape[:2], *layer.shape[1:])
        return [split[:, view] for view in range(split.shape[1])]

    def _consistency(self, film: Film, maps: list[np.ndarray]) -> float:
        """Of the view that stands still: a camera that moves sees another scene."""
        view = film.cameras.index(self._camera)
        return features.scene_consistency(self._by_view(film, maps)[view])

    def _physics(self, tracks: Tracks) -> dict[str, float]:
        camera, pinhole = self._camera, self._pinhole
        found = {
            "permanence": physics.permanence(tracks, camera),
            "no_penetration": physics.no_penetration(tracks, camera, pinhole),
            "inertia": physics.inertia(tracks, camera, pinhole),
        }
        moving = [name for name in tracks.cameras if name != camera]
        if moving:
            poses = self._poses(moving[0])
            found["gravity"] = physics.gravity(tracks, camera, pinhole, moving[0], poses)
            for name, window in (("views_apart_m", 0), ("views_apart_aligned_m", _ALIGNED_WITHIN)):
                apart_m = physics.view_distances(tracks, camera, pinhole, moving[0], poses, window)
                found[name] = float(np.median(apart_m)) if len(apart_m) else math.nan
        return found

    def _poses(self, camera: str) -> list[Pinhole]:
        view = self._scene.true.cameras.index(camera)
        return [views[view] for views in self._scene.cameras]


def _cause(right_thing: bool, placed: bool, moved: tuple[str, ...]) -> str:
    if right_thing and placed:
        return "right thing, right place"
    if right_thing:
        return "right thing, not in its place"
    return f"moved {moved[0]} instead" if moved else "nothing moved"


def world_table(
    records: Iterable[EpisodeRecord], embeddings: Mapping[str, np.ndarray], eyes: Mapping[str, Any]
) -> dict[str, Any]:
    """All measures by contestant, with intervals. Errors are counted apart and enter no mean.

    embeddings: (N, D) of all films by contestant; eyes: what says which detector and encoder was used.
    """
    every = list(records)
    judged = [record for record in every if record.result != Result.ERROR]
    names = dict.fromkeys(key.partition(".")[0] for record in judged for key in record.measures)
    contestants = {name: _row(name, judged) for name in names}
    true = embeddings.get("true")
    for name, films in embeddings.items():
        if true is not None and name in contestants and len(films) >= 2 and len(films) == len(true):
            distance = features.frechet_distance(films, true)
            contestants[name]["frechet_distance"] = {"mean": round(distance, 4), "films": len(films)}
    return {
        "films": len(judged),
        "errors": len(every) - len(judged),
        "eyes": dict(eyes),
        "contestants": contestants,
        "imagined_minus": {
            name: _differences(judged, name) for name in contestants if name not in ("imagined", "other")
        },
    }


def _row(name: str, records: list[EpisodeRecord]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for measure in COUNTED:
        values = _values(records, f"{name}.{measure}")
        if values:
            low, high = wilson95(int(sum(values)), len(values))
            row[measure] = _entry(values, low, high)
    for measure in AVERAGED:
        values = _values(records, f"{name}.{measure}")
        if values:
            row[measure] = _entry(values, *bootstrap95(values))
    return row


def _entry(values: list[float], low: float, high: float) -> dict[str, Any]:
    mean = math.fsum(values) / len(values)
    return {"mean": round(mean, 6), "ci95": [round(low, 6), round(high, 6)], "films": len(values)}


def _differences(records: list[EpisodeRecord], name: str) -> dict[str, Any]:
    """Imagined minus another contestant, scene by scene, with the bootstrap's interval of the mean."""
    row = {}
    for measure in (*COUNTED, *AVERAGED):
        keys = f"imagined.{measure}", f"{name}.{measure}"
        both = [r.measures for r in records if all(key in r.measures for key in keys)]
        values = [measures[keys[0]] - measures[keys[1]] for measures in both]
        if values:
            row[measure] = _entry(values, *bootstrap95(values))
    return row


def _values(records: list[EpisodeRecord], key: str) -> list[float]:
    return [record.measures[key] for record in records if key in record.measures]


def save_table(out: Path, table: Mapping[str, Any]) -> Path:
    """Write `out/world.json` whole or not at all."""
    path = out / "world.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(table, indent=1, allow_nan=False) + "\n")
    partial.replace(path)
    return path
