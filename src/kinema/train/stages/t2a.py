"""T2A, the first stage: the decoder alone learns to write whole trajectories from words, without pictures.

As published (Qwen-VLA, arXiv 2605.30280): the backbone frozen, the whole trajectory at once, flow times
Sigmoid-Normal, four fifths of it others' trajectories with vision dropped and one fifth planned. Ours: a
trajectory keeps its body's own rate and is cut at the horizon, so that a step means in the next stage what it
meant here, whatever that one's horizon; and the first pose is told, as to every policy with a state token.

What begins with its artifact (`--init`) takes the words, how they are read, and the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kinema.data.frames import Way
from kinema.data.shares import weighed
from kinema.data.source import Kind, Source
from kinema.data.text import VOCAB_SIZE
from kinema.data.whole import whole_trajectories
from kinema.model.policy.policy import PolicyConfig
from kinema.model.policy.released import Released
from kinema.train.optim import Rule
from kinema.train.stage import Setting
from kinema.train.stages.policy import WITHOUT_PICTURES, PolicyStage, SftConfig

HORIZON = 128  # steps: what is longer is cut
SHARES: Mapping[Kind, float] = {"robot": 80, "synthetic": 20}
FROZEN = Rule(pattern="backbone.*", frozen=True)  # a recipe's


class T2AStage(PolicyStage):
    """A policy that is told where to go and does not see."""

    def __init__(
        self, setting: Setting, *, policy: Callable[[int], PolicyConfig],
        sources: Callable[[Path, Way], Sequence[Source]], horizon: int = HORIZON,
        shares: Mapping[Kind, float] = SHARES, vocab_size: int = VOCAB_SIZE,
        backbone: Released | None = None,
    ) -> None:  # fmt: skip
        """policy: the network that the next stages train; sources: of its data, and planned ones"""
        super().__init__(
            setting,
            policy=lambda vocabulary: of_words(policy(vocabulary), horizon),
            sources=partial(_whole, sources, horizon, shares),
            config=SftConfig(misnamed=0.0),
            vocab_size=vocab_size,
            backbone=backbone,
        )

    def provenance(self) -> Mapping[str, Any]:
        return {**super().provenance(), WITHOUT_PICTURES: True}


def of_words(config: PolicyConfig, horizon: int) -> PolicyConfig:
    """The same network without what reads pictures beside the backbone, and with T2A's flow times."""
    return replace(
        config, points=0, second_look=None, late_steps=0, times="sigmoid_normal",
        decoder=replace(config.decoder, horizon=horizon),
    )  # fmt: skip


def _whole(
    sources: Callable[[Path, Way], Sequence[Source]], horizon: int, shares: Mapping[Kind, float],
    data: Path, pictures: Way,
) -> list[Source]:  # fmt: skip
    found = weighed(sources(data, pictures), shares)
    return [whole_trajectories(source, horizon) for source in found]
