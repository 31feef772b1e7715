"""A second look: known pixels of a known picture, extra and never instead, alike in training and acting."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kinema.card.load import load_card
from kinema.data import sample
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.picture import resize
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.model.policy import artifact, presets
from kinema.model.policy.act import LocalPolicy
from kinema.model.policy.policy import Policy, PolicyConfig
from kinema.model.policy.second_look import (
    Places,
    SecondLookConfig,
    corners,
    cut,
    shrink,
    training_places,
)
from kinema.schema import Observation
from kinema.space.codec import Codec

LOOK = SecondLookConfig(source_size=128, crop_size=32)


@pytest.fixture(scope="module")
def made():
    """A tiny policy that looks twice, its source of 128 px pictures, words, codecs, and four rows."""
    torch.manual_seed(0)
    source = fake_source(load_card("panda"), image_size=128)
    tokenizer = TextTokenizer.train(source.tasks, 400)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    batch = Mixture([source], codecs, tokenizer, Feed(batch_size=4, seed=0), horizon=16).draw()
    policy = Policy(replace(presets.tiny(tokenizer.vocab_size), second_look=LOOK)).eval()
    for parameter in policy.parameters():  # the modulation starts at zero: give every path something to do
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.05)
    return policy, source, tokenizer, codecs, batch


def _known(uv):
    return Places(uv=uv, known=torch.ones(uv.shape[:-1], dtype=torch.bool))


@given(st.integers(0, 2**31), st.integers(16, 40), st.integers(1, 16))
def test_a_crop_is_the_known_pixels_and_lies_within_the_picture(seed, side, size):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, 3, 3, side, side), np.uint8)
    uv = rng.uniform(-0.3, 1.3, (2, 3, 2, 2))
    corner = corners(torch.from_numpy(uv), side, size)
    crops = cut(torch.from_numpy(images), corner, size).numpy()
    for b, v, p in np.ndindex(2, 3, 2):
        column, row = corner[b, v, p].tolist()
        known = images[b, v, :, row : row + size, column : column + size]
        np.testing.assert_array_equal(crops[b, v, p], known)
        for first, at in zip((column, row), uv[b, v, p] * side):
            off = abs(first + size / 2 - at)  # of its middle from the point, unless a border is in the way
            assert off <= 0.5 + 1e-4 or (first == 0 and at < size / 2) or (first == side - size and at > 0)


def test_the_first_look_is_what_a_policy_with_one_look_is_given():
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 128, 128, 3), np.uint8)
    shrunk = shrink(torch.from_numpy(images).permute(0, 1, 4, 2, 3), 64)
    given = torch.from_numpy(resize(images, 64)).permute(0, 1, 4, 2, 3)
    assert (shrunk - given.float()).abs().max() <= 1.01  # of 255: one is rounded


def test_without_it_nothing_is_said_or_held():
    """What an artifact says of itself and the names of its weights are as before."""
    once = presets.tiny(400)
    assert "second_look" not in once.to_json()
    assert PolicyConfig.from_json(once.to_json()) == once
    assert not [name for name in Policy(once).state_dict() if "second_look" in name]
    twice = replace(once, second_look=LOOK)
    assert PolicyConfig.from_json(twice.to_json()) == twice
    assert (once.source_size, twice.source_size) == (64, 128)


def test_a_wrong_place_changes_the_extra_tokens_only(made):
    policy, *_, batch = made
    B, V = batch.inputs.image_mask.shape
    here = _known(torch.full((B, V, 2, 2), 0.3))
    there = _known(torch.full((B, V, 2, 2), 0.8))
    with torch.inference_mode():
        first, second = policy.prefill(batch.inputs, here), policy.prefill(batch.inputs, there)
        one = Policy(replace(policy.config, second_look=None)).eval()
        one.load_state_dict({k: v for k, v in policy.state_dict().items() if "second_look" not in k})
        small = replace(batch.inputs, images=shrink(batch.inputs.images, 64))
        plain = one.prefill(small)
    extra = V * 2 * (32 // 16) ** 2
    assert first.context.shape[1] == plain.context.shape[1] + extra
    changed = (first.context != second.context).any(-1).any(0)
    assert changed.sum() == extra
    kept = ~changed
    assert torch.equal(first.context[:, kept], plain.context)
    assert torch.equal(first.condition, plain.condition)


@pytest.mark.parametrize("uv", [-5.0, 0.0, 1.0, 7.0])
def test_losses_and_chunks_are_finite_wherever_it_looks(made, uv):
    policy, *_, batch = made
    lost = replace(batch, points=torch.full_like(batch.points, uv), point_mask=batch.point_mask & False)
    assert all(loss.isfinite() for loss in policy(lost, torch.Generator().manual_seed(0)).values())
    places = _known(torch.full_like(batch.points, uv))
    with torch.inference_mode():
        assert policy.prefill(batch.inputs, places).context.isfinite().all()


def test_no_gradient_flows_through_the_place_and_all_of_the_second_look_learns(made):
    policy, *_, batch = made
    unlabelled = replace(batch, point_mask=torch.zeros_like(batch.point_mask))
    policy.zero_grad()
    policy(unlabelled, torch.Generator().manual_seed(0))["flow"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in policy.second_look.parameters())
    uv = torch.rand(1, 1, 1, 2, requires_grad=True)
    assert not corners(uv, 128, 32).requires_grad


def test_training_looks_around_labels_and_now_and_then_anywhere():
    uv = torch.full((4000, 1, 2, 2), 0.5)
    labelled = torch.ones(4000, 1, 2, dtype=torch.bool)
    labelled[:, :, 1] = False
    places = training_places(uv, labelled, LOOK, torch.Generator().manual_seed(0))
    off = (places.uv - uv).abs().amax(-1)
    assert 0.85 < (off[:, :, 0] < 4 * LOOK.noise).float().mean() < 0.95
    assert places.known[:, :, 0].all()
    assert 0.07 < places.known[:, :, 1].float().mean() < 0.13  # without a label: its own points, or anywhere
    own = torch.full_like(uv, 0.9)
    assert torch.equal(places.or_at(own)[~places.known], own[~places.known])


def test_views_that_are_not_there_are_not_looked_at(made):
    policy, *_, batch = made
    noise = torch.randn(4, 1, 16, 80)
    mask = batch.inputs.image_mask.clone()
    mask[:, 1] = False
    one = replace(batch.inputs, image_mask=mask)
    other = replace(one, images=one.images.clone())
    other.images[:, 1] = 255 - other.images[:, 1]
    assert torch.equal(policy.sample(one, noise), policy.sample(other, noise))
    assert not torch.equal(policy.sample(batch.inputs, noise), policy.sample(one, noise))


def test_a_batch_is_answered_like_each_sample_alone(made):
    policy, *_, batch = made
    noise = torch.randn(4, 1, 16, 80)
    together = policy.sample(batch.inputs, noise)
    for i in range(4):
        alone = policy.sample(batch.inputs.each(lambda t, i=i: t[i : i + 1]), noise[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=1e-3)


def test_what_acts_is_what_was_trained(made, tmp_path):
    """Saved, loaded and asked with a live observation: training's inputs, and the network's own answer."""
    policy, source, tokenizer, codecs, _ = made
    mixture = Mixture([source], codecs, tokenizer, Feed(batch_size=1, seed=0), horizon=16)
    example = mixture.batch(0).inputs.first()
    artifact.save(tmp_path / "look", policy, tokenizer, codecs, example, {})
    acting = LocalPolicy(tmp_path / "look")
    assert acting.artifact.policy.config == policy.config
    step = source.starts[np.array([5])]
    observation = Observation(
        images=dict(zip(source.card.camera_names, source.images(step)[0])), state=source.state[step][0],
        instruction=source.tasks[0], time_s=0.0,
    )  # fmt: skip
    (trained,) = mixture._rows(0, step, np.arange(1)).rows
    row = sample.observed_row(observation, codecs["panda"], tokenizer, image_size=128, horizon=16)
    np.testing.assert_array_equal(row.images, trained.images)
    served = sample.inputs([row], tokenizer)
    assert served.images.shape[-1] == 128
    noise = torch.zeros(1, 1, 16, 80)
    expected = codecs["panda"].decode(
        acting.artifact.policy.sample(served, noise)[0, 0].numpy(), row.state.astype(np.float64)
    )
    acting.steady = True
    np.testing.assert_allclose(acting.infer(observation, "panda").values, expected, atol=1e-5)


def _striped(seed, side=128, square=16):
    """Pictures of a square of stripes one pixel wide; the action is one where they lie, another where not."""
    source = fake_source(load_card("panda"), image_size=16, seed=seed, episodes=60)
    rng = np.random.default_rng(seed)
    lying, corner = rng.random(source.steps) < 0.5, rng.integers(40, 72, (source.steps, 2))
    images = np.zeros((source.steps, len(source.card.cameras), side, side, 3), np.uint8)
    lines = np.where(np.arange(square) % 2, 255, 60)[:, None].repeat(square, 1)
    for i, (u, v) in enumerate(corner):
        images[i, :, v : v + square, u : u + square] = (lines if lying[i] else lines.T)[..., None]
    middle, reach = (np.array([c.range for c in source.card.actions]) @ [[0.5, -0.2], [0.5, 0.2]]).T
    points = np.ones((source.steps, len(source.card.cameras), 2, 3), np.float32)
    points[..., :2] = ((corner + square / 2) / side)[:, None, None]
    at_rest = np.array([c.range for c in source.card.states]).mean(1, dtype=np.float32)
    return replace(
        source, images=images.__getitem__, points=points, state=np.tile(at_rest, (source.steps, 1)),
        action=(middle + reach * np.where(lying, 1, -1)[:, None]).astype(np.float32),
        ends=np.arange(source.steps) + 1,
    )  # fmt: skip


def _batches(source, tokenizer, codecs, rows):
    return Mixture([source], codecs, tokenizer, Feed(batch_size=rows, seed=0), horizon=16)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_only_the_second_look_resolves_is_learnt():
    torch.manual_seed(2)
    source = _striped(2)
    tokenizer = TextTokenizer.train(source.tasks, 400)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    batches, chance = _batches(source, tokenizer, codecs, 16), torch.Generator().manual_seed(2)
    policy = Policy(replace(presets.tiny(tokenizer.vocab_size), second_look=LOOK))
    optimiser = torch.optim.AdamW(policy.parameters(), 2e-3)
    for _ in range(160):
        losses = policy(batches.draw(), chance)
        optimiser.zero_grad()
        (losses["flow"] + losses["point_uv"] + 0.1 * losses["point_cell"]).backward()
        optimiser.step()
    new = _batches(_striped(102), tokenizer, codecs, 64).draw()
    chunk = policy.eval().sample(new.inputs, torch.zeros(64, 1, 16, 80))[:, 0, 0]
    assert ((chunk * new.actions[:, 0]).sum(1) > 0).float().mean() > 0.75  # who guesses is right in half
    stripes = torch.tensor([60, 255], dtype=torch.uint8).repeat(64).expand(1, 1, 3, 128, 128)
    assert shrink(stripes, 64)[..., 2:-2].std() < 1e-3  # in the first look there are none


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: SecondLookConfig(source_size=64, crop_size=96), "crop_size 96"),
        (lambda: SecondLookConfig(source_size=64, crop_size=32, astray=1.5), "astray 1.5"),
        (lambda: replace(presets.tiny(), points=0, second_look=LOOK), "points is 0"),
        (lambda: replace(presets.tiny(image_size=256), second_look=LOOK), "image_size is 256"),
        (lambda: Policy(replace(presets.tiny(), second_look=replace(LOOK, crop_size=40))), "crop_size 40"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        change()
