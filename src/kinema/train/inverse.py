"""From recorded episodes to a reader of films: footage, loop, averaged weights, errors, artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.data.fits import card_of, open_set
from kinema.model.film import inverse_artifact
from kinema.model.film.inverse_artifact import FilmReader
from kinema.model.film.inverse_dynamics import InverseConfig, InverseDynamics
from kinema.schema import Film, KinemaError
from kinema.space.codec import Codec
from kinema.space.motion import Motion
from kinema.train import checkpoint, statistics
from kinema.train.loop import Loop, LoopConfig
from kinema.train.provenance import recorded
from kinema.train.record import DataPart, RunRecord, digest
from kinema.train.stages.inverse import FilmStream, Footage, Inverse, codec_of, films, footage

_JUDGED_PICTURES = 13  # the length of a clip
_JUDGED_FILMS = 40  # of each body
_STATISTICS = "statistics.json"  # in a checkpoint


@dataclass(frozen=True, kw_only=True)
class InverseTrainConfig:
    """One run of the inverse stage. pictures: of a film; episodes: at most so many of each data set."""

    name: str
    inverse: InverseConfig = field(default_factory=InverseConfig)
    batch_size: int = 24
    pictures: int = 4
    episodes: int = 250
    loop: LoopConfig
    threads: int = 1


class InverseTraining:
    """A run that can be resumed; `trained` gives the averaged weights to ship."""

    def __init__(
        self, config: InverseTrainConfig, roots: Sequence[Path], out: Path, *, resume: bool = False
    ) -> None:
        """resume: go on from the newest checkpoint below `out`, with its statistics."""
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.loop.seed)
        out.mkdir(parents=True, exist_ok=True)
        self.config, self.roots = config, roots
        self.sources = load_footage(config, roots, held_out=False)
        names = dict.fromkeys(source.card.name for source in self.sources)
        self.codecs: dict[str, Codec] = {}
        if resume:
            stored = RunRecord.read(checkpoint.newest(out / "checkpoint"))
            self.codecs = statistics.from_bytes(stored.assets[_STATISTICS])
            if new := sorted(set(names) - set(self.codecs)):
                raise KinemaError(f"the data holds {', '.join(new)}, which this run began without")
        else:
            for name in names:
                self.codecs[name] = codec_of([s for s in self.sources if s.card.name == name])
        self.model = InverseDynamics(config.inverse)
        stage = Inverse(self.model)
        stream = FilmStream(
            self.sources, self.codecs, config.inverse,
            batch_size=config.batch_size, pictures=config.pictures, seed=config.loop.seed,
        )  # fmt: skip
        record = recorded(
            config,
            config.inverse.to_json(),
            [_part(root.name, source) for root, source in zip(roots, self.sources)],
            cards=[codec.card for codec in self.codecs.values()],
            assets={_STATISTICS: statistics.to_bytes(self.codecs)},
            fixed={"pictures": config.pictures},
        )
        self.loop = Loop(self.model, stage, stage.weights, stream, config.loop, out, record=record)
        if resume:
            self.loop.resume()

    def trained(self) -> InverseDynamics:
        """The averaged weights as a network of their own, in eval mode."""
        model = InverseDynamics(self.config.inverse)
        model.load_state_dict({k: v.detach().cpu().clone() for k, v in self.loop.ema.weights.items()})
        return model.eval()

    def export(self, folder: Path, provenance: Mapping[str, Any]) -> FilmReader:
        """Measure the errors on episodes that were left out, and write the artifact."""
        reader = FilmReader(model=self.trained(), codecs=self.codecs, errors={}, provenance=provenance)
        left_out = load_footage(self.config, self.roots, held_out=True)
        reader = FilmReader(
            model=reader.model, codecs=self.codecs, errors=measure(reader, left_out), provenance=provenance
        )
        first = self.sources[0]
        example = films(first, self.codecs[first.card.name], self.config.inverse, np.arange(1), 4)
        inverse_artifact.save(folder, reader, example.frames, example.body)
        return reader


def _part(name: str, source: Footage) -> DataPart:
    numbers = digest(source.state, source.actions, source.last, source.pictures[::1000])
    return DataPart(name=name, rows=len(source), digest=numbers)


def load_footage(config: InverseTrainConfig, roots: Sequence[Path], *, held_out: bool) -> list[Footage]:
    found = []
    for number, root in enumerate(roots):
        dataset = open_set(root)
        card = card_of(dataset)
        found.append(
            footage(
                dataset, card, config.inverse, held_out=held_out, episodes=config.episodes,
                seed=config.loop.seed + number,
            )
        )  # fmt: skip
    return found


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
