"""Rounds of playing and learning. What is on the disk says where to go on:

round_003/policy/             the artifact that plays this round, in full precision
round_003/value.safetensors
round_003/episodes/           its rollouts, while they are learnt from, and the journal of whoever played them
curve.jsonl                   a line for every round that was learnt from
artifact/                     the best round's policy, or the last one's where none is judged
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from kinema.data.batch import Batch
from kinema.model.policy import artifact
from kinema.schema import KinemaError
from kinema.train.reinforce.learner import LearnConfig, Learner, shown
from kinema.train.reinforce.rollout import SUFFIX, Rollout
from kinema.train.reinforce.value import ValueHead

Collect = Callable[[Path, int, Path], None]  # of an artifact, the round and where to leave rollouts
Judge = Callable[[Path, int, Path], float]  # of an artifact, the round and where to leave its results
CURVE = "curve.jsonl"


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """judge_every: rounds from one judgement to the next; 0: never. demonstrations: how many windows"""

    rounds: int
    seed: int = 0
    judge_every: int = 0
    demonstrations: int = 2048
    learn: LearnConfig = field(default_factory=LearnConfig)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise KinemaError(f"rounds must be at least 1; got {self.rounds}")


def reinforce(
    start: Path, out: Path, config: ReinforceConfig, collect: Collect, judge: Judge | None = None,
    batches: Callable[[int], Batch] | None = None, about: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Go on in `out` from where it stands; the folder of the artifact.

    collect: leaves `*.rollout.safetensors`; what it left before it was stopped it finds again
    batches: of demonstrations, by number; about: what provenance is to say besides
    """
    _begin(out, start, config, about or {})
    lines = _curve(out)
    shown_so_far = None
    for number in range(len(lines), config.rounds):
        folder = out / f"round_{number:03d}"
        loaded = artifact.load(folder / "policy")
        value = ValueHead(loaded.policy.config.decoder.width)
        value.load_state_dict(load_file(folder / "value.safetensors"))
        judged = None
        if judge and config.judge_every and number % config.judge_every == 0:
            judged = judge(folder / "policy", number, folder / "judged")
        collect(folder / "policy", number, folder / "episodes")
        rounds = range(max(0, number - config.learn.rounds + 1), number + 1)
        rollouts = [_rollouts(out / f"round_{earlier:03d}" / "episodes") for earlier in rounds]
        if batches is not None and shown_so_far is None:
            shown_so_far = shown(loaded.policy, batches, config.demonstrations)
        learner = Learner(loaded.policy, value, config.learn, shown_so_far)
        numbers = learner.learn([one for of_round in rollouts for one in of_round], config.seed + number)
        _leave(out / f"round_{number + 1:03d}", loaded, value)
        won = sum(rollout.success for rollout in rollouts[-1])
        line = {"round": number, "episodes": len(rollouts[-1]), "won": won, "judged": judged, **numbers}
        with (out / CURVE).open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(_said(line), flush=True)
        _forget(out / f"round_{number + 1 - config.learn.rounds:03d}" / "episodes")
    return _ship(out, config, judge)


def _begin(out: Path, start: Path, config: ReinforceConfig, about: Mapping[str, Any]) -> None:
    """The first round's folder. Raises KinemaError where `out` holds another run."""
    began = {"start": str(start), "config": asdict(config), "about": dict(about)}
    began = json.loads(json.dumps(began, default=str))
    began["config"].pop("rounds")  # a run may be made longer
    path = out / "run.json"
    if path.exists():
        if (held := json.loads(path.read_text())) != began:
            differs = [key for key in began if held.get(key) != began[key]]
            raise KinemaError(f"{out} holds a run with another {', '.join(differs)}; choose another --out")
        return
    loaded = artifact.load(start)
    torch.manual_seed(config.seed)
    _leave(out / "round_000", loaded, ValueHead(loaded.policy.config.decoder.width))
    path.write_text(json.dumps(began, indent=1))


def _leave(folder: Path, loaded: artifact.Artifact, value: ValueHead) -> None:
    """A round's policy and value head; the folder appears whole."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    artifact.save(
        partial / "policy", loaded.policy, loaded.tokenizer, loaded.codecs, artifact.example(loaded.folder),
        loaded.provenance, exact=True,
    )  # fmt: skip
    save_file(value.state_dict(), partial / "value.safetensors")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _rollouts(folder: Path) -> list[Rollout]:
    found = [Rollout.load(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    if not found:
        raise KinemaError(f"no rollout lies in {folder}")
    return found


def _forget(folder: Path) -> None:
    """Remove the rollouts of a round that nothing will be learnt from again; they are large."""
    for path in folder.glob(f"*{SUFFIX}"):
        path.unlink()


def _curve(out: Path) -> list[dict[str, Any]]:
    path = out / CURVE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _ship(out: Path, config: ReinforceConfig, judge: Judge | None) -> Path:
    """Make the artifact: of the round judged best, the last of equals, or of the last round."""
    lines, chosen = _curve(out), config.rounds
    scores = {line["round"]: line["judged"] for line in lines if line["judged"] is not None}
    if judge and scores:
        last = out / f"round_{chosen:03d}"
        scores[chosen] = judge(last / "policy", chosen, last / "judged")
        chosen = max(scores, key=lambda number: (scores[number], number))
    loaded = artifact.load(out / f"round_{chosen:03d}" / "policy")
    folder = out / "artifact"
    shutil.rmtree(folder, ignore_errors=True)
    provenance = {
        "started_from": dict(loaded.provenance),
        "reinforced": {
            **json.loads((out / "run.json").read_text()),
            "rounds": chosen,
            "episodes": sum(line["episodes"] for line in lines[:chosen]),
            "judged": scores,
        },
    }
    artifact.save(
        folder, loaded.policy, loaded.tokenizer, loaded.codecs, artifact.example(loaded.folder), provenance
    )
    return folder


def _said(line: Mapping[str, Any]) -> str:
    judged = "" if line["judged"] is None else f"; before it, judged {100 * line['judged']:.1f} %"
    return f"round {line['round']}: {line['won']} of {line['episodes']} episodes succeeded{judged}"
