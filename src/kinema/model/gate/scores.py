"""What the gate's network says of stored chunks, and the thresholds that keep a promise about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from kinema.card.harm import EVENTS, HAZARDS, harm
from kinema.model.gate.artifact import GateArtifact
from kinema.model.gate.conformal import Threshold, calibrate
from kinema.model.gate.latent_dynamics import LatentDynamics, event_risk
from kinema.model.gate.samples import BodySamples


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


def calibrated(
    model: LatentDynamics, bodies: Sequence[BodySamples], promise: Promise, provenance: Mapping[str, Any]
) -> GateArtifact:
    """A gate whose thresholds keep the promise on these chunks, which it never learnt from."""
    scores, _ = score(model, bodies, promise.caution)
    return GateArtifact(
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
