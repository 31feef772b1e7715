"""The first stage: words to whole trajectories, and what the next stages take from it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from policy_run import begin, debug_recipe

from kinema.model.policy import artifact, presets
from kinema.recipes.debug import made_up
from kinema.recipes.sources import planned_sources
from kinema.train.stages.policy import PolicyStage
from kinema.train.stages.t2a import FROZEN, T2AStage

HORIZON = 24


def _sources(data, pictures="cache"):
    return [*made_up(data), *planned_sources(["panda", "ur10e"], each=40, seed=1_000_000)]


def _t2a_recipe(steps=3):
    recipe = debug_recipe(steps=steps, log_every=100)
    stage = partial(T2AStage, policy=presets.tiny, sources=_sources, horizon=HORIZON, vocab_size=600)
    optim = replace(recipe.loop.optim, rules=(FROZEN,))
    return replace(recipe, stage=stage, loop=replace(recipe.loop, optim=optim))


@pytest.fixture(scope="module")
def t2a(tmp_path_factory):
    """A few steps of the stage, what its weights were before, and its artifact."""
    out = tmp_path_factory.mktemp("t2a")
    begun = begin(_t2a_recipe(), out)
    before = {name: value.clone() for name, value in begun.policy.state_dict().items()}
    begun.loop.run()
    return begun, before, begun.export(out / "artifact")


def test_the_decoder_alone_learns(t2a):
    begun, before, _ = t2a
    for name, value in begun.policy.state_dict().items():
        if name.startswith("backbone."):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(begun.policy.decoder.action_out[0].weight, before["decoder.action_out.0.weight"])


def test_rows_are_whole_trajectories_without_pictures(t2a):
    begun, _, _ = t2a
    stream = begun.mixture
    batch = stream.batch(0)
    assert batch.inputs.image_mask.shape[1] == 0
    assert not batch.inputs.image_mask.any()
    planned = next(s for s in begun.sources if s.name == "planned/ur10e")
    lengths = np.diff(planned.ends, prepend=0)
    _, valid = planned.windows(planned.starts[np.arange(len(planned.starts))], HORIZON)
    np.testing.assert_array_equal(valid.sum(1), np.minimum(lengths, HORIZON))
    told = {stream.tokenizer.decode([t for t, m in zip(row, mask) if m])
            for row, mask in zip(batch.inputs.tokens.tolist(), batch.inputs.token_mask.tolist())}  # fmt: skip
    assert all(f"predict the next {HORIZON} control actions" in text for text in told)


def test_a_fifth_is_planned(t2a):
    begun, _, _ = t2a
    total = sum(source.weight for source in begun.sources)
    planned = sum(source.weight for source in begun.sources if source.kind == "synthetic")
    assert planned / total == pytest.approx(0.2)
    assert begun.policy.config.times == "sigmoid_normal"


@pytest.mark.parametrize("horizon", [8, 16, 40])
@pytest.mark.parametrize("image_size", [64, 96])
def test_its_decoder_starts_policies_of_any_horizon_and_picture_size(t2a, tmp_path, horizon, image_size):
    _, _, folder = t2a

    def policy(vocab_size):
        config = presets.tiny(vocab_size, image_size=image_size)
        return replace(config, decoder=replace(config.decoder, horizon=horizon))

    sources = [replace(s, images=_pictures(s, image_size)) for s in made_up(tmp_path)]
    recipe = replace(
        debug_recipe(steps=2),
        stage=partial(PolicyStage, policy=policy, sources=lambda data, pictures: sources),
    )
    begun, start = begin(recipe, tmp_path, init=folder), artifact.load(folder)
    ours, theirs = begun.policy.state_dict(), start.policy.state_dict()
    for name, value in theirs.items():
        if (
            name.startswith(("decoder.", "context_in.", "backbone.qwen.language_model."))
            and "step_embed" not in name
        ):
            assert torch.equal(ours[name], value), name
    steps = min(horizon, HORIZON)
    assert torch.equal(ours["decoder.step_embed"][:steps], theirs["decoder.step_embed"][:steps])
    assert len(ours["decoder.step_embed"]) == horizon
    assert begun.tokenizer.to_json() == start.tokenizer.to_json()
    assert set(begun.codecs) == {"panda", "ur5e"}
    assert all(codec.card.chunk == 16 for codec in begun.codecs.values())
    fresh = begin(recipe, tmp_path / "fresh")
    for name, codec in begun.codecs.items():
        np.testing.assert_array_equal(codec.action_stats.q99, fresh.codecs[name].action_stats.q99)
    begun.loop.run()
    assert artifact.load(begun.export(tmp_path / "artifact")).policy.config.decoder.horizon == horizon


def _pictures(source, size):
    return lambda steps: source.images(steps)[..., :1, :1, :].repeat(size, 2).repeat(size, 3)


def test_a_step_in_the_middle_is_where_it_goes_on_from(tmp_path):
    whole, first = begin(_t2a_recipe(4), tmp_path / "whole"), begin(_t2a_recipe(4), tmp_path / "halves")
    whole.loop.run()
    first.loop.run(until=2)
    second = begin(_t2a_recipe(4), tmp_path / "halves", resume=True)
    second.loop.run()
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, second.policy.state_dict()[name]), name
