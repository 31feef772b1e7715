"""Flow matching against hand-computed cases and its own laws."""

import pytest
import torch

from kinema.model.policy import flow


def test_interpolation_and_velocity_by_hand():
    data, noise = torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), 6.0)
    y = flow.interpolate(data, noise, torch.tensor([0.25]))
    assert y.item() == 3.0
    assert flow.velocity(y, data, torch.tensor([0.25])).item() == pytest.approx(4.0)  # noise - data


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_perfect_network_is_sampled_exactly(steps):
    data = torch.randn(3, 4, 5)
    out = flow.sample(lambda y, tau: data, torch.randn(3, 4, 5), steps)
    torch.testing.assert_close(out, data, atol=1e-5, rtol=1e-4)


def test_a_velocity_and_its_data_are_each_others_inverse():
    y, speed, tau = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.tensor([0.05, 0.5, 1.0])
    back = flow.velocity(y, flow.data_of(y, speed, tau), tau)
    torch.testing.assert_close(back, speed, atol=1e-5, rtol=1e-4)


def test_loss_by_hand_counts_channels_not_steps():
    predicted, target = torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)
    target[0, :, 0] = torch.tensor([1.0, 3.0])  # both steps valid: mean (1 + 9) / 2 = 5
    target[0, :, 1] = torch.tensor([2.0, 100.0])  # the second step is padding: 4
    target[0, :, 2] = 50.0  # not a channel of this body
    mask = torch.tensor([[[True, True, False], [True, False, False]]])
    assert flow.masked_loss(predicted, target, mask).item() == pytest.approx((5 + 4) / 2)


def test_concentration_leans_to_noise():
    g = torch.Generator().manual_seed(0)
    uniform, leaning = (flow.draw_tau(20_000, c, g) for c in (1.0, 4.0))
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.02)
    assert leaning.mean().item() == pytest.approx(4 / 5, abs=0.02)  # the mean of Beta(4, 1)
    assert min(uniform.min(), leaning.min()) >= flow.MIN_TAU
    middle = flow.draw_tau(20_000, 4.0, g, "sigmoid_normal")
    assert middle.logit().std().item() == pytest.approx(1.0, abs=0.05)
    assert middle.mean().item() == pytest.approx(0.5, abs=0.02)


def test_no_steps_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        flow.sample(lambda y, tau: y, torch.zeros(1, 1, 1), 0)
