"""CPT: backbone and decoder on the whole mixture, to act and to answer in words.

As published (Qwen-VLA, arXiv 2605.30280): the flow loss and the next-token loss, weighted so that the norms
of their gradients match on the weights that they share; flow times from a Beta distribution
(`PolicyConfig.times`). Ours: the shared weights are the backbone's, all losses of acting count as one, and
the weight is measured every so many batches and smoothed (`balance.py`). With a weight that is told it is the
next stage, SFT, whose loss of words has a tenth of the weight of manipulation and of navigation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.data.batch import Lesson
from kinema.data.frames import Way
from kinema.data.lessons import KIND, ConversationSet, Lessons, Talks
from kinema.data.shares import PUBLISHED, weighed
from kinema.data.source import Kind, Source
from kinema.data.stream import Feed
from kinema.data.text import VOCAB_SIZE
from kinema.model.policy.policy import Policy, PolicyConfig
from kinema.model.policy.released import Released
from kinema.schema import KinemaError
from kinema.train.augment import AugmentConfig, recoloured
from kinema.train.balance import EVERY, Balance
from kinema.train.record import DataPart, digest
from kinema.train.stage import Setting
from kinema.train.stages.policy import PolicyStage, SftConfig

WORDS_WEIGHT = 0.1  # in SFT, beside 1 for manipulation and navigation
# A picture is not shifted, for its answers may hold coordinates, and keeps the colours that they name.
_RECOLOUR = AugmentConfig(shift_px=0, brightness=0.1, contrast=0.15, saturation=0.15, tint=0.04)
_SHARED = "backbone."
_MOST_TEXTS = 20_000  # that the vocabulary is learnt from


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    """shares: of samples, by kind; None: the published ones of the kinds that there are

    weight: of the loss of words; None: so that its gradient's norm is that of acting
    """

    shares: Mapping[Kind, float] | None = None
    bodies_alike: bool = False
    weight: float | None = None
    recolour: AugmentConfig = _RECOLOUR

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight > 0:
            raise ValueError(f"the weight of words must be above 0, got {self.weight}")


class CptStage(PolicyStage):
    """A policy that acts and answers."""

    def __init__(
        self, setting: Setting, *, policy: Callable[[int], PolicyConfig],
        sources: Callable[[Path, Way], Sequence[Source]],
        conversations: Callable[[Path], Sequence[ConversationSet]], config: SftConfig | None = None,
        words: WordsConfig | None = None, vocab_size: int = VOCAB_SIZE, backbone: Released | None = None,
    ) -> None:  # fmt: skip
        """conversations: of the data folder; the rest as in `PolicyStage`. The network gets a head."""
        self.words = words or WordsConfig()
        self.sets = conversations(setting.data)

        def mixed(data: Path, pictures: Way) -> Sequence[Source]:
            found = sources(data, pictures)
            shares, self.share = _shares(self.words.shares, found)
            return weighed(found, shares, bodies_alike=self.words.bodies_alike)

        super().__init__(
            setting, policy=lambda vocabulary: _speaking(policy(vocabulary)), sources=mixed, config=config,
            vocab_size=vocab_size, backbone=backbone, texts=_texts(self.sets),
        )  # fmt: skip
        self._parts = 1
        if self.words.weight is None:
            self.model.balance = Balance()
        self.weights = {**self.weights, "words": 1.0, "words_nats": 0.0, "words_weight": 0.0}
        self.made_of = replace(
            self.made_of,
            data=[*self.made_of.data, *(_part(one) for one in self.sets)],
            fixed={**self.made_of.fixed, "words_weight": self.words.weight, "words_share": self.share},
        )

    def stream(self, feed: Feed) -> Lessons:  # type: ignore[override]
        if feed.ranks > 1 and self.words.weight is None:
            raise KinemaError(
                "the weight of words is measured in one process; train with --processes 1, or give it a "
                "weight (the recipe nano_sft does)"
            )
        self._parts = feed.parts
        network = self.model.config
        talks = Talks(
            self.sets, self.tokenizer, feed.seed, image_size=network.image_size, closing=network.closing
        )
        return Lessons(self.mixture(feed), talks, feed, self.share)

    def __call__(self, batch: Lesson, generator: torch.Generator) -> dict[str, Tensor]:  # type: ignore[override]
        acted = super().__call__(batch.acting, generator)
        images = recoloured(batch.saying.images, self.words.recolour, generator)
        words = self.model(replace(batch.saying, images=images).to(self.device))["words"]
        weight = self._weight(batch.number, acted, words)
        return {**acted, "words": words * weight, "words_nats": words.detach(), "words_weight": weight}

    def _weight(self, number: int, acted: Mapping[str, Tensor], words: Tensor) -> Tensor:
        """Of the loss of words in this batch."""
        if self.words.weight is not None:
            return torch.full_like(words.detach(), self.words.weight)
        balance: Balance = self.model.balance  # type: ignore[assignment]
        if torch.is_grad_enabled() and number % (EVERY * self._parts) == 0:
            acting = torch.stack([self.weights[name] * loss.float() for name, loss in acted.items()]).sum()
            balance.measure((acting, words), self._shared())
        return balance.weight.to(words)

    def _shared(self) -> list[nn.Parameter]:
        shared = [
            p for name, p in self.model.named_parameters() if name.startswith(_SHARED) and p.requires_grad
        ]
        if not shared:
            raise KinemaError(
                "the whole backbone is frozen: acting and words share no weights by which to weigh them"
            )
        return shared

    def provenance(self) -> Mapping[str, Any]:
        sets = [{"set": one.name, "conversations": len(one.conversations)} for one in self.sets]
        return {**super().provenance(), "conversations": sets}

    def export(
        self, model: Policy, folder: Path, provenance: Mapping[str, Any], judged: Mapping[str, Any]
    ) -> None:
        if self.words.weight is None:
            provenance = {**provenance, "words_weight": model.balance.weight.item()}  # type: ignore[union-attr, operator]
            del model.balance  # of the run, not of the policy
        super().export(model, folder, provenance, judged)


def _speaking(config: PolicyConfig) -> PolicyConfig:
    return config if config.head else replace(config, head="own")


def _shares(told: Mapping[Kind, float] | None, sources: Sequence[Source]) -> tuple[dict[Kind, float], float]:
    """The shares of what acts, in any unit, and that of conversations in all samples."""
    present = {source.kind for source in sources}
    shares = told or {kind: share for kind, share in PUBLISHED.items() if kind in present | {KIND}}
    said = shares.get(KIND, 0.0)
    acting = {kind: share for kind, share in shares.items() if kind != KIND}
    if not (math.isfinite(said) and said > 0 and sum(acting.values()) > 0):
        raise KinemaError(f"conversations and what acts need a share each, got {dict(shares)}")
    return acting, said / (said + sum(acting.values()))


def _texts(sets: Sequence[ConversationSet]) -> list[str]:
    """Questions and answers, every so many of each set."""
    found: dict[str, None] = {}
    for one in sets:
        every = max(1, len(one.conversations) * len(sets) // _MOST_TEXTS)
        for conversation in one.conversations[::every]:
            found |= dict.fromkeys(
                text for turn in conversation.turns for text in (turn.question, turn.answer)
            )
    return list(found)


def _part(one: ConversationSet) -> DataPart:
    told = [f"{c.id}: {c.turns}" for c in one.conversations]
    return DataPart(name=one.name, rows=len(one.conversations), digest=digest(told))
