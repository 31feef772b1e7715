"""Training as a whole: resume is exact, the small problem is learnt, the artifact acts, faults are named."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from policy_run import begin, debug_recipe

from kinema.card.load import load_card
from kinema.data import sample
from kinema.data.fake import fake_source
from kinema.model.policy import artifact, presets
from kinema.model.policy.act import LocalPolicy
from kinema.model.policy.second_look import SecondLookConfig
from kinema.recipes.debug import made_up
from kinema.schema import KinemaError, Observation


def _training(out, steps, *, resume=False, **loop):
    return begin(debug_recipe(steps=steps, **loop), out, resume=resume)


def _looks_twice(**loop):
    """The debug recipe with a second look, from pictures twice as large."""
    recipe = debug_recipe([fake_source(load_card("panda"), image_size=128)], **loop)
    look = SecondLookConfig(source_size=128, crop_size=32)

    def policy(vocab_size):
        return replace(presets.tiny(vocab_size), second_look=look)

    return replace(recipe, stage=partial(recipe.stage, policy=policy))


@pytest.mark.parametrize("recipe", [debug_recipe, _looks_twice])
def test_two_and_two_steps_equal_four_bit_for_bit(tmp_path, recipe):
    whole = begin(recipe(steps=4), tmp_path / "whole")
    whole.loop.run()
    half = begin(recipe(steps=4), tmp_path / "half")
    half.loop.run(until=2)
    rest = begin(recipe(steps=4), tmp_path / "half", resume=True)
    assert rest.loop.step == 2
    rest.loop.run()
    for (name, a), b in zip(whole.policy.state_dict().items(), rest.policy.state_dict().values()):
        assert torch.equal(a, b), name
    for name, a in whole.loop.ema.weights.items():
        assert torch.equal(a, rest.loop.ema.weights[name]), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    training = _training(out, 80)
    first = _mean_loss(training)
    training.loop.run()
    return training, first, training.export(out / "artifact")


def _mean_loss(training):
    """Flow loss on fixed batches, in eval mode, with fixed noise."""
    state = training.mixture.state
    values = []
    for i in range(3):
        batch = training.mixture.draw()
        with torch.inference_mode():
            losses = training.policy(batch, torch.Generator().manual_seed(i))
        values.append(losses["flow"].item())
    training.mixture.state = state
    return float(np.mean(values))


def test_the_made_up_law_is_learnt(trained):
    training, first, _ = trained
    assert _mean_loss(training) < 0.7 * first


def _observation(source, step=3):
    images = source.images(np.array([step]))[0]
    return Observation(
        images=dict(zip(source.card.camera_names, images)),
        state=source.state[step],
        instruction=source.tasks[0],
        time_s=2.0,
    )


def test_serving_input_equals_training_input(trained):
    training, _, folder = trained
    training.mixture.misnamed = 0.0  # a robot is never told another's name
    loaded = artifact.load(folder)
    for source in training.sources:
        steps = source.starts[:4]
        part = training.mixture._rows(training.sources.index(source), steps, np.arange(4))
        trained_on = sample.inputs(part.rows, training.tokenizer)
        for i, step in enumerate(steps):
            row = sample.observed_row(
                _observation(source, step),
                loaded.codec(source.card.name),
                loaded.tokenizer,
                image_size=64,
                horizon=loaded.policy.config.decoder.horizon,
            )
            served = sample.inputs([row], loaded.tokenizer)
            for name, value in vars(served).items():
                assert torch.equal(value[0], vars(trained_on)[name][i]), name


def test_an_artifact_acts_the_same_after_loading(trained):
    training, _, folder = trained
    source = training.sources[0]
    policy = LocalPolicy(folder)
    policy.reset(5)
    chunk = policy.infer(_observation(source), source.card.name)
    policy.reset(5)
    again = policy.infer(_observation(source), source.card.name)
    np.testing.assert_array_equal(chunk.values, again.values)
    assert chunk.values.shape == (16, len(source.card.actions))
    assert chunk.times_s[0] == pytest.approx(2.0 + 1 / source.card.control_hz)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert {"recipe", "commit", "steps", "seed", "hardware", "data"} <= provenance.keys()


def test_a_bad_observation_is_named(trained):
    training, _, folder = trained
    policy, source = LocalPolicy(folder), training.sources[0]
    good = _observation(source)
    with pytest.raises(KinemaError, match=r"was not trained on 'nobody'.*panda"):
        policy.infer(good, "nobody")
    missing = {k: v for k, v in good.images.items() if k != "wrist"}
    with pytest.raises(KinemaError, match="needs camera 'wrist'"):
        policy.infer(replace(good, images=missing), source.card.name)
    with pytest.raises(KinemaError, match="uint8"):
        policy.infer(
            replace(good, images={k: v.astype(np.float32) for k, v in good.images.items()}), source.card.name
        )
    for bad, message in ((np.nan, "not finite"), (1e4, "far outside")):
        state = good.state.copy()
        state[1] = bad
        with pytest.raises(KinemaError, match=message):
            policy.infer(replace(good, state=state), source.card.name)
    with pytest.raises(KinemaError, match="shape"):
        policy.infer(replace(good, state=good.state[:2]), source.card.name)
    for text in ("", "x" * 5000):
        with pytest.raises((KinemaError, ValueError), match="instruction"):
            policy.infer(replace(good, instruction=text), source.card.name)


def _copy(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "copy")


def test_damaged_artifacts_are_refused(trained, tmp_path):
    _, _, folder = trained
    copy = _copy(folder, tmp_path)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "layout_version": 99}))
    with pytest.raises(KinemaError, match="layout version 99"):
        artifact.load(copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(KinemaError, match="damaged"):
        artifact.load(copy)
    (copy / "config.json").write_text(json.dumps(config))
    weights = (copy / "weights.safetensors").read_bytes()
    (copy / "weights.safetensors").write_bytes(weights[:1000])
    with pytest.raises(KinemaError, match=r"weights\.safetensors is damaged"):
        artifact.load(copy)
    (copy / "weights.safetensors").write_bytes(weights[:-4000] + bytes(range(100)) * 40)
    with pytest.raises(KinemaError, match="own example"):
        artifact.load(copy)
    (copy / "weights.safetensors").unlink()
    with pytest.raises(KinemaError, match="incomplete"):
        artifact.load(copy)


def test_unknown_and_missing_losses_stop_the_run(tmp_path):
    training = _training(tmp_path, 2)
    training.loop.weights = {"flow": 1.0, "point_uv": 1.0}
    with pytest.raises(KinemaError, match="do not match"):
        training.loop.run()


def test_a_run_that_diverges_stops_and_says_where(tmp_path):
    training = _training(tmp_path, 2)
    with torch.no_grad():
        training.policy.context_in.weight.fill_(float("nan"))
    with pytest.raises(KinemaError, match="not finite at step 0"):
        training.loop.run()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    training = _training(tmp_path, 1)
    training.loop.run()
    other = debug_recipe(made_up(tmp_path), vocab_size=300)
    with pytest.raises(
        KinemaError, match=r"not the run of the checkpoint: network.text.vocab_size was \d+ and is 300"
    ):
        begin(other, tmp_path).loop.resume()


def test_bodies_whose_cameras_differ_in_kind_train_together(tmp_path):
    """Tags belong to a row: no order of cameras need be shared by the bodies of a mixture."""
    card = load_card("panda")
    turned = card.model_copy(update={"name": "turned", "cameras": card.cameras[::-1]})
    sources = [fake_source(card, image_size=64), fake_source(turned, image_size=64)]
    training = begin(debug_recipe(sources), tmp_path)
    losses = training.policy(training.mixture.draw(), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(value) for value in losses.values())


def test_a_run_can_start_from_an_artifact_and_keeps_its_words_and_statistics(trained, tmp_path):
    training, _, folder = trained
    shifted = [replace(s, action=s.action + 0.01) for s in made_up(tmp_path)]
    again = begin(debug_recipe(shifted), tmp_path, init=folder)
    for name, codec in training.codecs.items():
        np.testing.assert_array_equal(again.codecs[name].action_stats.q01, codec.action_stats.q01)
    for name, value in artifact.load(folder).policy.state_dict().items():
        assert torch.equal(again.policy.state_dict()[name], value), name
        assert torch.equal(again.loop.ema.weights[name], value), name
    assert again.tokenizer.encode("touch the bright square") == training.tokenizer.encode(
        "touch the bright square"
    )


def test_a_run_may_give_what_it_starts_from_other_words(trained, tmp_path):
    """A token of both keeps its vector, a new one begins as the mean of what spelled it; then it trains."""
    _, _, folder = trained
    said = ("wander past the purple wardrobe, then halt", "häng das Bild höher")
    sources = [replace(source, tasks=said, task_index=source.task_index % 2) for source in made_up(tmp_path)]
    recipe = debug_recipe(sources, vocab_size=700)
    with pytest.raises(KinemaError, match="--words data gives what --init names other words; without --init"):
        begin(recipe, tmp_path / "none", words="data")
    old, begun = artifact.load(folder), begin(recipe, tmp_path, init=folder, words="data")
    assert len(begun.tokenizer.encode(said[0])) < len(old.tokenizer.encode(said[0]))
    name = "backbone.qwen.language_model.embed_tokens.weight"
    before, after = old.policy.state_dict(), begun.policy.state_dict()
    spelled = begun.tokenizer.spelled_by(old.tokenizer)
    assert len(after[name]) == begun.tokenizer.vocab_size == len(spelled)
    for row, ids in zip(after[name], spelled):
        torch.testing.assert_close(row, before[name][ids].mean(0))
    kept = old.tokenizer.token_id("<|ego_start|>")
    assert torch.equal(after[name][begun.tokenizer.token_id("<|ego_start|>")], before[name][kept])
    assert all(torch.equal(after[other], value) for other, value in before.items() if other != name)
    begun.loop.run(until=1)
    again = begin(recipe, tmp_path, resume=True)
    assert again.tokenizer.to_json() == begun.tokenizer.to_json()


def test_a_run_that_looks_twice_can_start_from_an_artifact_that_looks_once(trained, tmp_path):
    _, _, folder = trained
    begun = begin(_looks_twice(steps=1), tmp_path, init=folder, most_clipped=1.0)
    for name, value in artifact.load(folder).policy.state_dict().items():
        assert torch.equal(begun.policy.state_dict()[name], value), name
    assert begun.policy.second_look is not None
    begun.loop.run()
    exported = begun.export(tmp_path / "artifact")
    assert artifact.load(exported).policy.config.second_look == begun.policy.config.second_look


def test_a_run_may_answer_with_longer_chunks_than_what_it_starts_from(trained, tmp_path):
    _, _, folder = trained
    known = artifact.load(folder).policy
    recipe = debug_recipe(made_up(tmp_path))
    longer = replace(known.config, decoder=replace(known.config.decoder, horizon=24))
    recipe = replace(recipe, stage=partial(recipe.stage, policy=lambda _: longer))
    again = begin(recipe, tmp_path, init=folder)
    steps, begun = "decoder.step_embed", again.policy.state_dict()
    assert all(torch.equal(begun[name], p) for name, p in known.state_dict().items() if name != steps)
    assert torch.equal(begun[steps][:16], known.decoder.step_embed)
    assert torch.equal(begun[steps][16:], known.decoder.step_embed[-1:].expand(8, -1))
    losses = again.run.stage(again.mixture.draw(), torch.Generator().manual_seed(0))
    assert torch.isfinite(losses["flow"])


def test_exporting_in_the_middle_does_not_change_what_is_drawn_next(tmp_path):
    training = _training(tmp_path, 2)
    before = training.mixture.state
    training.export(tmp_path / "latest")
    assert training.mixture.state == before
