"""What played chunks are worth, and what the two rules make of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from kinema.card.load import load_card
from kinema.model.policy import artifact, flow, flow_sde
from kinema.model.policy.act import LocalPolicy
from kinema.model.policy.decisions import prefilled, together
from kinema.model.policy.explorer import Explorer
from kinema.model.policy.made_up import observation
from kinema.schema import KinemaError
from kinema.train.reinforce.learner import LearnConfig, Learner
from kinema.train.reinforce.rollout import Chunks, Rollout
from kinema.train.reinforce.rules import (
    PpoConfig,
    WeightedConfig,
    flow_loss,
    log_probabilities,
    ppo_loss,
    weights,
)
from kinema.train.reinforce.value import ValueHead, gae, time_left, time_saved


def always(_: torch.Tensor) -> bool:
    return True


def predictor(y: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    return torch.tanh(y) * (1 - 0.5 * tau[:, None, None])


@pytest.mark.parametrize("steps", [2, 4, 10])
def test_without_noise_a_stochastic_draw_is_the_usual_one(steps: int) -> None:
    noise = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    usual = flow.sample(predictor, noise, steps)
    for seed in range(steps):
        chunk, _ = flow_sde.sample(predictor, noise, steps, 0.0, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(chunk, usual)


def test_the_spread_of_the_stochastic_steps_is_as_published() -> None:
    y = torch.randn(1, 2, 3)
    spread = [flow_sde.gaussian(y, predictor(y, torch.ones(1)), i, 4, 0.5)[1] for i in range(4)]
    np.testing.assert_allclose(spread, [0.5, 0.433, 0.25, 0.144], atol=1e-3)


def test_where_a_step_goes_has_the_probability_of_a_normal_number() -> None:
    before, after = torch.randn(2, 6, 4, 3)
    mask = torch.rand(6, 4, 3) > 0.4
    mean, std = flow_sde.gaussian(before, predictor(before, torch.ones(6)), 1, 4, 0.5)
    found = flow_sde.log_probability(flow_sde.Step(before=before, after=after, index=1), mean, std, mask)
    torch.testing.assert_close(found, (Normal(mean, std).log_prob(after) * mask).sum((1, 2)))


def test_a_draw_of_one_step_has_none_that_could_be_stochastic(folder: Path) -> None:
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        flow_sde.sample(predictor, torch.randn(1, 2, 3), 1, 0.5, torch.Generator())
    with pytest.raises(KinemaError, match="at least 2 steps, got 1"):
        Explorer(folder, trying="flow_sde", sample_steps=1)


def test_who_explores_by_noise_acts_as_always(folder: Path) -> None:
    seen = observation(load_card("panda"), 64)
    chunks = []
    for policy in (LocalPolicy(folder), Explorer(folder)):
        policy.reset(5)
        chunks.append([policy.infer(seen, "panda").values for _ in range(2)])
    np.testing.assert_allclose(chunks[0], chunks[1], atol=2e-3)  # contexts are kept in half precision


def test_only_steps_that_were_played_count(folder: Path) -> None:
    explorer = Explorer(folder)
    explorer.reset(1)
    for _ in range(2):
        explorer.infer(observation(load_card("panda"), 64), "panda")
    played = explorer.taken(steps=11, replan_steps=8).played
    slots = explorer.artifact.codec("panda").mask.sum()
    assert played.sum((1, 2)).tolist() == [8 * slots, 3 * slots]
    assert not played[1, 3:].any()
    with pytest.raises(KinemaError, match="2 chunks were decided in an episode of 17 steps"):
        explorer.taken(steps=17, replan_steps=8)


def test_before_the_first_update_every_ratio_is_one(played, folder: Path) -> None:
    rollouts = played(2, always, "flow_sde")
    policy = artifact.load(folder).policy
    with torch.no_grad():
        alone = torch.cat([log_probabilities(policy, r.decisions, PpoConfig()) for r in rollouts])
        both = log_probabilities(policy, Chunks.of(rollouts).decisions, PpoConfig())
    assert alone.isfinite().all()
    torch.testing.assert_close((both - alone).exp(), torch.ones(len(both)), atol=1e-3, rtol=0)
    # and the step came from the very Gaussian that is asked for its probability
    decisions = rollouts[0].decisions
    steps = policy.config.sample_steps
    with torch.no_grad():
        tau = 1 - decisions.index / steps
        data = policy.predict(prefilled(policy, decisions.seen), decisions.before[:, None], tau[:, None])[
            :, 0
        ]
    mean, std = flow_sde.gaussian(decisions.before, data, 0, steps, flow_sde.NOISE_LEVEL)
    z = ((decisions.after - mean) / std).flatten()
    assert abs(float(z.mean())) < 0.05
    assert abs(float(z.std()) - 1) < 0.05


def test_tokens_filled_up_with_change_nothing(played, folder: Path) -> None:
    policy = artifact.load(folder).policy
    (rollout,) = played(1, always, "flow_sde")
    one = rollout.decisions
    longer = replace(
        one, seen=replace(one.seen, context=torch.cat([one.seen.context] * 2, 1),
                          mask=torch.cat([one.seen.mask, one.seen.mask], 1)),
    )  # fmt: skip
    both = together([one, longer])
    with torch.no_grad():
        torch.testing.assert_close(
            log_probabilities(policy, both.take(torch.arange(3)), PpoConfig()),
            log_probabilities(policy, one, PpoConfig()), atol=1e-3, rtol=1e-5,
        )  # fmt: skip
    torch.testing.assert_close(both.seen.pooled()[:3], one.seen.pooled())


def test_nothing_gained_gives_no_gradient_and_a_clipped_ratio_none_either() -> None:
    ratio = torch.tensor([0.5, 1.0, 1.5], requires_grad=True)
    ppo_loss(ratio, torch.zeros(3), PpoConfig()).sum().backward()
    assert ratio.grad is not None
    assert not ratio.grad.any()
    ratio.grad = None
    ppo_loss(ratio, torch.tensor([-1.0, 1.0, 1.0]), PpoConfig()).sum().backward()
    assert ratio.grad.tolist() == [0.0, -1.0, 0.0]
    far = torch.tensor([5.0], requires_grad=True)  # a bad chunk that has become likely: the dual clip
    loss = ppo_loss(far, torch.tensor([-1.0]), PpoConfig())
    assert loss.item() == 3.0


def hand_made(played, lengths: list[int], won: list[bool]) -> Chunks:
    (rollout,) = played(1, always)
    rows = [torch.zeros(n, dtype=torch.long) for n in lengths]
    return Chunks.of(
        [
            Rollout(task="t", decisions=rollout.decisions.take(r), success=w, most=4)
            for r, w in zip(rows, won, strict=True)
        ]
    )


def test_generalised_advantages_by_hand_and_episode_by_episode(played) -> None:
    chunks = hand_made(played, [2, 1], [True, False])
    value = torch.tensor([0.2, 0.5, 0.3])
    second = 1 - 0.5
    first = 0.99 * 0.5 - 0.2 + 0.99 * 0.95 * second
    torch.testing.assert_close(gae(chunks, value), torch.tensor([first, second, -0.3]))


@pytest.mark.parametrize("won", [True, False])
def test_who_knows_how_long_it_takes_is_not_surprised(played, won: bool) -> None:
    chunks = hand_made(played, [3, 4, 1], [won, True, False])
    left = time_left(chunks)
    assert ((left >= -1) & (left <= 0)).all()
    assert left[0] == (-3 / 8 if won else -7 / 8)
    torch.testing.assert_close(time_saved(chunks, left), torch.zeros(8))
    better = time_saved(chunks, left - torch.tensor([0.0, 0.1, 0, 0, 0, 0, 0, 0]))
    assert better[0] < 0 < better[1], "what leads to a worse place is worth less"


def test_weights_grow_with_what_was_gained_and_have_mean_one() -> None:
    gained = torch.linspace(-1, 1, 21)
    weight = weights(gained, WeightedConfig())
    assert (weight.diff() > 0).all()
    assert weight.mean() == pytest.approx(1)
    assert weights(torch.zeros(5), WeightedConfig()).tolist() == [1] * 5


def test_the_flow_loss_of_what_was_played_is_the_stages_own(played, folder: Path) -> None:
    policy = artifact.load(folder).policy
    (rollout,) = played(1, always)
    decisions = rollout.decisions
    with torch.no_grad():
        each = flow_loss(policy, decisions, torch.Generator().manual_seed(3))
        R, n = policy.config.draws, len(decisions)
        generator = torch.Generator().manual_seed(3)
        data = decisions.chunk.repeat_interleave(R, 0)
        noise = torch.randn(data.shape, generator=generator)
        tau = flow.draw_tau(n * R, policy.config.tau_concentration, generator, policy.config.times)
        y = flow.interpolate(data, noise, tau)
        read = prefilled(policy, decisions.seen)
        predicted = policy.predict(read, y.unflatten(0, (n, R)), tau.view(n, R)).flatten(0, 1)
        whole = flow.masked_loss(
            flow.velocity(y, predicted, tau), noise - data, decisions.played.repeat_interleave(R, 0)
        )
    torch.testing.assert_close(each.mean(), whole)


def test_with_equal_weights_the_whole_chunk_counts_as_in_training(played, folder: Path) -> None:
    """Of a chunk that was cut short the rest counts, too: what was drawn beyond it is not forgotten."""
    policy = artifact.load(folder).policy
    (rollout,) = played(1, always)
    decisions = rollout.decisions
    cut = decisions.played.clone()
    cut[:, 3:] = False
    n = len(decisions)

    def loss(of: torch.Tensor, weight: float | None) -> torch.Tensor:
        each = None if weight is None else torch.full((n,), weight)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            return flow_loss(policy, replace(decisions, played=of), generator, each)

    whole = decisions.played.any(1, keepdim=True).expand_as(cut)
    torch.testing.assert_close(loss(cut, 1.0), loss(whole, None))
    share = cut.any(-1).float().mean(1)
    torch.testing.assert_close(loss(cut, 3.0) - loss(cut, 0.0), 3.0 * share * loss(cut, None))


def test_a_rounds_weights_are_an_average_that_begins_with_those_before(played, folder: Path) -> None:
    """Without averaging a round of one step moves as far as that step; with it, by its share."""
    moved = {}
    for decay in (0.0, 0.9):
        loaded = artifact.load(folder)
        before = {name: p.clone() for name, p in loaded.policy.decoder.named_parameters()}
        config = LearnConfig(updates=1, rows=8, value_steps=2, average=decay)
        Learner(loaded.policy, ValueHead(loaded.policy.config.decoder.width), config).learn(
            played(2, always), seed=0
        )
        moved[decay] = {n: p.detach() - before[n] for n, p in loaded.policy.decoder.named_parameters()}
    assert any(step.any() for step in moved[0.0].values())
    for name, step in moved[0.0].items():
        torch.testing.assert_close(moved[0.9][name], 0.1 * step, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("rule", ["weighted", "flow_sde"])
def test_what_led_to_success_becomes_likelier(played, folder: Path, rule: str) -> None:
    """A body that wins whenever the first number of its chunk is above its mean."""
    trying = "noise" if rule == "weighted" else "flow_sde"
    slot = int(artifact.load(folder).codec("panda").mask.argmax())

    def first(chunk: torch.Tensor) -> float:
        return float(chunk[:, :8, slot].mean())

    def mean_of(policy: Path) -> float:
        episodes = played(192, always, trying, policy=policy, chunks=1, seed=1)
        return sum(first(episode.decisions.chunk) for episode in episodes) / 192

    usual = mean_of(folder)

    def wins(chunk: torch.Tensor) -> bool:
        return first(chunk) > usual

    rollouts = played(192, wins, trying, chunks=1)
    loaded = artifact.load(folder)
    config = LearnConfig(rule=rule, lr=1e-3, updates=100, epochs=8, rows=64, value_steps=50)
    learner = Learner(loaded.policy, ValueHead(loaded.policy.config.decoder.width), config)
    frozen = {
        name: p.clone() for name, p in loaded.policy.named_parameters() if not name.startswith("decoder.")
    }
    learner.learn(rollouts, seed=0)
    for name, parameter in loaded.policy.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name
    out = folder.parent / f"after_{rule}"
    artifact.save(
        out, loaded.policy, loaded.tokenizer, loaded.codecs, artifact.example(folder), {}, exact=True
    )
    assert mean_of(out) > usual + 0.02


def test_flow_sde_learns_from_stochastic_draws_only(played, folder: Path) -> None:
    policy = artifact.load(folder).policy
    learner = Learner(policy, ValueHead(policy.config.decoder.width), LearnConfig(rule="flow_sde"))
    with pytest.raises(KinemaError, match="some of these rollouts have none"):
        learner.learn(played(1, always, "noise"), seed=0)


def test_a_rollout_comes_back_from_its_file_and_other_bytes_are_refused(played, tmp_path: Path) -> None:
    (rollout,) = played(1, always)
    path = tmp_path / "one.rollout.safetensors"
    rollout.save(path)
    back = Rollout.load(path)
    assert (back.task, back.success, back.most) == ("made up", True, 4)
    assert torch.equal(back.decisions.chunk, rollout.decisions.chunk)
    assert torch.equal(back.decisions.seen.context, rollout.decisions.seen.context)
    whole = path.read_bytes()
    for bad in (b"", b"junk", whole[: len(whole) // 2], whole[:8] + b"\xff" * 40 + whole[48:]):
        path.write_bytes(bad)
        with pytest.raises(KinemaError, match="is no rollout"):
            Rollout.load(path)
