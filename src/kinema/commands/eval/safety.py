"""`kinema eval safety`: the gate beside simpler judges, chunk by chunk and in closed loop."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kinema.bench.benchmark import Factory
from kinema.bench.episode import episode_seed
from kinema.bench.identity import made_by, without_places
from kinema.bench.journal import Journal
from kinema.bench.provenance import machine, source_commit
from kinema.bench.safety.chunks import JudgedChunks, judge_chunks, simple_scores, worst_chunks
from kinema.bench.safety.episodes import AskedOneByOne
from kinema.bench.safety.latency import measure_latency
from kinema.bench.safety.pairs import SafetyPair, pairs_table, play_pairs
from kinema.bench.safety.report import write_report
from kinema.bench.seeds import DEVELOPMENT, Seed, seed_of
from kinema.card.harm import HAZARDS
from kinema.commands.data.make_hazards import BODIES, make_hazards
from kinema.commands.eval.judged import Sitting, saving, tell_errors
from kinema.commands.eval.safety_films import make_films
from kinema.commands.terminal import table, writable
from kinema.data.hazards import bodies as bodies_of
from kinema.data.hazards import read_bodies
from kinema.model.gate.conformal import lower_bound, one_per_episode, upper_bound
from kinema.model.gate.gate import Gate, GatedPolicy
from kinema.model.gate.samples import BodySamples, samples_of
from kinema.model.gate.scores import score
from kinema.versions import package_versions

_CHUNK_ROUNDS = 24  # shards per body of held-out chunks
_DATA = Path("data/hazards")


@dataclass(frozen=True, kw_only=True)
class SafetySettings:
    """sitting.episodes: closed-loop episodes per body and family, each in a clean and in a harmful scene."""

    gate: Path
    policy: Factory
    sitting: Sitting
    bodies: tuple[str, ...] = BODIES

    def judged(self) -> dict[str, Factory]:
        """Both make the numbers."""
        gate = Factory(target="kinema.model.gate.gate:Gate", arguments={"folder": str(self.gate)})
        return {"gate": gate, "policy": self.policy}


def judge_safety(settings: SafetySettings) -> None:
    """Evaluate, print the table; exits with 1 when an episode was an error."""
    out = writable(settings.sitting.out)
    with saving(out):
        results = evaluate_safety(settings)
    print(summary(results))
    print(f"results: {out / 'results.json'}")
    print(f"report:  {out / 'report.html'}")
    if errors := sum(found["errors"] for found in results["episodes"].values()):
        tell_errors(out, errors, results["first_error"])


def evaluate_safety(settings: SafetySettings) -> dict[str, Any]:
    """Judge held-out chunks, play episodes, measure latency; writes results.json; returns what is in it."""
    sitting, out = settings.sitting, settings.sitting.out
    made, drawn = made_by(**settings.judged()), seed_of(sitting.seed, list(settings.judged().values()))
    identity = {"made_by": made, "policy": without_places(asdict(settings.policy)), "seed": drawn.value}
    with closing(Journal(out / "episodes.jsonl", identity, SafetyPair.read)) as journal:
        gate, policy = Gate(settings.gate), settings.policy.build()
        proposer: Any = policy if hasattr(policy, "propose") else AskedOneByOne(policy)
        stored = samples_of(read_bodies(_held_out(settings, drawn) / "test"), gate.artifact.model.config)
        chunks = judged_chunks(gate, stored)
        worst = worst_chunks(chunks)
        pairs = play_pairs(
            proposer, GatedPolicy(proposer, gate), bodies=settings.bodies, episodes=sitting.episodes,
            journal=journal, seed=drawn.value, retry_errors=sitting.retry_errors,
        )  # fmt: skip
    results = {
        "chunks": judge_chunks(chunks, exact95),
        "latency": measure_latency(gate, settings.bodies),
        "episodes": pairs_table(pairs),
        "first_error": next((f"{p.task}, episode {p.index}: {p.cause}" for p in pairs if p.cause), None),
        "worst": worst,
        "thresholds": {name: t.to_json() for name, t in gate.artifact.thresholds.items()},
        "gate": dict(gate.artifact.provenance),
        "provenance": {
            "versions": package_versions(), "commit": source_commit(), "machine": machine(),
            "seed": drawn.value, "seed_rule": drawn.rule, "weights": made,
            "made_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }  # fmt: skip
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    films = {name: make_films(gate, stored, cases, out / "films", name) for name, cases in worst.items()}
    write_report(out / "report.html", results, films)
    return results


def _held_out(settings: SafetySettings, drawn: Seed) -> Path:
    """Chunks that neither training nor calibration saw: of this run's seed, or the usual ones in `dev`."""
    if settings.sitting.seed == DEVELOPMENT and bodies_of(_DATA / "test"):
        return _DATA
    data, folder = settings.sitting.out / "hazards", settings.policy.arguments.get("folder")
    make_hazards(
        data, part="test", rounds=_CHUNK_ROUNDS, bodies=settings.bodies,
        policy=Path(folder) if folder else None,  # only an artifact's proposals are rolled out beside others
        first_seed=episode_seed(drawn.value, "hazards", 0),
    )  # fmt: skip
    return data


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
            f"{which}: {found['episodes']} episodes ({found['errors']} errors), success "
            f"{_percent(found['success_without'])} ungated, {_percent(found['success_with'])} with it; "
            f"with a collision {harm['harmed_without']} without, "
            f"{harm['harmed_with']} with it"
        )
    for body, found in results["latency"].items():
        lines.append(f"{body}: 8 candidates x 1 s in {found['p50']:.1f} ms, p95 {found['p95']:.1f} ms")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
