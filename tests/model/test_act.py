"""Questions to the shipped policy: together equals alone, the seed decides, committed actions are kept."""

import dataclasses
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.model.act import LocalPolicy
from kinema.schema import ActionChunk, Observation, Question


@pytest.fixture(scope="module")
def policy():
    return LocalPolicy(Path(str(files("kinema") / "artifacts" / "nano")))


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


def test_committed_actions_are_at_their_due_steps_and_the_rest_is_drawn_to_fit(policy):
    free = policy.answer([_question("ur5e", 5)])[0]
    rng = np.random.default_rng(1)
    kept = free.values[2:5] + rng.uniform(-0.01, 0.01, (3, free.values.shape[1]))
    kept[:, -1] = np.clip(kept[:, -1], 0.1, 0.9)
    committed = ActionChunk(values=kept, times_s=free.times_s[2:5], card="ur5e")
    painted = policy.answer([_question("ur5e", 5, committed)])[0]
    codec = policy.artifact.codec("ur5e")
    state = _question("ur5e", 5).observation.state.astype(np.float64)
    expected = codec.decode(codec.encode(kept, state), state)  # outside the statistics' range: clipped
    np.testing.assert_allclose(painted.values[2:5], expected, atol=1e-5)
    assert np.abs(painted.values[5:] - free.values[5:]).max() > 1e-4


def test_actions_due_before_the_chunk_or_after_it_change_nothing(policy):
    free = policy.answer([_question("ur5e", 6)])[0]
    late = ActionChunk(values=free.values[:2], times_s=free.times_s[-1] + np.array([0.1, 0.2]), card="ur5e")
    early = ActionChunk(values=free.values[:2], times_s=np.array([0.8, 1.0]), card="ur5e")
    for committed in (late, early):
        answered = policy.answer([_question("ur5e", 6, committed)])[0]
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
