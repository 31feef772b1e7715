"""An artifact is loaded without copies of it: the peak is hardly more than the network itself."""

import json
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

LAYERS, WIDTH, FFN = 8, 512, 1792  # 28 M parameters; 13 twice as wide are 181 M (docs/backbones.md)
WAYS = ({}, {"dtype": "bf16"}, {"quantise": "int8"})
WIDENED = 6 * 4 * WIDTH * FFN  # the largest matrix, as it is quantised and as it is used: a few times in fp32
LOADS = """
import json
import sys
from pathlib import Path
from kinema.model.policy import artifact
from kinema.model.policy.loading import Loading
def bytes_of(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])
for way in json.loads(sys.argv[3]):
    # what is imported when it is first needed; examples take long in numbers without units
    artifact.load(Path(sys.argv[1]), Loading(**way), check=not way)
    Path("/proc/self/clear_refs").write_text("5")
    before = bytes_of("VmRSS")
    loaded = artifact.load(Path(sys.argv[2]), Loading(**way), check=not way)
    names = loaded.policy.state_dict().items()
    print(sum(Loading(**way).bytes_of(*named) for named in names), bytes_of("VmHWM") - before)
    del loaded, names
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_loading_needs_little_more_than_the_network(tmp_path):
    small = _saved(tmp_path / "small")
    large = _saved(
        tmp_path / "large", hidden_size=WIDTH, intermediate_size=FFN, num_attention_heads=8,
        num_hidden_layers=LAYERS, layer_types=["full_attention"] * LAYERS,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOADS, small, large, json.dumps(WAYS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [[int(number) for number in line.split()] for line in done.stdout.splitlines()]
    assert len(lines) == len(WAYS)
    for way, (own, peak) in zip(WAYS, lines):
        assert peak <= 1.2 * own + WIDENED * ("quantise" in way), (way, own, peak)


def test_a_network_without_weights_becomes_the_one_that_they_are_of(made):
    policy, batch = made
    empty = Policy.without_weights(policy.config)
    assert all(parameter.is_meta for parameter in empty.parameters())
    empty.load_state_dict(policy.state_dict(), assign=True)
    noise = torch.randn(6, 1, 16, 80)
    assert torch.equal(empty.eval().sample(batch.inputs, noise), policy.sample(batch.inputs, noise))
