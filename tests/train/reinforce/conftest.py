"""A tiny artifact for the Panda, and made-up rollouts of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.model.policy import artifact, presets
from kinema.model.policy.explorer import Explorer
from kinema.model.policy.made_up import observation
from kinema.model.policy.policy import Policy
from kinema.space.codec import Codec
from kinema.train.reinforce.rollout import Rollout


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    source = fake_source(load_card("panda"), image_size=64)
    tokenizer = TextTokenizer.train(source.tasks, 400)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    batch = Mixture([source], codecs, tokenizer, Feed(batch_size=1, seed=0), horizon=16).draw()
    policy = Policy(presets.tiny(tokenizer.vocab_size)).eval()
    for parameter in policy.parameters():  # the modulation starts at zero: give every path something to do
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    out = tmp_path_factory.mktemp("reinforce") / "policy"
    artifact.save(out, policy, tokenizer, codecs, batch.inputs.first(), {"recipe": "made up"}, exact=True)
    return out


@pytest.fixture
def played(folder: Path) -> Callable[..., list[Rollout]]:
    """Episodes of some chunks, of which eight steps each are played; `wins` says which succeed."""

    def play(
        count: int, wins: Callable[[torch.Tensor], bool], trying: str = "noise", seed: int = 0,
        policy: Path = folder, chunks: int = 3,
    ) -> list[Rollout]:  # fmt: skip
        explorer, found = Explorer(policy, trying=trying), []  # type: ignore[arg-type]
        seen = observation(load_card("panda"), 64)
        for episode in range(count):
            explorer.reset(1000 * seed + episode)
            for _ in range(chunks):
                explorer.infer(seen, "panda")
            decisions = explorer.taken(steps=8 * chunks, replan_steps=8)
            found.append(Rollout(task="made up", decisions=decisions, success=wins(decisions.chunk), most=4))
        return found

    return play
