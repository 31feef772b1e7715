"""Questions to the shipped policy: together equals alone, the seed decides, committed actions are kept."""

import dataclasses
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.model.policy.act import LocalPolicy
from kinema.model.policy.policy import Policy
from kinema.schema import ActionChunk, Observation, Question
from kinema.space.codec import Codec
from kinema.space.foreseen import Foreseen


@pytest.fixture(scope="module")
def policy():
    return LocalPolicy(Path(str(files("kinema") / "artifacts" / "nano")))


@pytest.fixture(scope="module")
def painter():
    """A policy that was not trained with older pictures: what is committed is painted in."""
    return LocalPolicy(Path(str(files("kinema") / "artifacts" / "nano_metaworld")))


@pytest.fixture(scope="module")
def late_policy(policy):
    """The shipped weights as if they had been trained with older pictures."""
    late = LocalPolicy(policy.artifact.folder)
    shipped = late.artifact.policy
    network = Policy(dataclasses.replace(shipped.config, late_steps=3)).eval()
    network.load_state_dict(shipped.state_dict() | {"moved_in.weight": network.moved_in.weight})
    late.artifact = dataclasses.replace(late.artifact, policy=network)
    return late


def _question(body, seed=0, committed=None, time_s=1.0):
    card = load_card(body)
    rng = np.random.default_rng(seed)
    low, high = np.array([channel.range for channel in card.states]).T
    return Question(
        observation=Observation(
            images={name: rng.integers(0, 256, (96, 96, 3), np.uint8) for name in card.camera_names},
            state=(low + (high - low) * rng.uniform(0.45, 0.55, len(low))).astype(np.float32),
            instruction="put the red block in the blue bowl",
            time_s=time_s,
        ),
        card=body,
        noise_seed=seed,
        committed=committed,
    )


def test_answers_of_a_mixed_batch_equal_the_answers_one_by_one(policy):
    questions = [_question(body, seed) for seed, body in enumerate(("panda", "aloha", "ur5e", "panda"))]
    together = policy.answer(questions)
    for question, chunk in zip(questions, together):
        (alone,) = policy.answer([question])
        assert chunk.card == question.card
        np.testing.assert_allclose(chunk.values, alone.values, atol=2e-4)
        np.testing.assert_array_equal(chunk.times_s, alone.times_s)


def test_the_noise_seed_alone_decides_the_draw(policy):
    question = _question("panda", 3)
    first, second, third = policy.propose([question], 3)[0]
    again = policy.propose([question], 1)[0][0]
    np.testing.assert_allclose(first.values, again.values, atol=2e-4)
    assert np.abs(second.values - first.values).max() > 1e-4
    assert np.abs(third.values - second.values).max() > 1e-4


def test_committed_actions_are_painted_in_at_their_due_steps_and_the_rest_is_drawn_to_fit(painter):
    free = painter.answer([_question("sawyer_metaworld", 5)])[0]
    rng = np.random.default_rng(1)
    kept = free.values[2:5] + rng.uniform(-0.01, 0.01, (3, free.values.shape[1]))
    committed = ActionChunk(values=kept, times_s=free.times_s[2:5], card="sawyer_metaworld")
    painted = painter.answer([_question("sawyer_metaworld", 5, committed)])[0]
    codec = painter.artifact.codec("sawyer_metaworld")
    state = _question("sawyer_metaworld", 5).observation.state.astype(np.float64)
    expected = codec.decode(codec.encode(kept, state), state)  # outside the statistics' range: clipped
    np.testing.assert_allclose(painted.values[2:5], expected, atol=1e-5)
    assert np.abs(painted.values[5:] - free.values[5:]).max() > 1e-4


@pytest.mark.parametrize("body", ["panda", "ur5e", "aloha"])
def test_a_late_answer_begins_with_what_is_committed_and_goes_on_from_where_that_leads(late_policy, body):
    asked = _question(body, 5)
    free = late_policy.answer([asked])[0]
    committed = ActionChunk(values=free.values[:2] + 0.003, times_s=free.times_s[:2], card=body)
    late = late_policy.answer([_question(body, 5, committed)])[0]
    np.testing.assert_array_equal(late.values[:2], committed.values)
    np.testing.assert_allclose(late.times_s, free.times_s, atol=1e-9)
    ahead = Foreseen(load_card(body)).after(asked.observation.state, committed.values[-1].astype(np.float32))
    there = dataclasses.replace(asked, observation=dataclasses.replace(asked.observation, state=ahead))
    np.testing.assert_allclose(late.values[2:], late_policy.answer([there])[0].values[:14], atol=2e-4)


@pytest.mark.parametrize("body", ["ur5e", "sawyer_metaworld"])
def test_actions_due_before_the_chunk_or_after_it_change_nothing(policy, painter, body):
    asked = policy if body == "ur5e" else painter
    free = asked.answer([_question(body, 6)])[0]
    late = ActionChunk(values=free.values[:2], times_s=free.times_s[-1] + np.array([0.1, 0.2]), card=body)
    early = ActionChunk(values=free.values[:2], times_s=np.array([0.8, 1.0]), card=body)
    for committed in (late, early):
        answered = asked.answer([_question(body, 6, committed)])[0]
        np.testing.assert_array_equal(answered.values, free.values)


def test_a_steady_answer_does_not_depend_on_the_seed_and_its_rivals_do(policy):
    steady = LocalPolicy(Path(str(files("kinema") / "artifacts" / "nano")), steady=True)
    question = _question("panda", 3)
    other = dataclasses.replace(question, noise_seed=4)
    (first, rival), (same, another) = steady.propose([question, other], 2)
    np.testing.assert_allclose(first.values, same.values, atol=2e-4)
    assert np.abs(rival.values - another.values).max() > 1e-4
    drawn = policy.answer([question])[0]
    assert np.abs(drawn.values - first.values).max() > 1e-4


def test_a_body_whose_chunk_is_shorter_is_asked_for_and_gets_its_own_number(policy):
    """The prompt says as many steps as the answer has, from one place."""
    codec = policy.artifact.codec("panda")
    card = codec.card.model_copy(update={"chunk": 5})
    short = LocalPolicy(policy.artifact.folder)
    codecs = {**short.artifact.codecs, "panda": Codec(card, codec.action_stats, codec.state_stats)}
    short.artifact = dataclasses.replace(short.artifact, codecs=codecs)
    question = _question("panda")
    assert "next 5 control" in short.artifact.tokenizer.decode(short.check(question).tokens)
    assert short.answer([question])[0].values.shape == (5, len(card.actions))
    assert "next 16 control" in policy.artifact.tokenizer.decode(policy.check(question).tokens)
