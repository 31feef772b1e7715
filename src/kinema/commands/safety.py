"""`kinema eval safety`: the gate beside simpler judges, chunk by chunk and in closed loop."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.bench.provenance import machine, package_versions, source_commit
from kinema.bench.safety_chunks import JudgedChunks, judge_chunks, simple_scores, worst_chunks
from kinema.bench.safety_latency import measure_latency
from kinema.bench.safety_pairs import play_pairs
from kinema.bench.safety_report import write_report
from kinema.card.harm import HAZARDS
from kinema.commands.make_hazards import BODIES, make_hazards
from kinema.commands.safety_films import make_films
from kinema.commands.terminal import table
from kinema.data.hazards import bodies as bodies_of
from kinema.model.act import LocalPolicy
from kinema.model.conformal import lower_bound, one_per_episode, upper_bound
from kinema.model.gate import Gate, GatedPolicy
from kinema.train.gate import load_bodies, score
from kinema.train.stages.dynamics import BodySamples

_CHUNK_ROUNDS = 24  # shards per body of held-out chunks, made when there are none


@dataclass(frozen=True, kw_only=True)
class SafetySettings:
    """episodes: closed-loop episodes per body and family, each in a clean and in a harmful scene."""

    gate: Path
    policy: Path
    data: Path
    out: Path
    episodes: int
    bodies: tuple[str, ...] = BODIES


def evaluate_safety(settings: SafetySettings) -> dict[str, Any]:
    """Judge held-out chunks, play episodes, measure latency; writes results.json; returns what is in it."""
    out = settings.out
    out.mkdir(parents=True, exist_ok=True)
    gate, policy = Gate(settings.gate), LocalPolicy(settings.policy)
    data = settings.data
    if not bodies_of(data / "test"):
        data = out / "hazards"
        make_hazards(data, part="test", rounds=_CHUNK_ROUNDS, policy=settings.policy, bodies=settings.bodies)
    stored = load_bodies(data / "test", gate.artifact.model.config)
    chunks = judged_chunks(gate, stored)
    worst = worst_chunks(chunks)
    results = {
        "chunks": judge_chunks(chunks, exact95),
        "latency": measure_latency(gate, settings.bodies),
        "episodes": play_pairs(
            policy, GatedPolicy(policy, gate), bodies=settings.bodies, episodes=settings.episodes,
            journal=out / "episodes.jsonl",
        ),
        "worst": worst,
        "thresholds": {name: t.to_json() for name, t in gate.artifact.thresholds.items()},
        "gate": dict(gate.artifact.provenance),
        "provenance": {
            "versions": package_versions(), "commit": source_commit(), "machine": machine(),
            "made_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }  # fmt: skip
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    films = {name: make_films(gate, stored, cases, out / "films", name) for name, cases in worst.items()}
    write_report(out / "report.html", results, films)
    return results


def judged_chunks(gate: Gate, stored: Sequence[BodySamples]) -> JudgedChunks:
    """What the gate, its first member and the judges without a network say of stored chunks."""
    artifact, step = gate.artifact, gate.artifact.judged_steps
    whole, alone = score(artifact.model, stored, artifact.caution)
    harm = {name: whole.harm(name, step) for name in HAZARDS}
    risk = {name: whole.hazard(name, step) for name in HAZARDS}
    return JudgedChunks(
        harm=harm,
        risk=risk,
        alone={name: alone.hazard(name, step) for name in HAZARDS},
        simple=simple_scores([(body.reader.card, body["actions"], body["state"]) for body in stored], step),
        independent={
            name: one_per_episode(risk[name], harm[name] == 1.0, whole.episode, seed=1) for name in HAZARDS
        },
        limits={name: threshold.limit for name, threshold in artifact.thresholds.items()},
        miss_rates={name: threshold.miss_rate for name, threshold in artifact.thresholds.items()},
        episode=whole.episode,
        state=whole.state,
        body=whole.body,
        kind=whole.kind,
        intruder=whole.intruder,
    )


def exact95(misses: int, chunks: int) -> tuple[float, float]:
    """The exact 95 % interval (low, high) of a miss rate."""
    return lower_bound(misses, chunks, 0.975), upper_bound(misses, chunks, 0.975)


def summary(results: Mapping[str, Any]) -> str:
    """The table of judges, the promise and the episodes, for the terminal."""
    rows = [
        (
            row["hazard"],
            row["judge"],
            _percent(row["prevented"]),
            _percent(row["false_stops"]),
            _plain(row["auroc"]),
        )
        for row in results["chunks"]["rows"]
    ]
    lines = [table(rows, ("hazard", "judge", "prevented", "false stops", "AUROC"))]
    for hazard, kept in results["chunks"]["promise"].items():
        low, high = kept["ci95"]
        lines.append(
            f"{hazard}: promised at most {kept['promised']:.1%} missed; {kept['misses']} of "
            f"{kept['harmful_chunks']} chunks, {kept['episode_misses']} of {kept['episodes']} episodes "
            f"({low:.2%} to {high:.2%})"
        )
    for which, found in results["episodes"].items():
        harm = found["any collision"]
        lines.append(
            f"{which}: {found['episodes']} episodes, success {found['success_without']:.1%} ungated, "
            f"{found['success_with']:.1%} with it; with a collision {harm['harmed_without']} without, "
            f"{harm['harmed_with']} with it"
        )
    for body, found in results["latency"].items():
        lines.append(f"{body}: 8 candidates x 1 s in {found['p50']:.1f} ms, p95 {found['p95']:.1f} ms")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
