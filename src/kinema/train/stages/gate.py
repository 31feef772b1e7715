"""The stage that teaches the gate what chunks lead to, from labelled chunks, and then sets its thresholds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kinema.data import hazards
from kinema.data.batch import joined
from kinema.model.gate import artifact as gate_artifact
from kinema.model.gate.latent_dynamics import DynamicsConfig, LatentDynamics, Scenes
from kinema.model.gate.losses import losses
from kinema.model.gate.samples import BodySamples, BodyScenes, DynamicsBatch, samples_of, scenes_of
from kinema.model.gate.scores import Promise, calibrated
from kinema.schema import KinemaError
from kinema.train.record import DataPart, digest
from kinema.train.stage import MadeOf, RowStage, Setting, start_from

DATA_COMMAND = "kinema data make hazards --out data/hazards"
_TOLD = 0.25  # share of states that are told the true heights
_WITHOUT_EARLIER = 0.3  # share of states that must do with the present picture, as a first question does
_JUDGED = 256  # states of each body
_TRIED = ("seed", "step", "state", "actions", "severity")
_PARENT = "started_from.json"  # in a checkpoint


class GateStage(RowStage[LatentDynamics, DynamicsBatch]):
    """Learns from `hazards/train` and `hazards/scenes` below the data folder; a batch is of states, each with
    all its chunks. Each member leaves out a share of the states, its own each time."""

    weights: Mapping[str, float] = {
        "events": 1.0,
        "there": 2.0,
        "heights": 0.2,
        "points": 0.5,
        "progress": 0.3,
    }

    def __init__(
        self, setting: Setting, config: DynamicsConfig | None = None, promise: Promise | None = None,
        *, left_out: float = 0.2, bodies: Sequence[BodySamples] = (), scenes: Sequence[BodyScenes] = (),
    ) -> None:  # fmt: skip
        """bodies, scenes: what is learnt from, instead of what lies there."""
        config, self.promise, self.left_out = config or DynamicsConfig(), promise or Promise(), left_out
        self._data = setting.data / "hazards"
        if not bodies:
            if not hazards.bodies(self._data / "train"):
                raise KinemaError(f"no labelled chunks below {self._data}; make them with: {DATA_COMMAND}")
            bodies = samples_of(hazards.read_bodies(self._data / "train"), config)
            scenes = scenes_of(hazards.read_bodies(self._data / "scenes", hazards.SCENE_FIELDS), config)
        self.bodies, self.scenes = bodies, scenes
        self.model = LatentDynamics(config)
        stored = setting.stored
        start = gate_artifact.load(setting.init) if setting.init else None
        if start:
            start_from(self.model, start.model)
        self._parent = json.loads(stored[_PARENT]) if stored else dict(start.provenance) if start else None
        sizes = np.array([len(body) for body in bodies], np.float64)
        self._shares = sizes / sizes.sum()
        self.made_of = MadeOf(
            network=config.to_json(),
            data=[*(_part("states", body, _TRIED) for body in bodies)]
            + [_part("scenes", scene, ("state", "heights")) for scene in scenes],
            cards=[body.reader.card for body in bodies],
            assets={_PARENT: json.dumps(self._parent).encode()},
        )

    def choose(self, rng: np.random.Generator, count: int, drawn: int) -> np.ndarray:
        """Body, state, and, the same in a batch, whose scene is looked at beside, and which scene."""
        body = rng.choice(len(self.bodies), count, p=self._shares)
        state = rng.integers(0, np.array([len(b) for b in self.bodies])[body])
        beside = int(rng.integers(len(self.scenes))) if self.scenes else 0
        scene = rng.integers(0, len(self.scenes[beside]), count) if self.scenes else np.zeros(count, int)
        rows = np.stack([body, state, np.full(count, beside), scene], 1)
        return rows[np.argsort(body, kind="stable")]

    def gather(self, rows: np.ndarray) -> DynamicsBatch:
        parts = [self.bodies[i].batch(rows[rows[:, 0] == i, 1]) for i in np.unique(rows[:, 0])]
        batch = joined(parts)
        if not self.scenes:
            return batch
        return replace(batch, more=self.scenes[rows[0, 2]].draw(rows[:, 3]))

    def origin(self, rows: np.ndarray) -> list[str]:
        said = []
        for body, state, beside, scene in rows:
            samples = self.bodies[body]
            name = f"{samples.reader.card.name}, state {state}, seed {samples['seed'][state]}"
            if self.scenes:
                name += f" (or scene of {self.scenes[beside].reader.card.name} {scene})"
            said.append(name)
        return said

    def __call__(self, batch: DynamicsBatch, generator: torch.Generator) -> dict[str, Tensor]:
        # randomness is drawn on the CPU, so that it is the same on every device
        device = self.device
        light = _other_light(batch.scenes, generator)
        M, B = self.model.config.members, len(batch)
        # some states are told the true heights: what paths over them lead to is then learnt from the start
        told = torch.rand(B, generator=generator) < _TOLD
        use = (torch.rand(M, B, generator=generator) >= self.left_out).float()
        use = (use / use.sum().clamp_min(1.0)).to(device)
        more = None if batch.more is None else (_other_light(batch.more[0], generator), batch.more[1])
        batch = replace(batch, scenes=light, more=more).to(device)
        return losses(self.model, batch, told.to(device), use)

    def judge(self, model: LatentDynamics) -> Mapping[str, Any]:
        """By body, how well events are foretold on the calibration's states (cross-entropy)."""
        return {body.reader.card.name: {"events": _event_loss(model, body)} for body in self._kept()}

    def provenance(self) -> Mapping[str, Any]:
        return {
            "data": [
                {
                    "card": body.reader.card.name,
                    "states": len(body),
                    "chunks": int(body["kind"].size),
                    "seeds": [int(body["seed"].min()), int(body["seed"].max())],
                }
                for body in self.bodies
            ],
            "started_from": self._parent,
        }

    def export(
        self, model: LatentDynamics, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        kept = self._kept()
        example = kept[0].batch(np.arange(1))
        gate = calibrated(model, kept, self.promise, provenance)
        gate_artifact.save(folder, gate, example.scenes, example.path)

    def _kept(self) -> list[BodySamples]:
        """What limits are set on, and never learnt from."""
        return samples_of(hazards.read_bodies(self._data / "calibration"), self.model.config)


def _part(what: str, body: BodyScenes, told: Sequence[str]) -> DataPart:
    name = f"{what} of {body.reader.card.name}"
    return DataPart(name=name, rows=len(body), digest=digest(*(body[one] for one in told)))


@torch.inference_mode()
def _event_loss(model: LatentDynamics, body: BodySamples) -> float:
    batch = body.batch(np.arange(min(len(body), _JUDGED)))
    _, foreseen = model(batch.scenes, batch.path)
    wanted = batch.events.expand_as(foreseen.events)
    return float(functional.binary_cross_entropy_with_logits(foreseen.events, wanted))


def _other_light(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """Brightness and contrast of each state's pictures, the same for all its pictures."""
    B = len(scenes.images)
    gain = 1 + 0.2 * torch.randn(B, 1, 3, 1, 1, generator=generator)
    shift = 12 * torch.randn(B, 1, 1, 1, 1, generator=generator)

    def shine(images: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return (images.float() * gain + shift).clamp(0, 255)

    images, earlier = shine(scenes.images, gain, shift), shine(scenes.earlier, gain[:, 0], shift[:, 0])
    alone = torch.rand(B, generator=generator) < _WITHOUT_EARLIER
    earlier[alone] = images[alone, 0]
    return replace(scenes, images=images, earlier=earlier)
