"""The artifacts in the package: whole, small, true to their example, and obedient to the prompt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.card.prompt import prompt
from kinema.commands.policies import shipped_artifacts
from kinema.data import sample
from kinema.model.policy import artifact
from kinema.model.policy.act import LocalPolicy
from kinema.runtime.chunk import ChunkPlayer
from kinema.space.codec import ChunkFrame, Codec
from kinema.space.layout import slot_index
from kinema.worlds import Expert, TabletopEnv

SHIPPED = ("nano", "nano_metaworld", "nano_aloha", "nano_simpler", "nano_metaworld_lerobot")
BODIES = ("panda", "ur5e", "aloha")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_artifacts_are_whole_small_and_answer_their_example(name):
    folder = shipped_artifacts()[name]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size <= 60e6
    loaded = artifact.load(folder)  # checks the example
    assert {"recipe", "commit", "data", "steps", "seed", "hardware", "train_s"} <= loaded.provenance.keys()
    for codec in loaded.codecs.values():
        assert codec.card.actions


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_artifacts_keep_the_numbers_that_they_were_trained_with(name):
    """Their cards do not say which end is open: a larger number is a larger slot, bit for bit."""
    rng = np.random.default_rng(0)
    for codec in artifact.load(shipped_artifacts()[name], check=False).codecs.values():
        card, stats = codec.card, codec.action_stats
        actions = stats.center + stats.half_width * rng.uniform(-1.2, 1.2, (16, len(card.actions)))
        state = codec.state_stats.center.astype(np.float32)
        scaled = (ChunkFrame(card).enter(actions, state) - stats.center) / stats.half_width
        slots = [slot_index(channel.slot) for channel in card.actions]
        unified = codec.encode(actions, state)
        np.testing.assert_array_equal(unified[:, slots], np.clip(scaled, -1, 1).astype(np.float32))
        back = np.clip(unified[:, slots].astype(np.float64), -1, 1) * stats.half_width + stats.center
        np.testing.assert_array_equal(codec.decode(unified, state), ChunkFrame(card).leave(back, state))


@pytest.fixture(scope="module")
def shipped():
    return artifact.load(shipped_artifacts()["nano"], check=False)


@pytest.fixture(scope="module")
def scenes(shipped):
    """Per body, observations of a pick-and-place episode while the arm is on its way."""
    made = {}
    for body in BODIES:
        env = TabletopEnv(card=shipped.codecs[body].card, family="pick_place")
        expert, seen = Expert(env), []
        for seed in range(4):
            env.reset(760_000 + seed)
            for _ in range(5):
                env.step(expert.act())
            seen.append(env.observe())
        env.close()
        made[body] = seen
    return made


def _raw_chunk(shipped, observation, body, named):
    """All 80 slots (H, K) of the answer for a picture of `body` under the prompt of `named`."""
    row = sample.observed_row(
        observation,
        shipped.codecs[body],
        shipped.tokenizer,
        image_size=shipped.policy.config.image_size,
        horizon=shipped.policy.config.decoder.horizon,
    )
    words = prompt(shipped.codecs[named].card, observation.instruction, 16)
    inputs = sample.inputs([replace(row, tokens=shipped.tokenizer.encode(words))], shipped.tokenizer)
    inputs = replace(inputs, slot_mask=torch.ones_like(inputs.slot_mask))
    noise = torch.randn(1, 1, 16, 80, generator=torch.Generator().manual_seed(0))
    return shipped.policy.sample(inputs, noise)[0, 0].numpy()


@pytest.mark.parametrize(("body", "named"), [(a, b) for a in BODIES for b in BODIES if a != b])
def test_swapping_only_the_prompt_switches_the_body(shipped, scenes, body, named):
    """Slots that only the seen body has go quiet; slots that only the named body has wake up."""
    own, other = shipped.codecs[body].mask, shipped.codecs[named].mask
    right, wrong = (
        np.mean([np.abs(_raw_chunk(shipped, o, body, words)) for o in scenes[body]], axis=(0, 1))  # (K,)
        for words in (body, named)
    )
    if (own & ~other).any():
        assert wrong[own & ~other].mean() < 0.6 * right[own & ~other].mean()
    if (other & ~own).any():
        assert wrong[other & ~own].mean() > 2 * right[other & ~own].mean()


def _renamed(policy, body, named):
    """Change nothing but the words: the card's name for itself and its arms."""
    codec, other = policy.artifact.codecs[body], policy.artifact.codecs[named].card
    words = {"robot_tag": other.robot_tag, "waist": other.waist, "mobile_base": other.mobile_base}
    card = codec.card.model_copy(update=words)
    policy.artifact.codecs[body] = Codec(card, codec.action_stats, codec.state_stats)


@pytest.mark.slow
def test_a_wrong_prompt_does_not_act_as_the_right_one():
    successes = {}
    policy = LocalPolicy(shipped_artifacts()["nano"])
    env = TabletopEnv(card=policy.artifact.codecs["panda"].card, family="pick_place")
    for named in BODIES:
        policy = LocalPolicy(shipped_artifacts()["nano"])
        _renamed(policy, "panda", named)
        successes[named] = sum(_solves(policy, "panda", env, 770_000 + i) for i in range(6))
    env.close()
    assert successes["panda"] >= 4
    assert successes["ur5e"] <= 1
    assert successes["aloha"] <= 1


_IN_TIME = 50  # steps: twice what the right prompt takes


def _solves(policy, body, env, seed):
    env.reset(seed)
    player = ChunkPlayer(policy, body, replan_steps=4)
    player.reset(seed)
    for _ in range(min(_IN_TIME, env.max_steps)):
        env.step(player.act(env.observe))
        if env.success():
            break
    return env.success()
