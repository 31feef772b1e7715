"""From labelled chunks to a gate: streams, loop, averaged weights, thresholds, artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.card.harm import EVENTS, HAZARDS, harm
from kinema.card.load import load_card
from kinema.data import hazards
from kinema.model.gate import artifact as gate_artifact
from kinema.model.gate.conformal import Threshold, calibrate
from kinema.model.gate.inputs import SceneReader
from kinema.model.gate.latent_dynamics import DynamicsConfig, LatentDynamics, event_risk
from kinema.train.loop import Loop, LoopConfig
from kinema.train.provenance import recorded
from kinema.train.record import DataPart
from kinema.train.stages.dynamics import BodySamples, BodyScenes, Dynamics, HazardStream


@dataclass(frozen=True, kw_only=True)
class GateTrainConfig:
    """One run of the dynamics stage. Batches are states, each with all its chunks."""

    name: str
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    batch_size: int = 16
    loop: LoopConfig
    threads: int = 1


def load_bodies(folder: Path, config: DynamicsConfig) -> list[BodySamples]:
    """The samples of every body below a folder."""
    return [
        BodySamples(SceneReader(load_card(name), config), hazards.read_shards(folder, name))
        for name in hazards.bodies(folder)
    ]


def load_scenes(folder: Path, config: DynamicsConfig) -> list[BodyScenes]:
    """The scenes to look at of every body below a folder; none when there is no such folder."""
    return [
        BodyScenes(
            SceneReader(load_card(name), config), hazards.read_shards(folder, name, hazards.SCENE_FIELDS)
        )
        for name in hazards.bodies(folder)
    ]


class GateTraining:
    """A run that can be resumed; `weights` are the averaged ones to ship."""

    def __init__(self, config: GateTrainConfig, data: Path, out: Path, *, resume: bool = False) -> None:
        """resume: go on from the newest checkpoint below `out`."""
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.bodies = load_bodies(data / "train", config.dynamics)
        self.model = LatentDynamics(config.dynamics)
        stage = Dynamics(self.model)
        scenes = load_scenes(data / "scenes", config.dynamics)
        stream = HazardStream(self.bodies, batch_size=config.batch_size, seed=config.loop.seed, scenes=scenes)
        record = recorded(
            config,
            config.dynamics.to_json(),
            [*map(_part, self.bodies), *map(_part, scenes)],
            cards=[body.reader.card for body in self.bodies],
        )
        self.loop = Loop(self.model, stage, stage.weights, stream, config.loop, out, record=record)
        if resume:
            self.loop.resume()

    def trained(self) -> LatentDynamics:
        """The averaged weights as a network of their own, in eval mode."""
        model = LatentDynamics(self.config.dynamics)
        model.load_state_dict({k: v.detach().cpu().clone() for k, v in self.loop.ema.weights.items()})
        return model.eval()


def _part(body: BodySamples | BodyScenes) -> DataPart:
    kind = "states" if isinstance(body, BodySamples) else "scenes"
    return DataPart(name=f"{kind} of {body.reader.card.name}", rows=len(body), digest=body.digest())


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What is promised of misses: at most this share of harmful chunks, at this confidence, by hazard.

    judged_steps: how far ahead a verdict looks; what is farther off is judged again before it is due
    """

    miss_rate: dict[str, float] = field(
        default_factory=lambda: {"collision": 0.03, "intruder": 0.55, "torque": 0.5, "drop": 0.6}
    )
    confidence: float = 0.9
    judged_steps: int = 5
    caution: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a network says of stored chunks, N of them in the order of states and chunks.

    risk: float32 (N, T, E) by step and event; severity: (N, T, S); episode: (N,), distinct between bodies
    state: (N,) index of the state; kind, intruder, body: (N,)
    """

    risk: np.ndarray
    severity: np.ndarray
    episode: np.ndarray
    state: np.ndarray
    kind: np.ndarray
    intruder: np.ndarray
    body: np.ndarray

    def hazard(self, name: str, step: int) -> np.ndarray:
        """The risk (N,) of a hazard within so many steps."""
        columns = [list(EVENTS).index(part) for part in HAZARDS[name]]
        return 1.0 - np.prod(1.0 - self.risk[:, step - 1, columns].astype(np.float64), axis=-1)

    def harm(self, name: str, step: int) -> np.ndarray:
        """Whether the hazard came true within so many steps (N,): 1, 0 or NaN in between."""
        return harm(self.severity[:, step - 1])[name]


@torch.inference_mode()
def score(
    model: LatentDynamics, bodies: Sequence[BodySamples], caution: float, batch: int = 16
) -> tuple[Scores, Scores]:
    """Let a network judge all stored chunks: the whole ensemble, and its first member alone."""
    parts: dict[str, list[np.ndarray]] = {f.name: [] for f in fields(Scores)}
    alone: list[np.ndarray] = []
    states = 0
    for number, body in enumerate(bodies):
        for first in range(0, len(body), batch):
            rows = np.arange(first, min(first + batch, len(body)))
            drawn = body.batch(rows)
            seen, foreseen = model(drawn.scenes, drawn.path)
            first_member = replace(foreseen, events=foreseen.events[:1])
            parts["risk"].append(event_risk(seen, foreseen, caution).flatten(0, 1).numpy())
            alone.append(event_risk(seen, first_member, 0.0).flatten(0, 1).numpy())
        chunks = body["kind"].shape[1]
        parts["severity"].append(body["severity"].reshape(-1, *body["severity"].shape[2:]).astype(np.float32))
        parts["episode"].append(np.repeat(body["seed"], chunks) * 10 + number)
        parts["state"].append(np.repeat(states + np.arange(len(body)), chunks))
        parts["kind"].append(body["kind"].ravel())
        parts["intruder"].append(np.repeat(body["intruder"], chunks))
        parts["body"].append(np.full(len(body) * chunks, body.reader.card.name))
        states += len(body)
    whole = Scores(**{name: np.concatenate(arrays) for name, arrays in parts.items()})
    return whole, replace(whole, risk=np.concatenate(alone))


def thresholds(scores: Scores, promise: Promise) -> dict[str, Threshold]:
    """Set every hazard's threshold on the calibration's chunks. Raises KinemaError when they are too few."""
    found = {}
    for hazard, miss_rate in promise.miss_rate.items():
        found[hazard] = calibrate(
            scores.hazard(hazard, promise.judged_steps),
            scores.harm(hazard, promise.judged_steps) == 1.0,
            scores.episode,
            miss_rate=miss_rate,
            confidence=promise.confidence,
        )
    return found


def export(
    model: LatentDynamics, data: Path, folder: Path, promise: Promise, provenance: Mapping[str, Any]
) -> Path:
    """Set the thresholds on `data/calibration` and write the artifact."""
    bodies = load_bodies(data / "calibration", model.config)
    scores, _ = score(model, bodies, promise.caution)
    gate = gate_artifact.GateArtifact(
        model=model,
        cards={body.reader.card.name: body.reader.card for body in bodies},
        thresholds=thresholds(scores, promise),
        judged_steps=promise.judged_steps,
        caution=promise.caution,
        provenance={
            **provenance,
            "calibration": {
                "date": datetime.now(UTC).date().isoformat(),
                "episodes": len(np.unique(scores.episode)),
                "chunks": len(scores.episode),
                "seeds": [
                    int(min(b["seed"].min() for b in bodies)),
                    int(max(b["seed"].max() for b in bodies)),
                ],
                "bodies": [body.reader.card.name for body in bodies],
                "method": "exact binomial upper bound on one harmful chunk per episode",
            },
        },
    )
    example = bodies[0].batch(np.arange(1))
    gate_artifact.save(folder, gate, example.scenes, example.path)
    return folder
