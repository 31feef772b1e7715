"""An artifact is loaded without copies of it: the peak is hardly more than the network itself."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.model.policy import artifact, presets
from kinema.model.policy.policy import Policy
from kinema.space.codec import Codec

LAYERS = 2  # 28 M parameters; 13 are 181 M, and no peak either (docs/backbones.md)
LOADS = """
import sys
from pathlib import Path
from kinema.model.policy import artifact
def bytes_of(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])
artifact.load(Path(sys.argv[1]))  # what is imported when it is first needed
Path("/proc/self/clear_refs").write_text("5")
before = bytes_of("VmRSS")
loaded = artifact.load(Path(sys.argv[2]))
own = sum(value.numel() * value.element_size() for value in loaded.policy.state_dict().values())
print((bytes_of("VmHWM") - before) / own)
"""


def _saved(folder, **text):
    source = fake_source(load_card("panda"), image_size=64)
    tokenizer = TextTokenizer.train(source.tasks, 400)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    batch = Mixture([source], codecs, tokenizer, Feed(batch_size=1, seed=0), horizon=16).draw()
    tiny = presets.tiny(tokenizer.vocab_size)
    config = {**tiny.text, **text}
    vision = {**tiny.vision, "out_hidden_size": config["hidden_size"]}
    policy = Policy.without_weights(replace(tiny, text=config, vision=vision))
    zeros = {name: torch.zeros(value.shape) for name, value in policy.state_dict().items()}
    policy.load_state_dict(zeros, assign=True)
    artifact.save(folder, policy, tokenizer, codecs, batch.inputs, {})
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_loading_needs_little_more_than_the_network(tmp_path):
    small = _saved(tmp_path / "small")
    large = _saved(
        tmp_path / "large", hidden_size=1024, intermediate_size=3584, num_attention_heads=16,
        num_hidden_layers=LAYERS, layer_types=["full_attention"] * LAYERS,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOADS, small, large], capture_output=True, text=True, check=True
    )
    assert float(done.stdout.split()[-1]) <= 1.2


def test_a_network_without_weights_becomes_the_one_that_they_are_of(made):
    policy, batch = made
    empty = Policy.without_weights(policy.config)
    assert all(parameter.is_meta for parameter in empty.parameters())
    empty.load_state_dict(policy.state_dict(), assign=True)
    noise = torch.randn(6, 1, 16, 80)
    assert torch.equal(empty.eval().sample(batch.inputs, noise), policy.sample(batch.inputs, noise))
