"""Chunks that begin with what is given: what training draws, what it is charged for, what sampling keeps."""

from dataclasses import replace

import pytest
import torch

from kinema.model.policy.flow import Known
from kinema.model.policy.policy import Policy
from kinema.train.stage import start_from

PREFIX = 4  # of the tiny preset


def test_half_of_the_draws_are_given_nothing_and_none_more_than_the_prefix(made):
    policy, _ = made
    given = policy._draw_given(4000, torch.Generator().manual_seed(0))
    length = given.sum(1)
    assert (given == (torch.arange(16) < length[:, None])).all()  # always the first steps
    assert length.max() == PREFIX
    assert 0.45 < (length == 0).float().mean() < 0.55
    assert all(0.09 < (length == n).float().mean() < 0.16 for n in range(1, PREFIX + 1))


def test_steps_that_are_given_carry_no_loss(made, monkeypatch):
    policy, batch = made
    monkeypatch.setattr(policy, "_draw_given", lambda count, _: (torch.arange(16) < 3).expand(count, -1))

    def loss(actions, mask):
        changed = replace(batch, actions=actions, action_mask=mask)
        return policy(changed, torch.Generator().manual_seed(0))["flow"]

    seen_only = batch.action_mask.clone()
    seen_only[:, 3:] = False
    assert loss(batch.actions, seen_only) == 0  # nothing but the given steps: nothing to pay for
    # and what is given is really read: other given actions change the prediction of the rest
    other = batch.actions.clone()
    other[:, :3] = other[:, :3].roll(1, 0)
    assert loss(other, batch.action_mask) != loss(batch.actions, batch.action_mask)


def test_sampling_keeps_what_is_given_and_reads_it(made):
    policy, batch = made
    noise = torch.randn(6, 2, 16, 80, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(16) < 3)[None, :, None] & batch.inputs.slot_mask[:, None]
    known = Known(values=batch.actions, mask=mask)
    painted = policy.sample(batch.inputs, noise, known=known)
    kept = mask[:, None].expand_as(painted)
    torch.testing.assert_close(painted[kept], batch.actions[:, None].expand_as(painted)[kept])
    free = policy.sample(batch.inputs, noise)
    assert (painted - free)[:, :, 3:].abs().max() > 1e-4


def test_a_network_without_prefixes_is_taken_over_and_acts_as_before(made):
    policy, batch = made
    config = policy.config
    old = Policy(replace(config, decoder=replace(config.decoder, prefix=0))).eval()
    new = Policy(config).eval()
    start_from(new, old, may_lack=True)
    noise = torch.randn(6, 1, 16, 80, generator=torch.Generator().manual_seed(2))
    assert torch.equal(new.sample(batch.inputs, noise), old.sample(batch.inputs, noise))


@pytest.mark.parametrize("prefix", [-1, 16])
def test_a_prefix_as_long_as_the_chunk_is_refused(made, prefix):
    decoder = made[0].config.decoder
    with pytest.raises(ValueError, match=f"prefix {prefix}"):
        replace(decoder, prefix=prefix)
