"""What film networks get wrong on what they never learnt from, as their artifacts tell.

Axes: N pictures, S image side, K things.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kinema.model.film.eyes import FilmEyes
from kinema.model.film.inverse_artifact import FilmReader
from kinema.schema import Film
from kinema.space.codec import Codec

SEEN_FROM = 0.5  # probability from which a thing counts as seen


def reading_errors(
    reader: FilmReader, films: Iterable[tuple[Film, np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """Mean absolute errors of read films by body and unit, beside those of a reader that sees no motion.

    films: each with its true states and actions
    state, actions: of the path and of the actions, with the first state given
    still: the actions' error of repeating the first state
    """
    by_body: dict[str, list[dict[str, np.ndarray]]] = {}
    for film, state, actions in films:
        motion, unaided = reader.read(film, state[0]), reader.read(film)
        wrong = {
            "state": motion.states - state,
            "state_unaided": unaided.states - state,
            "actions": motion.actions - actions,
            "still": actions[:1] - actions,
        }
        by_body.setdefault(film.card, []).append({name: np.abs(error) for name, error in wrong.items()})
    return {name: _by_unit(reader.codecs[name], found) for name, found in by_body.items()}


def _by_unit(codec: Codec, found: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    units = {
        "state": [channel.unit for channel in codec.card.states],
        "actions": [channel.unit for channel in codec.card.actions],
    }
    table: dict[str, Any] = {"films": len(found)}
    for name in found[0]:
        error = np.concatenate([one[name] for one in found])
        of = units["state" if name.startswith("state") else "actions"]
        table[name] = {
            unit: round(float(error[:, [i for i, u in enumerate(of) if u == unit]].mean()), 5)
            for unit in dict.fromkeys(of)
        }
    return table


def looking_errors(eyes: FilmEyes, pictures: np.ndarray, points: np.ndarray) -> dict[str, Any]:
    """What the detector gets wrong on pictures uint8 (N, S, S, 3) of known points (N, K, 3): u, v in [0, 1]
    and 1 seen, 0 not seen, between them unknown. Of all, and by kind of thing.

    error_px: median and 95th percentile of the distance, where a thing is seen and found; missed: share of
    the seen ones that are not found; invented: things found in a picture that shows none of them, per picture
    """
    found = eyes.locate(pictures)
    seen, unseen = points[..., 2] == 1, points[..., 2] == 0
    claimed = found[..., 2] >= SEEN_FROM
    size = pictures.shape[1]
    error_px = size * np.linalg.norm(found[..., :2] - points[..., :2], axis=-1)
    kinds = [_kind(name) for name in eyes.things]
    groups = {kind: np.array([k == kind for k in kinds]) for kind in ("all", *dict.fromkeys(kinds))}
    groups["all"][:] = True
    report: dict[str, Any] = {"by_kind": {}}
    for name, columns in groups.items():
        is_seen, is_found = seen[:, columns], claimed[:, columns]
        both = error_px[:, columns][is_seen & is_found]
        entry = {
            "seen": int(is_seen.sum()),
            "error_px": [round(float(np.percentile(both, q)), 3) for q in (50, 95)] if len(both) else None,
            "missed": round(float((is_seen & ~is_found).sum() / max(1, is_seen.sum())), 5),
            "invented": round(float((unseen[:, columns] & is_found).sum() / len(pictures)), 5),
        }
        if name == "all":
            report |= entry
        else:
            report["by_kind"][name] = entry
    return report


def _kind(name: str) -> str:
    """The noun of "red pressed button" is "pressed button"; grippers and handles are each one kind."""
    first, _, rest = name.partition(" ")
    return rest if first in ("red", "yellow", "green", "blue", "purple") else name
