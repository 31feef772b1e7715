"""The stage that teaches Scene2Robot: pairs of a scene and a robot alone, and the robot in that scene.

As in the world model's stage all latents are computed once and kept in memory, and the loss is the world
model's own: what is given has none.

Axes: M clips, C latent channels, T latent frames, h x w latents of the canvas, V views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kinema.data.aligned import AlignedClips, SegmentClips
from kinema.data.clips import Part
from kinema.data.frames import Way
from kinema.model.device import AskedPrecision, Precision, autocast
from kinema.model.world import scene2robot
from kinema.model.world.artifact import encode_views
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.errors import unexplained_of
from kinema.model.world.latents import Pairs, WorldBatch, by_body, pair_batch
from kinema.model.world.model import WorldConfig, WorldModel
from kinema.model.world.scene2robot import Scene2Robot
from kinema.space.clip_shape import ClipShape
from kinema.train.latents import body_parts
from kinema.train.record import weights_digest
from kinema.train.stage import MadeOf, Setting, start_from
from kinema.train.stages.video_code import finished_code
from kinema.train.stages.world import FilmStage

_AT_ONCE = 8  # clips that go through the code together
_HELD_OUT = 64  # clips of each kind that the result is judged on


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a run learns from and what it leaves as it is. held_out: pairs it is judged on, by kind."""

    pairs: Pairs
    code: ChangeCode
    held_out: Mapping[str, Pairs] = field(default_factory=dict)


def read_material(
    setting: Setting, *, kinds: Mapping[str, Callable[[Path, Part, Way], list[AlignedClips]]], code: str,
    count: int = 4000,
) -> Material:  # fmt: skip
    """Clips below the data folder, through the code that the run of the recipe `code` beside this one made.

    kinds: of bodies; the first is learnt from, as many clips of each body, and all are judged
    """
    made = finished_code(code, setting.out)
    count = 8 if setting.is_planned else count
    paired = next(iter(kinds.values()))(setting.data, "train", setting.pictures)
    kept = {name: read(setting.data, "validation", setting.pictures) for name, read in kinds.items()}
    return Material(
        pairs=make_pairs(made, paired, count, setting.seed, setting.precision),
        code=made,
        held_out={
            name: make_pairs(made, sets, _HELD_OUT, precision=setting.precision)
            for name, sets in kept.items()
            if sets
        },
    )


class Scene2RobotStage(FilmStage):
    """Learns from pairs; the code stays as it is."""

    def __init__(
        self, setting: Setting, *, config: WorldConfig, material: Callable[[Setting], Material],
        clips: ClipShape | None = None,
    ) -> None:  # fmt: skip
        start = scene2robot.load(setting.init).model if setting.init else None
        self.material, self.clips = material(setting), clips or ClipShape()
        pairs = self.material.pairs
        self._precision: Precision = setting.precision
        self.model = WorldModel(config)
        if start is not None:
            start_from(self.model, start)
        self.made_of = MadeOf(
            network=config.to_json(),
            data=body_parts("pairs", pairs.card, pairs.scene, pairs.alone, pairs.robot),
            fixed={"clips": asdict(self.clips), "code": weights_digest(self.material.code)},
        )

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        return rng.integers(0, len(self.material.pairs), count)

    def gather(self, rows: np.ndarray) -> WorldBatch:
        return pair_batch(self.material.pairs, torch.from_numpy(rows.copy()))

    def origin(self, rows: np.ndarray) -> list[str]:
        return [f"{self.material.pairs.card[row]}, pair {row}" for row in rows]

    def judge(self, model: WorldModel) -> Mapping[str, Any]:
        """By kind of pairs, what one look from pure noise leaves unexplained of the robot."""
        return {
            name: unexplained_of(model, pair_batch(kept, torch.arange(len(kept))), self._precision)
            for name, kept in self.material.held_out.items()
        }

    def provenance(self) -> Mapping[str, Any]:
        """clips: of the bodies in pairs, no others."""
        return {"clips": {name: len(own) for name, own in by_body(self.material.pairs.card).items()}}

    def export(
        self, model: WorldModel, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        made = Scene2Robot(model=model, vae=self.material.code, clips=self.clips, provenance=provenance)
        scene2robot.save(folder, made, pair_batch(self.material.pairs, torch.arange(1)).scene)


def make_pairs(
    code: ChangeCode, bodies: Sequence[AlignedClips], count: int, seed: int = 0,
    precision: AskedPrecision = "auto",
) -> Pairs:  # fmt: skip
    """About so many clips, as many of each body, as latents."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Tensor]] = {"scene": [], "alone": [], "robot": []}
    cards: list[str] = []
    for body in bodies:
        rows = rng.permutation(len(body))[: max(1, round(count / len(bodies)))]
        cards += [body.body] * len(rows)
        for begin in tqdm(range(0, len(rows), _AT_ONCE), desc=f"latents of {body.body}", leave=False):
            for name, segment in (("scene", body.scene), ("alone", body.alone), ("robot", body.robot)):
                parts[name].append(_latents(code, segment, rows[begin : begin + _AT_ONCE], precision))
    joined = {name: torch.cat(latents) for name, latents in parts.items()}
    return Pairs(**joined, card=np.array(cards), views=bodies[0].robot.views)


@torch.no_grad()
def _latents(code: ChangeCode, segment: SegmentClips, rows: np.ndarray, precision: AskedPrecision) -> Tensor:
    with autocast(code.device, precision):  # stored in half precision anyway
        return encode_views(code, segment.frames(rows)).half()
