"""The policy network: cached equals recomputed, draws do not mix, pointing losses by hand, sizes."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from kinema import recipes
from kinema.model.policy import flow, presets
from kinema.model.policy.action_dit import Mask
from kinema.model.policy.pointing import Pointed, point_losses
from kinema.model.policy.policy import Policy


def test_draws_of_one_sample_do_not_see_each_other(made):
    policy, batch = made
    prefilled = policy.prefill(batch.inputs)
    y, tau = torch.randn(6, 4, 16, 80), torch.rand(6, 4)
    with torch.inference_mode():
        together = policy.predict(prefilled, y, tau)
        for r in range(4):
            alone = policy.predict(prefilled, y[:, r : r + 1], tau[:, r : r + 1])
            torch.testing.assert_close(together[:, r : r + 1], alone, atol=1e-5, rtol=1e-4)


def test_a_batch_is_answered_like_each_sample_alone(made):
    policy, batch = made
    noise = torch.randn(6, 1, 16, 80)
    together = policy.sample(batch.inputs, noise)
    for i in range(6):
        one = type(batch.inputs)(**{k: v[i : i + 1] for k, v in vars(batch.inputs).items()})
        torch.testing.assert_close(
            policy.sample(one, noise[i : i + 1]), together[i : i + 1], atol=1e-5, rtol=1e-3
        )


def test_slots_of_other_bodies_stay_zero(made):
    policy, batch = made
    chunk = policy.sample(batch.inputs, torch.randn(6, 1, 16, 80))
    assert not chunk[:, :, :, ~batch.inputs.slot_mask[0]].any()
    assert chunk[:, :, :, batch.inputs.slot_mask[0]].abs().max() > 0


def test_no_loss_reaches_other_slots_or_padding(made):
    _, batch = made
    mask = batch.action_mask.clone()
    mask[0, 10:] = False  # the first sample's episode ends after ten steps
    predicted = torch.zeros(6, 16, 80, requires_grad=True)
    flow.masked_loss(predicted, torch.randn(6, 16, 80), mask).backward()
    assert not predicted.grad[~mask].any()
    assert predicted.grad[mask].abs().min() > 0


@pytest.mark.parametrize("mask", get_args(Mask))
def test_all_masks_train_and_sample(made, mask):
    _, batch = made
    config = presets.tiny(400)
    policy = Policy(replace(config, decoder=replace(config.decoder, mask=mask)))
    losses = policy(batch, torch.Generator().manual_seed(0))
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in policy.parameters() if p.grad is not None)
    assert policy.eval().sample(batch.inputs, torch.randn(6, 2, 16, 80)).shape == (6, 2, 16, 80)


def test_a_policy_may_give_the_velocity(made):
    """Its flow loss is that of what it gave, and so are its chunks."""
    policy, batch = made
    quick = Policy(replace(policy.config, prediction="velocity", times="sigmoid_normal")).eval()
    quick.load_state_dict(policy.state_dict())
    prefilled, y, tau = policy.prefill(batch.inputs), torch.randn(6, 2, 16, 80), torch.rand(6, 2)
    with torch.inference_mode():
        given = policy.predict(prefilled, y, tau)
        assert torch.equal(quick.predict(prefilled, y, tau), y - tau[..., None, None] * given)
    assert torch.isfinite(sum(quick(batch, torch.Generator().manual_seed(0)).values()))
    assert quick.sample(batch.inputs, torch.randn(6, 2, 16, 80)).isfinite().all()
    with pytest.raises(ValueError, match="prediction 'noise' must be one of"):
        replace(policy.config, prediction="noise")


def test_the_prompt_conditions_every_action(made):
    policy, batch = made
    noise = torch.randn(6, 1, 16, 80)
    other = replace(batch.inputs, tokens=batch.inputs.tokens.flip(1))
    assert (policy.sample(batch.inputs, noise) - policy.sample(other, noise)).abs().max() > 1e-4


def test_motion_since_the_pictures_is_told_to_policies_that_were_trained_with_it(made):
    policy, batch = made
    noise = torch.randn(6, 1, 16, 80)
    moved = replace(batch.inputs, moved=batch.inputs.moved + 0.5)
    told = policy.sample(moved, noise) - policy.sample(batch.inputs, noise)
    assert told.abs().max() > 1e-4
    punctual = Policy(replace(policy.config, late_steps=0)).eval()
    assert torch.equal(punctual.sample(moved, noise), punctual.sample(batch.inputs, noise))
    with pytest.raises(ValueError, match="state token"):
        replace(policy.config, state_token=False)


def test_point_losses_by_hand():
    # a 2 x 2 grid; the head is certain of the lower right cell and says (0.7, 0.8)
    logits = torch.full((1, 1, 1, 5), -20.0)
    logits[..., 3] = 20.0
    pointed = Pointed(uv=torch.tensor([[[[0.7, 0.8]]]]), logits=logits)
    yes = torch.ones(1, 1, 1, dtype=torch.bool)
    right = point_losses(pointed, torch.tensor([[[[0.75, 0.75]]]]), yes, yes, grid=2)
    assert right["point_cell"].item() == pytest.approx(0.0, abs=1e-6)
    assert right["point_uv"].item() == pytest.approx(0.05 + 0.05, abs=1e-6)
    absent = point_losses(pointed, torch.tensor([[[[0.75, 0.75]]]]), yes, ~yes, grid=2)
    assert absent["point_cell"].item() == pytest.approx(40.0, abs=1e-3)
    assert absent["point_uv"].item() == 0
    unlabelled = point_losses(pointed, torch.zeros(1, 1, 1, 2), ~yes, yes, grid=2)
    assert sum(v.item() for v in unlabelled.values()) == 0


def _count(name):
    """Parameters in all, in the decoder, and in token embeddings, built without memory."""
    with torch.device("meta"):
        policy = Policy(presets.PRESETS[name]())
    embeddings = policy.backbone.qwen.language_model.embed_tokens.weight.numel()
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    return count(policy), count(policy.decoder), embeddings


@pytest.mark.parametrize(("name", "published"), [("edge", 1.8e9), ("pro", 7e9), ("ultra", 65e9)])
def test_presets_have_the_published_sizes(name, published):
    total, _, _ = _count(name)
    assert total == pytest.approx(published, rel=0.05)


def test_base_is_the_published_model():
    total, decoder, embeddings = _count("base")
    assert decoder == pytest.approx(1.15e9, rel=0.01)
    assert total - embeddings == pytest.approx(5.2e9, rel=0.05)


def test_nano_is_nano():
    total, _, _ = _count("nano")
    assert 3e6 < total <= 25e6


def test_every_recipe_builds():
    for name in recipes.RECIPES:
        recipe = recipes.get(name)
        assert recipe.name == name
        if recipes.is_policy(name) and not recipe.is_told:
            with torch.device("meta"):
                Policy(recipe.stage.keywords["policy"](1024))
