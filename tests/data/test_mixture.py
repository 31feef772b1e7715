"""The stream of batches: reproducible, resumable, weighted, and true to its sources."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.card.load import card_names, load_card
from kinema.data import sample
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.schema import KinemaError, Observation
from kinema.space.codec import Codec
from kinema.space.foreseen import Foreseen
from kinema.space.layout import slot_index


def _sources():
    return [fake_source(load_card(name), image_size=64, seed=i) for i, name in enumerate(("panda", "aloha"))]


def _mixture(sources, seed=0, batch_size=12, late_steps=0):
    tokenizer = TextTokenizer.train([t for s in sources for t in s.tasks], 400)
    codecs = {s.card.name: Codec(s.card, *measure_stats([s], 16)) for s in sources}
    return Mixture(
        sources, codecs, tokenizer, Feed(batch_size=batch_size, seed=seed), horizon=16, late_steps=late_steps
    )


def test_a_restored_stream_goes_on_with_the_same_batch():
    a, b = _mixture(_sources()), _mixture(_sources())
    for _ in range(3):
        a.draw()
    b.state = a.state
    first, second = a.draw(), b.draw()
    assert torch.equal(first.actions, second.actions)
    assert torch.equal(first.inputs.images, second.inputs.images)
    assert not torch.equal(first.actions, a.draw().actions)


def test_seeds_differ():
    assert not torch.equal(
        _mixture(_sources(), seed=0).draw().actions, _mixture(_sources(), seed=1).draw().actions
    )


def test_weights_set_the_share_of_each_body():
    panda, aloha = _sources()
    mixture = _mixture([replace(panda, weight=3.0), aloha], batch_size=400)
    left = mixture.draw().inputs.slot_mask[:, slot_index("left.joint.0")]
    assert left.float().mean().item() == pytest.approx(0.25, abs=0.06)


def test_windows_end_with_their_episode():
    source = _sources()[0]
    chunk, valid = source.windows(np.array([0, 15, 19]), 16)
    assert valid.sum(1).tolist() == [16, 5, 1]
    np.testing.assert_array_equal(chunk[2], np.repeat(source.action[19:20], 16, 0))  # the last value is held
    np.testing.assert_array_equal(chunk[1, :5], source.action[15:20])


def test_padding_and_other_bodies_slots_are_masked():
    mixture = _mixture(_sources(), batch_size=64)
    batch = mixture.draw()
    for i in range(64):
        card = "aloha" if batch.inputs.slot_mask[i, slot_index("left.joint.0")] else "panda"
        expected = torch.from_numpy(mixture.codecs[card].mask)
        assert torch.equal(batch.action_mask[i].any(0), expected)
        assert batch.action_mask[i, 0].equal(expected)


def test_sources_that_do_not_fit_their_card_are_refused():
    source = _sources()[0]
    with pytest.raises(KinemaError, match="no window"):
        replace(source, starts=np.array([], int))
    with pytest.raises(KinemaError, match="actions have"):
        replace(source, action=source.action[:, :3])
    with pytest.raises(KinemaError, match="states have"):
        replace(source, state=source.state[:, :3])


def test_statistics_are_of_the_chunk_frame():
    source = _sources()[0]
    actions, _ = measure_stats([source], 16)
    # the made-up action is far from the made-up state, so its difference must not be centred on the action
    column = [c.slot for c in source.card.actions].index("right.ee.x")
    state_column = [c.slot for c in source.card.states].index("right.ee.x")
    middle = np.median(source.action[:, column]) - np.median(source.state[:, state_column])
    assert actions.center[column] == pytest.approx(middle, abs=0.6 * actions.half_width[column] + 1e-6)


def test_a_misnamed_row_teaches_only_silence():
    mixture = _mixture(_sources(), batch_size=200)
    mixture.misnamed = 0.3
    batch = mixture.draw()
    panda, aloha = (torch.from_numpy(mixture.codecs[name].mask) for name in ("panda", "aloha"))
    misnamed = ~batch.action_mask.flatten(1).any(1)
    assert misnamed.float().mean().item() == pytest.approx(0.3, abs=0.1)
    for i in range(200):
        seen = batch.inputs.slot_mask[i]
        named = seen if not misnamed[i] else (aloha if torch.equal(seen, panda) else panda)
        assert torch.equal(batch.quiet_mask[i], ~named if not misnamed[i] else seen & ~named)
    assert (batch.quiet_mask & batch.inputs.slot_mask)[misnamed].any(1).all()
    assert not (batch.quiet_mask & batch.inputs.slot_mask)[~misnamed].any()


def test_one_body_alone_is_never_misnamed():
    mixture = _mixture(_sources()[:1], batch_size=50)
    mixture.misnamed = 0.9
    assert mixture.draw().action_mask.flatten(1).any(1).all()


def test_earlier_steps_are_of_the_same_episode_and_old_enough():
    source = replace(_sources()[0], starts=np.arange(0, 240, 2))  # every second step has pictures
    starts, steps = np.array([10, 10, 20, 22, 4]), np.array([3, 0, 2, 2, 9])
    # the beginning of an episode has nothing before it
    np.testing.assert_array_equal(source.earlier(starts, steps), [6, 10, 20, 20, 4])


def test_late_rows_see_old_pictures_and_the_pose_that_was_commanded_since():
    panda = _sources()[0]
    steps = np.arange(len(panda.action))
    marked = np.broadcast_to(
        (steps % 240).astype(np.uint8)[:, None, None, None, None], (len(steps), 2, 64, 64, 3)
    )
    executed = panda.action + 0.01
    source = replace(panda, images=marked.__getitem__, executed=executed)
    mixture = _mixture([source], batch_size=200, late_steps=3)
    batch = mixture.draw()
    codec = mixture.codecs["panda"]
    late = 0
    for i in range(200):
        seen = int(batch.inputs.images[i, 0, 0, 0, 0])
        state = batch.inputs.state[i].numpy()
        candidates = [codec.encode_state(source.state[seen])]
        candidates += [
            codec.encode_state(Foreseen(source.card).after(source.state[seen], executed[seen + d - 1]))
            for d in (1, 2, 3)
            if seen + d < len(steps)
        ]
        match = [bool(np.allclose(state, candidate)) for candidate in candidates]
        assert any(match)
        moved = state - codec.encode_state(source.state[seen])  # since the pictures
        np.testing.assert_allclose(batch.inputs.moved[i], moved, atol=1e-6)
        late += not match[0]
        chunk, _ = source.windows(np.array([seen + match.index(True)]), 16)
        pose = source.state[seen]
        if not match[0]:
            pose = Foreseen(source.card).after(pose, executed[seen + match.index(True) - 1])
        np.testing.assert_allclose(batch.actions[i], codec.encode(chunk[0], pose), atol=1e-6)
    assert 70 < late < 125  # half of the rows, fewer where an episode begins


def test_a_late_row_of_training_is_the_row_of_a_late_answer():
    """Training input equals serving input: pictures from before, and the committed actions carried out."""
    source = _sources()[0]
    mixture = _mixture([source], late_steps=3)
    late = (mixture._late(source, np.array([7]), np.array([sample])) for sample in range(100))
    seen, _, state = next(found for found in late if found[0][0] < 7)
    committed = source.done(np.arange(seen[0], 7))
    served = Foreseen(source.card).after(source.state[seen[0]], committed[-1])
    np.testing.assert_array_equal(state[0], served)


def test_every_row_has_the_tags_of_its_own_cameras():
    """Bodies whose cameras differ in kind, order and number share a batch, which one table could not say."""
    panda, aloha = _sources()
    wrist = panda.card.model_copy(update={"name": "wrist_only", "cameras": panda.card.cameras[1:]})
    swapped = panda.card.model_copy(update={"name": "swapped", "cameras": panda.card.cameras[::-1]})
    one_view = replace(
        panda, card=wrist, images=lambda steps: panda.images(steps)[:, :1], points=panda.points[:, :1]
    )
    for source in (
        panda,
        aloha,
        one_view,
        replace(panda, card=swapped),
    ):  # one after the other, beside rows that differ from it
        mixture = _mixture([source, aloha], batch_size=12)
        batch = mixture.draw()
        left = batch.inputs.slot_mask[:, slot_index("left.joint.0")]
        for i in range(12):
            card = aloha.card if left[i] else source.card
            own = torch.from_numpy(mixture.tokenizer.camera_tags(card))
            assert torch.equal(batch.inputs.tags[i, : len(own)], own)
            assert (batch.inputs.tags[i, len(own) :] == mixture.tokenizer.pad_id).all()
            assert batch.inputs.image_mask[i].sum() == len(own)


@pytest.mark.parametrize("name", card_names())
@pytest.mark.parametrize(("chunk", "horizon"), [(16, 16), (16, 8), (8, 16), (50, 5), (1, 3)])
def test_training_input_equals_serving_input_whatever_the_horizon(name, chunk, horizon):
    """Every tensor, the prompt's number of steps among them; no loss beyond what the body is asked for."""
    card = load_card(name).model_copy(update={"chunk": chunk})
    source = fake_source(card, image_size=32, episodes=3)
    tokenizer = TextTokenizer.train(source.tasks, 400)
    codec = Codec(card, *measure_stats([source], horizon))
    mixture = Mixture([source], {name: codec}, tokenizer, Feed(batch_size=4, seed=0), horizon=horizon)
    steps = source.starts[[0, 7, 30]]
    part = mixture._rows(0, steps, np.arange(3))
    trained = sample.inputs(part.rows, tokenizer)
    for i, step in enumerate(steps):
        observation = Observation(
            images=dict(zip(card.camera_names, source.images(step[None])[0])),
            state=source.state[step],
            instruction=source.tasks[0],
            time_s=0.0,
        )
        row = sample.observed_row(observation, codec, tokenizer, image_size=32, horizon=horizon)
        served = sample.inputs([row], tokenizer)
        for key, value in vars(served).items():
            assert torch.equal(value[0], vars(trained)[key][i]), key
        if card.control != "hand":
            assert f"next {min(chunk, horizon)} " in tokenizer.decode(row.tokens)
    left = source.bounds(steps)[1] - steps
    assert part.action_mask.any(2).sum(1).tolist() == np.minimum(left, min(chunk, horizon)).tolist()


def test_a_sentence_that_cannot_be_told_names_its_set_and_task():
    many = "".join(chr(0x4E00 + 7 * i) for i in range(250))
    source = replace(_sources()[0], tasks=["touch the bright square", many])
    with pytest.raises(KinemaError, match=r"fake_panda, task 1 '一.*tokens, at most"):
        _mixture([replace(source, name="fake_panda")])
