"""A tiny policy whose every path does something, and a batch for it."""

from dataclasses import replace

import pytest
import torch

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.model.policy import presets
from kinema.model.policy.policy import Policy
from kinema.space.codec import Codec


@pytest.fixture(scope="module", params=["read", "cached"])
def made(request):
    """Policy and a batch of six rows of the Panda, with each mask that caches."""
    torch.manual_seed(0)
    source = fake_source(load_card("panda"), image_size=64)
    tokenizer = TextTokenizer.train(source.tasks, 400)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    batch = Mixture([source], codecs, tokenizer, Feed(batch_size=6, seed=0), horizon=16).draw()
    config = presets.tiny(tokenizer.vocab_size)
    policy = Policy(replace(config, decoder=replace(config.decoder, mask=request.param))).eval()
    for parameter in policy.parameters():  # the modulation starts at zero: give every path something to do
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    return policy, batch
