"""Two losses weighted so that they pull equally hard at what they share."""

from __future__ import annotations

import torch
from torch import nn

from kinema.train.balance import Balance, gradient_norm


def test_the_weighted_gradients_have_equal_norms() -> None:
    torch.manual_seed(0)
    shared, one, other = nn.Linear(5, 7), nn.Linear(7, 2), nn.Linear(7, 3)
    x = torch.randn(11, 5)
    first, second = one(shared(x)).square().mean(), 30.0 * other(shared(x)).abs().sum()
    balance, weights = Balance(), list(shared.parameters())
    assert balance.weight == 1
    balance.measure((first, second), weights)
    pull = [gradient_norm(loss, weights) for loss in (first, balance.weight * second)]
    torch.testing.assert_close(pull[0], pull[1])
    assert not torch.isclose(pull[0], gradient_norm(second, weights), rtol=0.5)
    assert all(p.grad is None for p in (*weights, *one.parameters(), *other.parameters()))
    (first + second).backward()  # the graphs are still there


def test_a_norm_is_that_of_all_gradients_together_and_what_takes_no_part_adds_nothing() -> None:
    used, unused = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.ones(2))
    assert gradient_norm((used**2).sum() / 2, [used, unused]) == 5


def test_measurements_are_smoothed() -> None:
    balance, p = Balance(), nn.Parameter(torch.ones(1))
    balance.measure(((2 * p).sum(), p.sum()), [p])
    assert balance.weight == 2
    balance.measure(((2 * p).sum(), (11 * p).sum()), [p])
    torch.testing.assert_close(balance.weight, torch.tensor(1.0))  # 2 / (0.9 * 1 + 0.1 * 11)
