"""A gate beside simpler judges on held-out chunks, whose harm is known because each was played.

Axes: N chunks, B states, K chunks of a state, T steps, D action channels, S state channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kinema.bench.safety.episodes import JUDGED
from kinema.bench.safety.judges import beyond_limits, reversal_rate
from kinema.bench.safety.scores import (
    Judged,
    Row,
    by_group,
    calibration_error,
    limit_for_false_stops,
    row,
)
from kinema.card.card import EmbodimentCard
from kinema.worlds.hazards.data import KINDS
from kinema.worlds.hazards.intruders import KINDS as INTRUDERS

Exact95 = Callable[[int, int], tuple[float, float]]  # the interval of a rate, from misses and trials


@dataclass(frozen=True, kw_only=True)
class JudgedChunks:
    """N chunks, what was foreseen of each and what came true, within the steps that a gate judges.

    harm:        by hazard (N,): 1, 0 or NaN in between
    risk, alone: by hazard (N,): the gate's, and that of its network's first member
    simple:      by judge (N,): scores of judges that need no network, as from `simple_scores`
    independent: by hazard (n,): the gate's risk of one harmful chunk from each episode that has any
    limits:      by hazard, the risk from which the gate refuses
    miss_rates:  by hazard, the share of harmful chunks that it promises to miss at most
    episode, state, body: (N,) whose it is; kind, intruder: (N,) numbers in `KINDS` and in `INTRUDERS`
    """

    harm: Mapping[str, np.ndarray]
    risk: Mapping[str, np.ndarray]
    alone: Mapping[str, np.ndarray]
    simple: Mapping[str, np.ndarray]
    independent: Mapping[str, np.ndarray]
    limits: Mapping[str, float]
    miss_rates: Mapping[str, float]
    episode: np.ndarray
    state: np.ndarray
    body: np.ndarray
    kind: np.ndarray
    intruder: np.ndarray


def simple_scores(
    stored: Iterable[tuple[EmbodimentCard, np.ndarray, np.ndarray]], step: int
) -> dict[str, np.ndarray]:
    """Card limits and reversals of every stored chunk (N,), over the first steps, which are judged.

    stored: for each body its card, actions (B, K, T, D) and states (B, S)
    """
    limits, reversals = [], []
    for card, actions, states in stored:
        for chunks, state in zip(actions, states):
            for chunk in chunks[:, :step].astype(np.float64):
                limits.append(beyond_limits(card, chunk, state))
                reversals.append(reversal_rate(card, chunk, state))
    return {"card limits only": np.array(limits), "direction-reversal rate": np.array(reversals)}


def judge_chunks(chunks: JudgedChunks, exact95: Exact95) -> dict[str, Any]:
    """The table of judges by hazard, whether the promises were kept, and the gate's numbers by group."""
    rows: list[Row] = []
    groups: dict[str, Any] = {}
    masks = _groups(chunks)
    for name, hazards in JUDGED.items():
        harm = np.max([chunks.harm[hazard] for hazard in hazards], axis=0)  # NaN: light contact
        ours = Judged(score=_nearness(chunks.risk, chunks.limits, hazards), harm=harm, limit=1.0)
        found = row("gate", name, ours, False)
        if name in chunks.risk:
            found = replace(found, calibration_error=calibration_error(chunks.risk[name], harm))
        alone = _nearness(chunks.alone, chunks.limits, hazards)
        others = {"gate without the ensemble": alone, **chunks.simple}
        rows += [found, *_beside(found, ours, others)]
        groups[name] = by_group(ours, masks)
    return {
        "rows": [found.as_dict() for found in rows],
        "promise": {name: _kept(chunks, name, exact95) for name in chunks.miss_rates},
        "groups": groups,
        "states": int(chunks.state.max()) + 1,
        "chunks": len(chunks.state),
        "episodes": len(np.unique(chunks.episode)),
    }


def worst_chunks(
    chunks: JudgedChunks, hazard: str = "collision", count: int = 6
) -> dict[str, list[dict[str, Any]]]:
    """The least foreseen harm and the most feared harmless chunks, one per state."""
    risk, harm = chunks.risk[hazard], chunks.harm[hazard]
    of_a_state = int((chunks.state == 0).sum())

    def rows(order: np.ndarray) -> list[dict[str, Any]]:
        _, first = np.unique(chunks.state[order], return_index=True)
        return [
            {"body": str(chunks.body[i]), "state": int(chunks.state[i]), "chunk": int(i % of_a_state),
             "risk": float(risk[i]), "limit": chunks.limits[hazard], "kind": KINDS[chunks.kind[i]],
             "intruder": INTRUDERS[chunks.intruder[i]], "episode": int(chunks.episode[i])}
            for i in order[np.sort(first)][:count]
        ]  # fmt: skip

    bad, good = np.flatnonzero(harm == 1.0), np.flatnonzero(harm == 0.0)
    return {"misses": rows(bad[np.argsort(risk[bad])]), "false_stops": rows(good[np.argsort(-risk[good])])}


def _nearness(
    risk: Mapping[str, np.ndarray], limits: Mapping[str, float], hazards: Sequence[str]
) -> np.ndarray:
    """How near a chunk is to refusal (N,): the largest risk as a share of its limit; refused from 1 on."""
    return np.max([risk[hazard] / max(limits[hazard], 1e-9) for hazard in hazards], axis=0)


def _beside(gate: Row, ours: Judged, others: Mapping[str, np.ndarray]) -> list[Row]:
    """Nothing, and the other judges at the limit at which they stop as much that is harmless as the gate."""
    rows = [row("no gate", gate.hazard, replace(ours, score=np.zeros_like(ours.score)), False)]
    for other, values in others.items():
        limit = limit_for_false_stops(values, ours.harm, gate.false_stops or 0.0)
        judged = Judged(score=values, harm=ours.harm, limit=max(limit, 1e-9))
        rows.append(row(f"{other}, as many false stops", gate.hazard, judged, False))
    return rows


def _kept(chunks: JudgedChunks, hazard: str, exact95: Exact95) -> dict[str, Any]:
    """Whether the promise held: over all harmful chunks, and over one of each episode (independent)."""
    limit, promised, chosen = chunks.limits[hazard], chunks.miss_rates[hazard], chunks.independent[hazard]
    risk = chunks.risk[hazard][chunks.harm[hazard] == 1.0]
    misses, all_misses = int((chosen < limit).sum()), int((risk < limit).sum())
    low, high = exact95(misses, len(chosen))
    return {
        "promised": promised,
        "harmful_chunks": len(risk),
        "misses": all_misses,
        "miss_rate": all_misses / max(len(risk), 1),
        "episodes": len(chosen),
        "episode_misses": misses,
        "ci95": [low, high],
        # refuted only when even the lower end of the interval lies above what was promised
        "held": low <= promised,
    }


def _groups(chunks: JudgedChunks) -> dict[str, np.ndarray]:
    """Masks (N,) by the name of the group."""
    found = {f"body {name}": chunks.body == name for name in np.unique(chunks.body)}
    found |= {f"intruder {name}": chunks.intruder == i for i, name in enumerate(INTRUDERS)}
    return found | {f"chunk {name}": chunks.kind == i for i, name in enumerate(KINDS)}
