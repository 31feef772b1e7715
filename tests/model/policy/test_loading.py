"""An artifact loaded in other numbers: what is refused, what is quantised, and how near the answers stay."""

import sys
from dataclasses import replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from wrapping import batch_for, hybrid

from kinema.card.load import load_card
from kinema.model.policy import artifact, loading, made_up, memory, presets
from kinema.model.policy.act import LocalPolicy
from kinema.model.policy.bench_size import give_random_weights, measure_size
from kinema.model.policy.loading import Loading
from kinema.model.policy.policy import Policy
from kinema.schema import KinemaError, Question

NANO = Path(str(files("kinema") / "artifacts" / "nano"))
INT8 = pytest.mark.skipif(find_spec("torchao") is None, reason="kinema[quantise] is not installed")
WAYS = [{"dtype": "bf16"}, pytest.param({"quantise": "int8"}, marks=INT8)]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"device": "nowhere"}, "unknown device 'nowhere'; here: cpu"),
        ({"device": "meta"}, "device 'meta' is not here"),
        ({"dtype": "fp16"}, "unknown dtype 'fp16'; choices: fp32, bf16"),
        ({"quantise": "int4"}, "unknown quantise 'int4'; choices: int8, fp8"),
        ({"quantise": "fp8"}, "fp8 needs a GPU with fp8 units; cpu has none. Choose --quantise int8"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(asked, says):
    with pytest.raises(KinemaError, match=says) as refused:
        Loading(**asked)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("capability", "dtype", "says"),
    [((8, 6), "bf16", "capability 8.9; a card has 8.6"), ((9, 0), "fp32", "bf16, not in fp32: add --dtype")],
)
def test_fp8_needs_its_units_and_bf16(monkeypatch, capability, dtype, says):
    monkeypatch.setattr(loading, "device_of", torch.device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    with pytest.raises(KinemaError, match=says):
        Loading(device="cuda", dtype=dtype, quantise="fp8")


def test_without_torchao_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(KinemaError, match=r"needs torchao: pip install 'kinema\[quantise\]'"):
        Loading(quantise="int8")


@INT8
@pytest.mark.parametrize("config", [hybrid(), presets.tiny()], ids=["hybrid", "tiny"])
def test_every_matrix_of_the_blocks_is_quantised_and_nothing_else(config):
    policy, int8 = Policy.without_weights(config), Loading(quantise="int8")
    blocks = set(policy.blocks)
    inside = {
        f"{name}.{part}.weight"
        for name, block in policy.named_modules() if block in blocks
        for part, module in block.named_modules()
        if isinstance(module, nn.Linear) and not part.endswith(("in_proj_a", "in_proj_b"))
    }  # fmt: skip
    assert {name for name, weight in policy.state_dict().items() if int8.quantises(name, weight)} == inside
    give_random_weights(policy, int8)
    held = {name for name, weight in policy.named_parameters() if hasattr(weight, "tensor_data_names")}
    assert held == inside


@pytest.mark.parametrize("way", WAYS)
def test_the_shipped_policy_answers_its_example_nearly_the_same(way):
    """`load` holds it to the tolerance of that way; plain numbers would not be missed by so much."""
    policy = artifact.load(NANO, Loading(**way)).policy
    assert policy.decoder.action_out[2].weight.dtype == Loading(**way).torch_dtype
    card = load_card("panda")
    plain, other = LocalPolicy(NANO), LocalPolicy(NANO, loading=way)
    seen = made_up.observation(card, 96)
    first, second = (each.infer(seen, "panda").values for each in (plain, other))
    assert (first != second).any()
    ranges = [channel.range[1] - channel.range[0] for channel in card.actions]
    assert (abs(first - second) / ranges).max() < Loading(**way).tolerance


def test_a_network_of_the_released_kind_computes_in_bf16():
    policy = Policy(hybrid()).eval()
    inputs = batch_for(policy.config, 2).inputs
    noise = torch.randn(2, 1, 8, inputs.state.shape[1], generator=torch.Generator().manual_seed(0))
    plain, narrow = Policy(hybrid()).eval(), Loading(dtype="bf16")
    weights = {name: narrow.bring(name, weight) for name, weight in policy.state_dict().items()}
    plain.load_state_dict(weights, assign=True)
    found = plain.sample(inputs, noise)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, policy.sample(inputs, noise), atol=0.1, rtol=0)


@pytest.mark.parametrize("way", [{}, *WAYS])
def test_weights_take_what_was_planned(way):
    how, policy = Loading(**way), Policy.without_weights(hybrid())
    planned = memory.weight_bytes(policy, how)
    give_random_weights(policy, how)
    taken = 0
    for weight in policy.state_dict().values():
        parts = [getattr(weight, part) for part in getattr(weight, "tensor_data_names", ())] or [weight]
        taken += sum(part.untyped_storage().nbytes() for part in parts)
    assert taken == planned


def test_what_is_alive_at_once_is_counted():
    def work():
        first = torch.empty(1000)
        second = first + 1
        del first
        return second + 1

    assert memory.most_alive(work) == 8000


def test_an_answer_in_shapes_alone_takes_what_a_real_one_does():
    config = hybrid()
    inputs = made_up.inputs(config, 3, 20)
    policy, noise = Policy(config).eval(), torch.zeros(1, 1, 8, inputs.state.shape[1])
    policy.sample(inputs, noise)  # tables
    real = memory.most_alive(lambda: policy.sample(inputs, noise))
    assert memory.answer_bytes(config, Loading(), inputs) == pytest.approx(real, rel=0.3)


@pytest.mark.parametrize(
    ("free", "says"),
    [
        (16_000_000_000, "it fits as bf16$"),
        pytest.param(11_000_000_000, "fits as bf16, int8$", marks=INT8),
        (1000, "nor does it as"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_allocated(monkeypatch, free, says):
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    monkeypatch.setattr(Loading, "bring", None)
    monkeypatch.setattr(memory, "answer_bytes", lambda *_: 0)
    config = presets.base()
    with pytest.raises(KinemaError, match=f"base does not fit: as fp32 it needs .* GB, .*{says}"):
        measure_size("base", config, Loading(), rounds=1)


def test_a_way_of_loading_crosses_processes_as_json():
    assert Loading().to_json() == {}
    way = Loading(dtype="bf16", compile=True)
    assert way.to_json() == {"dtype": "bf16", "compile": True}
    assert Loading(**way.to_json()) == way


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", [{}, pytest.param({"quantise": "int8"}, marks=INT8)])
def test_a_compiled_policy_answers_the_same_and_compiles_nothing_more(way):
    """Within 1e-5 of the same uncompiled, for numbers of questions and draws that were not warmed up."""
    plain, fast = LocalPolicy(NANO, loading=way), LocalPolicy(NANO, loading={**way, "compile": True})
    seen = made_up.observation(load_card("panda"), 96)
    fast._settled = lambda: torch.compiler.set_stance("fail_on_recompile")
    for rows, draws, words in (
        (1, 1, ""),
        (2, 1, " and now"),
        (5, 8, ""),
        (1, 4, " but do it slowly, please"),
    ):
        one = Question(
            observation=replace(seen, instruction=seen.instruction + words), card="panda", noise_seed=3
        )
        first, second = (each.propose([one] * rows, draws) for each in (plain, fast))
        for chunks, others in zip(first, second):
            for chunk, other in zip(chunks, others):
                assert abs(chunk.values - other.values).max() < 1e-5
