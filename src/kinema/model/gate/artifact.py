"""A trained gate as one folder.

gate.json           format, network sizes, thresholds with their calibration, provenance
weights.safetensors
cards/NAME.json     the bodies it judges
example.safetensors one input and the answer it must give, checked at every load
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kinema.card.card import EmbodimentCard
from kinema.card.harm import EVENTS, HAZARDS
from kinema.model.gate.conformal import Threshold
from kinema.model.gate.latent_dynamics import (
    DynamicsConfig,
    Foreseen,
    LatentDynamics,
    Scenes,
    Seen,
    event_risk,
)
from kinema.model.stored import meaning_of, read_card, read_json, read_tensors
from kinema.schema import KinemaError

FORMAT = 1
_TOLERANCE = 2e-3  # of probabilities; other processors round differently


@dataclass(frozen=True, kw_only=True)
class GateArtifact:
    """A loaded gate. judged_steps: how many steps ahead a verdict looks; caution: see `event_risk`."""

    model: LatentDynamics
    cards: Mapping[str, EmbodimentCard]
    thresholds: Mapping[str, Threshold]
    judged_steps: int
    caution: float
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not 1 <= self.judged_steps <= self.model.config.steps:
            raise KinemaError(f"judged_steps {self.judged_steps} must lie in 1 ... {self.model.config.steps}")
        unknown = sorted(set(self.thresholds) - set(HAZARDS))
        if unknown or not self.thresholds:
            raise KinemaError(f"thresholds for {unknown or 'nothing'}; hazards are {', '.join(HAZARDS)}")

    def risk(self, seen: Seen, foreseen: Foreseen) -> Tensor:
        """Probabilities (B, K, T, E)."""
        return event_risk(seen, foreseen, self.caution)


def save(folder: Path, gate: GateArtifact, scenes: Scenes, path: Tensor) -> None:
    """Write an artifact. `scenes` and `path` (B = 1) become the example."""
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in gate.model.state_dict().items()}, folder / "weights.safetensors")
    about = {
        "format": FORMAT,
        "events": list(EVENTS),
        "dynamics": gate.model.config.to_json(),
        "judged_steps": gate.judged_steps,
        "caution": gate.caution,
        "thresholds": {name: threshold.to_json() for name, threshold in gate.thresholds.items()},
        "provenance": dict(gate.provenance),
    }
    (folder / "gate.json").write_text(json.dumps(about, indent=1) + "\n")
    for name, card in gate.cards.items():
        (folder / "cards" / f"{name}.json").write_text(card.model_dump_json(indent=1))
    tensors = {f"scenes.{f.name}": getattr(scenes, f.name).contiguous() for f in fields(Scenes)}
    tensors |= {"path": path.contiguous(), "risk": _answer(gate, scenes, path).contiguous()}
    save_file(tensors, folder / "example.safetensors")


def load(folder: Path, *, check: bool = True, device: str = "cpu") -> GateArtifact:
    """Read an artifact and, with `check`, prove it on its example. KinemaError names file and fault."""
    about = read_json(folder / "gate.json", "gate")
    if about.get("format") != FORMAT:
        raise KinemaError(f"{folder}/gate.json: format {about.get('format')!r}, this code reads {FORMAT}")
    if about.get("events") != list(EVENTS):
        raise KinemaError(f"{folder} foresees {about.get('events')}, this code needs {list(EVENTS)}")
    with meaning_of(folder / "gate.json"):
        model = LatentDynamics(DynamicsConfig(**about["dynamics"]))
    try:
        model.load_state_dict(read_tensors(folder / "weights.safetensors", "gate"))
    except RuntimeError as error:
        raise KinemaError(f"{folder}/weights.safetensors does not fit gate.json: {error}") from None
    cards = {name: read_card(folder / "cards" / f"{name}.json", "gate") for name in _bodies(folder, about)}
    with meaning_of(folder / "gate.json"):
        gate = GateArtifact(
            model=model.to(device).eval(),
            cards=cards,
            thresholds={name: Threshold(**entry) for name, entry in about["thresholds"].items()},
            judged_steps=about["judged_steps"],
            caution=about["caution"],
            provenance=about["provenance"],
        )
    if check:
        check_example(folder, gate, device)
    return gate


def _bodies(folder: Path, about: Mapping[str, Any]) -> list[str]:
    """Those that the thresholds were set on: a card that is lost must not leave its body unjudged."""
    with meaning_of(folder / "gate.json"):
        told = about["provenance"].get("calibration", {}).get("bodies")
    return list(told or sorted(path.stem for path in (folder / "cards").glob("*.json")))


def check_example(folder: Path, gate: GateArtifact, device: str = "cpu") -> None:
    """Answer the stored example; raises KinemaError if a risk differs by more than the tolerance."""
    tensors = read_tensors(folder / "example.safetensors", "gate")
    with meaning_of(folder / "example.safetensors"):
        scenes = Scenes(**{f.name: tensors[f"scenes.{f.name}"] for f in fields(Scenes)}).to(device)
        risk = _answer(gate, scenes, tensors["path"].to(device)).cpu()
        error = (risk - tensors["risk"]).abs().max().item()
    if not error <= _TOLERANCE:
        raise KinemaError(
            f"{folder} answers its own example with an error of {error:.2g} (allowed {_TOLERANCE}); "
            f"weights, versions or kernels differ"
        )


@torch.inference_mode()
def _answer(gate: GateArtifact, scenes: Scenes, path: Tensor) -> Tensor:
    seen, foreseen = gate.model(scenes, path)
    return gate.risk(seen, foreseen).clone()
