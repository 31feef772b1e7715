"""The supervised stage: imitate demonstrations, and point, from augmented pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.card.prompt import prompt
from kinema.data.batch import Batch
from kinema.data.clipping import check_clipping
from kinema.data.frames import Way
from kinema.data.mixture import Mixture
from kinema.data.source import Source, measure_stats
from kinema.data.stream import Feed, Stream
from kinema.data.text import VOCAB_SIZE, TextTokenizer
from kinema.model.policy import artifact, lora
from kinema.model.policy.artifact import Artifact
from kinema.model.policy.policy import Policy, PolicyConfig
from kinema.model.policy.released import Released
from kinema.model.policy.reword import reword
from kinema.schema import KinemaError
from kinema.space.codec import Codec
from kinema.train import statistics
from kinema.train.augment import AugmentConfig, augment
from kinema.train.record import DataPart, digest
from kinema.train.stage import MadeOf, Setting, Stage, start_from

_WORDS, _PARENT, NETWORK = "tokenizer.json", "started_from.json", "network.json"  # in a checkpoint

_WITHOUT_BACKBONE = ("decoder.", "state_in.", "moved_in.")  # the decoder, and how it reads the body's state
_OF_WORDS = ("backbone.qwen.language_model.", "context_in.", "prompt_in.")
WITHOUT_PICTURES = "without_pictures"  # in the provenance of what has never seen any


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    point_cell_weight: float = 0.1
    point_uv_weight: float = 1.0
    quiet_weight: float = 0.5
    # Share of rows told another body's name, to make the prompt decide which body moves.
    misnamed: float = 0.1
    # Share of rows whose state token is hidden, so that the pictures stay in use (0: never hidden).
    state_dropout: float = 0.1
    tasks_alike: bool = False  # whether every task of a source is seen as often as any other of its tasks

    def __post_init__(self) -> None:
        if not 0 <= self.state_dropout < 1:
            raise ValueError(f"state_dropout must lie in [0, 1), got {self.state_dropout}")


class PolicyStage(Stage[Policy, Batch]):
    """Learns from several sources at once. What it starts from, artifact or checkpoint, gives it its words
    and the statistics of the bodies it knows."""

    def __init__(
        self, setting: Setting, *, policy: Callable[[int], PolicyConfig],
        sources: Callable[[Path, Way], Sequence[Source]], config: SftConfig | None = None,
        vocab_size: int = VOCAB_SIZE, backbone: Released | None = None, texts: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """texts: what else a new vocabulary is learnt from, numbers in single digits

        policy: a function of the vocabulary's size, known once the words are.

        sources: of the data folder, and of how pictures are read
        backbone: whose words and weights there are at the beginning; of `setting.init` then only the decoder
        """
        self.config, self.sources = config or SftConfig(), sources(setting.data, setting.pictures)
        stored = setting.stored
        start = artifact.load(setting.init, check=False) if setting.init else None
        if setting.words == "data" and stored is None and (backbone or not start):
            raise KinemaError(
                "--words data gives what --init names other words; "
                + ("a released backbone keeps its own" if backbone else "without --init they are the data's")
            )
        if stored is not None:
            self.tokenizer = TextTokenizer.from_json(stored[_WORDS].decode())
        else:
            words = None if setting.words == "data" else backbone or start
            self.tokenizer = words.tokenizer if words else _tokenizer(self.sources, vocab_size, texts)
            if start and setting.words == "data":
                reword(start.policy, self.tokenizer.spelled_by(start.tokenizer))
        network = policy(self.tokenizer.vocab_size)
        horizon = network.decoder.horizon

        def measured(group: Sequence[Source]) -> Codec:
            return Codec(group[0].card, *measure_stats(group, horizon))

        # those of whole trajectories are not those of chunks
        known = start.codecs if start and not start.provenance.get(WITHOUT_PICTURES) else {}
        self.codecs = statistics.codecs_for(self.sources, measured, stored, known)
        for line in statistics.changes(self.sources, self.codecs, known):
            print(line, flush=True)
        elsewhere = stored is not None or start is not None
        self.clipped = check_clipping(
            self.sources, self.codecs, horizon, setting.most_clipped if elsewhere else 1.0
        )
        for source in self.sources:
            if source.held_out:
                print(
                    f"{source.name}: episodes {', '.join(map(str, source.held_out))} are held out", flush=True
                )
        for one in self.clipped:
            if one.notable:
                print(one, flush=True)
        self._augment = self.config.augment.of_pictures(network.source_size / network.image_size)
        self._parent = json.loads(stored[_PARENT]) if stored else dict(start.provenance) if start else None
        with setting.empty():
            is_read = backbone is not None and stored is None and not setting.is_planned
            self.model = Policy(network, backbone.load() if backbone and is_read else None)
        if start:
            start.policy.decoder.answer(horizon)
        if start and backbone and start.policy.config.decoder != network.decoder:
            raise KinemaError(
                f"the decoder to start from is {start.policy.config.decoder}, this one {network.decoder}"
            )
        if start:
            start_from(self.model, start.policy, may_lack=True, parts=_taken(start, backbone))
        told = setting.named
        if "decoder" in told.lora_on and not start and stored is None:
            raise KinemaError(
                "adapters go on what has learnt; this decoder begins anew: train it whole, or give --init"
            )
        if told.lora:
            with setting.empty():
                lora.adapt(self.model, told.lora, told.lora_on)
        self.weights = {"flow": 1.0, "quiet": self.config.quiet_weight, "clipped": 0.0}
        if network.points:
            self.weights |= {
                "point_cell": self.config.point_cell_weight, "point_uv": self.config.point_uv_weight
            }  # fmt: skip
        cards = [codec.card for codec in self.codecs.values()] + [source.card for source in self.sources]
        self.made_of = MadeOf(
            network=network.to_json(),
            data=[_part(source) for source in self.sources],
            cards=cards,
            assets={
                _WORDS: self.tokenizer.to_json().encode(),
                statistics.FILE: statistics.to_bytes(self.codecs),
                _PARENT: json.dumps(self._parent).encode(),
                NETWORK: json.dumps(network.to_json()).encode(),
            },
            fixed={"adapters": {part: told.lora for part in told.lora_on}},
            noted={"stage": asdict(self.config)},
        )

    def stream(self, feed: Feed) -> Stream[Any]:
        return self.mixture(feed)

    def mixture(self, feed: Feed) -> Mixture:
        """Batches of what acts."""
        network = self.model.config
        return Mixture(
            self.sources, self.codecs, self.tokenizer, feed, horizon=network.decoder.horizon,
            misnamed=self.config.misnamed, late_steps=network.late_steps,
            tasks_alike=self.config.tasks_alike,
        )  # fmt: skip

    def __call__(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        batch = augment(batch, self._augment, generator)
        hidden = torch.rand(len(batch), generator=generator) < self.config.state_dropout
        batch.inputs.state_mask[hidden] = False
        batch = batch.to(self.device)
        return {**self.model(batch, generator), "clipped": batch.clipped.mean()}

    def provenance(self) -> Mapping[str, Any]:
        return {
            "started_from": self._parent,
            "data": [_described(source) for source in self.sources],
            "clipped_share": {
                source.name: {c.channel: round(c.share, 4) for c in self.clipped if c.source == source.name}
                for source in self.sources
            },
        }

    def export(
        self, model: Policy, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        lora.merge(model)
        example = self.mixture(Feed(batch_size=1)).batch(0).inputs.first()
        artifact.save(folder, model, self.tokenizer, self.codecs, example, dict(provenance))


def _taken(start: Artifact, backbone: Released | None) -> tuple[str, ...]:
    """How the names of those weights begin that a run takes from an artifact."""
    if backbone:
        return _WITHOUT_BACKBONE
    return (*_OF_WORDS, *_WITHOUT_BACKBONE) if start.provenance.get(WITHOUT_PICTURES) else ("",)


def _tokenizer(sources: Sequence[Source], vocab_size: int, texts: Sequence[str]) -> TextTokenizer:
    told = [prompt(source.card, task, source.card.chunk) for source in sources for task in source.tasks]
    return TextTokenizer.train([*told, *texts], vocab_size, digits_apart=bool(texts))


def _part(source: Source) -> DataPart:
    """The source by its numbers, those that stand for all where there are many, and a few of its pictures."""
    seen = source.sampled_starts()
    looked_at = seen[np.linspace(0, len(seen) - 1, min(16, len(seen))).astype(int)]
    return DataPart(
        name=source.name,
        rows=source.steps,
        digest=digest(
            source.state[seen], source.action[seen], source.ends, source.task_index[seen], list(source.tasks),
            seen, len(source.starts), source.weight, source.images(looked_at),
        ),
    )  # fmt: skip


def _described(source: Source) -> dict:
    return {
        "source": source.name,
        "card": source.card.name,
        "steps": source.steps,
        "windows": len(source.starts),
        "weight": source.weight,
        "held_out": list(source.held_out),
    }
