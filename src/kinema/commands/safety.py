"""`kinema eval safety`: the gate beside simpler judges, chunk by chunk and in closed loop."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinema.bench.provenance import machine, package_versions, source_commit
from kinema.bench.safety_episodes import SafetyEpisode, SafetyPlayer, Scenario, prevented
from kinema.bench.safety_judges import beyond_limits, reversal_rate
from kinema.bench.safety_report import write_report
from kinema.bench.safety_scores import (
    Judged,
    Row,
    by_group,
    calibration_error,
    limit_for_false_stops,
    row,
)
from kinema.card.harm import HAZARDS
from kinema.card.load import load_card
from kinema.commands.make_hazards import BODIES, make_hazards
from kinema.commands.safety_films import make_films
from kinema.commands.terminal import table
from kinema.data.hazards import bodies as bodies_of
from kinema.model.act import LocalPolicy
from kinema.model.conformal import lower_bound, one_per_episode, upper_bound
from kinema.model.gate import Gate, GatedPolicy
from kinema.schema import ActionChunk, Question
from kinema.train.gate import Scores, load_bodies, score
from kinema.worlds.hazard_data import KINDS
from kinema.worlds.hazard_env import HazardEnv
from kinema.worlds.intruders import KINDS as INTRUDERS
from kinema.worlds.tabletop.env import families_for

_CHUNK_ROUNDS = 24  # shards per body of held-out chunks, made when there are none
_FIRST_SEED = 420_000  # of the closed-loop episodes: below the training's and apart from the chunks'
_FAULTS = 0.25
# Every hazard alone, and what the robot runs into taken together.
_JUDGED = {"any collision": ("collision", "intruder"), **{hazard: (hazard,) for hazard in HAZARDS}}
_LATENCY_QUESTIONS = 150


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
    settings.out.mkdir(parents=True, exist_ok=True)
    gate = Gate(settings.gate)
    data = settings.data
    if not bodies_of(data / "test"):
        data = settings.out / "hazards"
        make_hazards(data, part="test", rounds=_CHUNK_ROUNDS, policy=settings.policy, bodies=settings.bodies)
    chunks, worst = judge_chunks(gate, data)
    results = {
        "chunks": chunks,
        "latency": measure_latency(gate, settings),
        "episodes": play_episodes(gate, settings),
        "worst": worst,
        "thresholds": {name: t.to_json() for name, t in gate.artifact.thresholds.items()},
        "gate": dict(gate.artifact.provenance),
        "provenance": {
            "versions": package_versions(), "commit": source_commit(), "machine": machine(),
            "made_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }  # fmt: skip
    (settings.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    stored = load_bodies(data / "test", gate.artifact.model.config)
    films = {
        name: make_films(gate, stored, cases, settings.out / "films", name) for name, cases in worst.items()
    }
    write_report(settings.out / "report.html", results, films)
    return results


def judge_chunks(gate: Gate, data: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table of judges over all held-out chunks, by hazard; and the worst misses and false stops."""
    artifact, step = gate.artifact, gate.artifact.judged_steps
    stored = load_bodies(data / "test", artifact.model.config)
    scores, alone = score(artifact.model, stored, artifact.caution)
    simple = _simple_scores(stored, step)
    limits = {name: threshold.limit for name, threshold in artifact.thresholds.items()}
    rows: list[dict[str, Any]] = []
    groups: dict[str, Any] = {}
    for name, hazards in _JUDGED.items():
        harm = np.max([scores.harm(hazard, step) for hazard in hazards], axis=0)  # NaN: light contact
        ours = Judged(score=_nearness(scores, hazards, limits, step), harm=harm, limit=1.0)
        others = {
            "gate without the ensemble": _nearness(alone, hazards, limits, step),
            "card limits only": simple["limits"],
            "direction-reversal rate": simple["reversals"],
        }
        rows += [found.as_dict() for found in _rows(name, ours, others)]
        if len(hazards) == 1:
            probability = scores.hazard(name, step)
            rows[-len(others) - 2]["calibration_error"] = calibration_error(probability, harm)
        groups[name] = by_group(ours, _groups(scores))
    promise = {
        name: _kept(scores, name, step, threshold.miss_rate, threshold.limit)
        for name, threshold in artifact.thresholds.items()
    }
    about = {
        "rows": rows, "promise": promise, "groups": groups,
        "states": int(scores.state.max()) + 1, "chunks": len(scores.state),
        "episodes": len(np.unique(scores.episode)),
    }  # fmt: skip
    return about, _worst(scores, limits["collision"], step)


def _nearness(scores: Scores, hazards: Sequence[str], limits: Mapping[str, float], step: int) -> np.ndarray:
    """How near a chunk is to refusal (N,): the largest risk as a share of its limit; refused from 1 on."""
    shares = [scores.hazard(hazard, step) / max(limits[hazard], 1e-9) for hazard in hazards]
    return np.max(shares, axis=0)


def _rows(name: str, ours: Judged, others: Mapping[str, np.ndarray]) -> list[Row]:
    """The gate, nothing, and the other judges at the limit at which they stop as much that is harmless."""
    found = row("gate", name, ours, False)
    rows = [found, row("no gate", name, replace(ours, score=np.zeros_like(ours.score)), False)]
    for other, values in others.items():
        limit = limit_for_false_stops(values, ours.harm, found.false_stops or 0.0)
        judged = Judged(score=values, harm=ours.harm, limit=max(limit, 1e-9))
        rows.append(row(f"{other}, as many false stops", name, judged, False))
    return rows


def _simple_scores(stored: list[Any], step: int) -> dict[str, np.ndarray]:
    """Card limits and reversals of every stored chunk, over the steps that are judged."""
    limits, reversals = [], []
    for body in stored:
        card = body.reader.card
        for chunks, state in zip(body["actions"], body["state"]):
            for chunk in chunks[:, :step].astype(np.float64):
                limits.append(beyond_limits(card, chunk, state))
                reversals.append(reversal_rate(card, chunk, state))
    return {"limits": np.array(limits), "reversals": np.array(reversals)}


def _kept(scores: Scores, hazard: str, step: int, miss_rate: float, limit: float) -> dict[str, Any]:
    """Whether the promise held: over all harmful chunks, and over one of each episode (independent)."""
    harmful = scores.harm(hazard, step) == 1.0
    risk = scores.hazard(hazard, step)
    chosen = one_per_episode(risk, harmful, scores.episode, seed=1)
    misses, all_misses = int((chosen < limit).sum()), int((risk[harmful] < limit).sum())
    return {
        "promised": miss_rate,
        "harmful_chunks": int(harmful.sum()), "misses": all_misses,
        "miss_rate": all_misses / max(int(harmful.sum()), 1),
        "episodes": len(chosen), "episode_misses": misses,
        "ci95": [lower_bound(misses, len(chosen), 0.975), upper_bound(misses, len(chosen), 0.975)],
        # refuted only when even the lower end of the interval lies above what was promised
        "held": lower_bound(misses, len(chosen), 0.975) <= miss_rate,
    }  # fmt: skip


def _groups(scores: Scores) -> dict[str, np.ndarray]:
    found = {f"body {name}": scores.body == name for name in np.unique(scores.body)}
    found |= {f"intruder {name}": scores.intruder == i for i, name in enumerate(INTRUDERS)}
    return found | {f"chunk {name}": scores.kind == i for i, name in enumerate(KINDS)}


def _worst(scores: Scores, limit: float, step: int, count: int = 6) -> dict[str, list[dict[str, Any]]]:
    """The least foreseen collisions and the most feared harmless chunks, one per state."""
    risk, harm = scores.hazard("collision", step), scores.harm("collision", step)
    chunks = int((scores.state == 0).sum())

    def rows(order: np.ndarray) -> list[dict[str, Any]]:
        _, first = np.unique(scores.state[order], return_index=True)
        return [
            {"body": str(scores.body[i]), "state": int(scores.state[i]), "chunk": int(i % chunks),
             "risk": float(risk[i]), "limit": limit, "kind": KINDS[scores.kind[i]],
             "intruder": INTRUDERS[scores.intruder[i]], "episode": int(scores.episode[i])}
            for i in order[np.sort(first)][:count]
        ]  # fmt: skip

    bad, good = np.flatnonzero(harm == 1.0), np.flatnonzero(harm == 0.0)
    return {"misses": rows(bad[np.argsort(risk[bad])]), "false_stops": rows(good[np.argsort(-risk[good])])}


def measure_latency(gate: Gate, settings: SafetySettings) -> dict[str, Any]:
    """Milliseconds to judge eight candidates of a second each, by body; the first ones warm up."""
    found: dict[str, Any] = {}
    for name in settings.bodies:
        card = load_card(name)
        env = HazardEnv(card=card, family=families_for(name)[0])
        env.reset(_FIRST_SEED)
        observation = env.observe()
        times = observation.time_s + (1 + np.arange(card.chunk)) / card.control_hz
        rng = np.random.default_rng(0)
        low, high = np.array([channel.range for channel in card.actions]).T
        chunks = [
            ActionChunk(values=rng.uniform(low, high, (card.chunk, len(low))), times_s=times, card=name)
            for _ in range(8)
        ]
        ms = []
        for _ in range(_LATENCY_QUESTIONS):
            began = time.perf_counter()
            gate.judge(observation, chunks, next(iter(observation.images.values())))
            ms.append(1e3 * (time.perf_counter() - began))
        env.close()
        found[name] = {
            k: float(np.percentile(ms[20:], q)) for k, q in (("p50", 50), ("p95", 95), ("p99", 99))
        }
    return found


class _Ungated:
    """A policy as it is, without a gate."""

    def __init__(self, policy: LocalPolicy) -> None:
        self._policy = policy

    def propose(self, questions: list[Question], count: int = 1) -> list[list[ActionChunk]]:
        return self._policy.propose(questions, count)


def play_episodes(gate: Gate, settings: SafetySettings) -> dict[str, Any]:
    """The same episodes with and without the gate: clean ones for the cost, harmful ones for the gain."""
    policy = LocalPolicy(settings.policy)
    gated = GatedPolicy(policy, gate)
    path = settings.out / "episodes.jsonl"
    done = _read(path)
    plans = [
        (body, family, which, index)
        for index in range(settings.episodes)
        for body in settings.bodies
        for family in families_for(body)
        for which in ("clean", "harmful")
    ]
    envs: dict[tuple[str, str], HazardEnv] = {}
    for body, family, which, index in tqdm(plans, unit="pair"):
        if (body, family, which, index) in done:
            continue
        if (body, family) not in envs:
            envs[body, family] = HazardEnv(card=load_card(body), family=family)
        env = envs[body, family]
        seed = _FIRST_SEED + index
        intruder = (
            "none"
            if which == "clean"
            else INTRUDERS[(index + families_for(body).index(family)) % len(INTRUDERS)]
        )
        scenario = Scenario(intruder=intruder, faults=0.0 if which == "clean" else _FAULTS)
        pair = {
            "without": SafetyPlayer(env, policy, None).play(seed, scenario),
            "with": SafetyPlayer(env, policy, gated).play(seed, scenario),
        }
        done[body, family, which, index] = pair
        with path.open("a") as file:
            file.write(
                json.dumps({"key": [body, family, which, index], **{k: vars(v) for k, v in pair.items()}})
                + "\n"
            )
    return _episode_table(done)


def _read(path: Path) -> dict[tuple[Any, ...], dict[str, SafetyEpisode]]:
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {tuple(line["key"]): {k: SafetyEpisode(**line[k]) for k in ("without", "with")} for line in lines}


def _episode_table(done: Mapping[tuple[Any, ...], Mapping[str, SafetyEpisode]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for which in ("clean", "harmful"):
        pairs = [pair for key, pair in done.items() if key[2] == which]
        if not pairs:
            continue
        without, gated = [p["without"] for p in pairs], [p["with"] for p in pairs]
        table[which] = {
            "episodes": len(pairs),
            "success_without": float(np.mean([e.success for e in without])),
            "success_with": float(np.mean([e.success for e in gated])),
            "lost_points": 100
            * float(np.mean([e.success for e in without]) - np.mean([e.success for e in gated])),
            "held_share": sum(e.held for e in gated) / max(sum(e.steps for e in gated), 1),
            "refused_answers": sum(e.refused for e in gated) / max(sum(e.asked for e in gated), 1),
            **{name: prevented(without, gated, hazards) for name, hazards in _JUDGED.items()},
        }
    return table


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
