"""What a reader of films gets wrong on episodes that were left out of its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kinema.model.film.inverse_artifact import FilmReader
from kinema.schema import Film
from kinema.space.codec import Codec
from kinema.space.motion import Motion
from kinema.train.footage import Footage

_JUDGED_PICTURES = 13  # the length of a clip
_JUDGED_FILMS = 40  # of each body


def measure(reader: FilmReader, sources: Sequence[Footage], seed: int = 0) -> dict[str, Any]:
    """Mean absolute errors of read films by body and unit, beside those of a reader that sees no motion.

    state, actions: of the path and of the actions, with the first state given
    still: the actions' error of repeating the first state
    """
    by_body: dict[str, list[dict[str, np.ndarray]]] = {}
    rng = np.random.default_rng(seed)
    for source in sources:
        firsts = np.flatnonzero(np.diff(source.last, prepend=-1))  # an episode's first picture
        for start in rng.permutation(firsts)[:_JUDGED_FILMS]:
            by_body.setdefault(source.card.name, []).append(_judge(reader, source, int(start)))
    return {name: _by_unit(reader.codecs[name], found) for name, found in by_body.items()}


def _judge(reader: FilmReader, source: Footage, start: int) -> dict[str, np.ndarray]:
    rows = np.arange(start, min(start + _JUDGED_PICTURES, source.last[start] + 1))
    rows = np.append(rows, rows[-1]) if len(rows) == 1 else rows
    steps = source.actions.shape[1]
    film = Film(
        frames=source.pictures[rows],
        cameras=source.card.camera_names[: source.pictures.shape[1]],
        fps=source.card.control_hz / steps,
        card=source.card.name,
        instruction="",
    )
    true = source.actions[rows[:-1]].reshape(-1, source.actions.shape[2])
    motion = reader.read(film, source.state[start])
    free = reader.read(film)
    still = Motion(
        card=motion.card, states=motion.states, actions=np.tile(true[:1], (len(true), 1)),
        drift=motion.drift, fps=motion.fps, control_hz=motion.control_hz,
    )  # fmt: skip
    return {
        "state": np.abs(motion.states - source.state[rows]),
        "state_unaided": np.abs(free.states - source.state[rows]),
        "actions": np.abs(motion.actions - true),
        "still": np.abs(still.actions - true),
    }


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
