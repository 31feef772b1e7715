"""CPT and SFT: acting and answering in one run, that goes on as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from policy_run import Begun, begin, debug_recipe

from kinema.data.conversations import Conversation, Turn, open_picture
from kinema.data.lessons import ConversationSet
from kinema.data.stream import Feed
from kinema.model.policy import artifact, presets
from kinema.model.policy.asking import Asked, Asker
from kinema.recipes.debug import made_up
from kinema.schema import KinemaError
from kinema.train.balance import gradient_norm
from kinema.train.optim import OptimConfig, Rule
from kinema.train.stages.cpt import CptStage, WordsConfig

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220)}


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> list[ConversationSet]:
    """Pictures of one colour, what colour it is, and a text without a picture."""
    folder, found = tmp_path_factory.mktemp("colors"), []
    for name, rgb in COLORS.items():
        Image.fromarray(np.full((64, 64, 3), rgb, np.uint8)).save(folder / f"{name}.png")
        turns = (Turn(question="what colour is it?", answer=name), Turn(question="sure?", answer="yes"))
        found.append(Conversation(id=name, pictures=(folder / f"{name}.png",), turns=turns))
    found.append(Conversation(id="text", pictures=(), turns=(Turn(question="and now?", answer="nothing"),)))
    return [ConversationSet(name="colors", conversations=found)]


def _recipe(colors: list[ConversationSet], words: WordsConfig, steps: int = 4, **loop: object):
    stage = partial(
        CptStage, policy=presets.tiny, sources=made_up, conversations=lambda data: colors, words=words,
        vocab_size=600,
    )  # fmt: skip
    return replace(debug_recipe(steps=steps, log_every=100, **loop), stage=stage)


WORDS = WordsConfig(shares={"robot": 75, "vision_language": 25})


def _weights(begun: Begun) -> dict[str, torch.Tensor]:
    return {**begun.policy.state_dict(), **begun.loop.ema.weights}


def test_a_run_goes_on_bit_for_bit_and_with_the_weight_that_it_had_measured(colors, tmp_path: Path) -> None:
    whole = begin(_recipe(colors, WORDS), tmp_path / "whole")
    whole.loop.run()
    half = begin(_recipe(colors, WORDS), tmp_path / "half")
    half.loop.run(until=2)
    rest = begin(_recipe(colors, WORDS), tmp_path / "half", resume=True)
    assert rest.policy.balance.norms.max() > 0
    rest.loop.run()
    ours, theirs = _weights(whole), _weights(rest)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_both_losses_pull_equally_hard_at_the_backbone(colors, tmp_path: Path) -> None:
    begun = begin(_recipe(colors, WORDS), tmp_path)
    stage = begun.run.stage
    batch = begun.mixture.batch(0)
    losses = stage(batch, torch.Generator().manual_seed(0))
    shared = [p for n, p in begun.policy.named_parameters() if n.startswith("backbone.")]
    # the head gives nothing at first, and so does its gradient: there is nothing to weigh yet
    assert losses["words_weight"] == 1
    torch.nn.init.normal_(begun.policy.word_head.weight, std=0.1)
    losses = stage(batch, torch.Generator().manual_seed(0))
    acted = sum(stage.weights[k] * losses[k] for k in ("flow", "quiet", "point_cell", "point_uv"))
    torch.testing.assert_close(gradient_norm(losses["words"], shared), gradient_norm(acted, shared))
    assert not torch.isclose(losses["words_weight"], torch.ones(()), rtol=0.5)


@pytest.mark.slow
def test_it_learns_to_answer_and_to_act_and_its_artifact_does_both(colors, tmp_path: Path) -> None:
    words = WordsConfig(shares={"robot": 25, "vision_language": 75}, weight=1.0)
    recipe = _recipe(colors, words, steps=400)
    recipe = replace(
        recipe,
        batch_size=8,
        loop=replace(recipe.loop, optim=OptimConfig(lr=3e-3, matrix_lr=None, warmup_steps=5, ema_decay=None)),
    )
    begun = begin(recipe, tmp_path)
    begun.loop.run()
    folder = begun.export(tmp_path / "artifact")
    loaded = artifact.load(folder)  # answers its own example of acting
    asker = Asker(loaded)
    pictures = [one for one in colors[0].conversations if one.pictures]
    asked = [Asked(question="what colour is it?", images=[open_picture(one.pictures[0])]) for one in pictures]
    assert asker.answers(asked) == list(COLORS)
    assert asker.answers([Asked(question="and now?", images=[])]) == ["nothing"]
    drawn = {one.kind: one for one in begun.mixture.drawn()}
    assert drawn["vision_language"].samples == 0.75 * 400 * 8
    assert json.loads((folder / "config.json").read_text())["policy"]["head"] == "own"


def test_what_measures_the_weight_is_no_part_of_the_artifact(colors, tmp_path: Path) -> None:
    begun = begin(_recipe(colors, WORDS, steps=1), tmp_path)
    begun.loop.run()
    loaded = artifact.load(begun.export(tmp_path / "artifact"))
    assert loaded.provenance["words_weight"] == 1
    assert not [name for name in loaded.policy.state_dict() if name.startswith("balance")]


def test_the_weight_of_sft_is_as_told(colors, tmp_path: Path) -> None:
    begun = begin(_recipe(colors, replace(WORDS, weight=0.1, bodies_alike=True)), tmp_path)
    losses = begun.run.stage(begun.mixture.batch(0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses["words"], 0.1 * losses["words_nats"])
    assert not hasattr(begun.policy, "balance")


def test_rows_do_not_depend_on_how_many_share_a_batch(colors, tmp_path: Path) -> None:
    """Two processes, in two parts each, draw the very rows that one draws, in its order."""
    stage = begin(_recipe(colors, replace(WORDS, weight=0.1)), tmp_path).run.stage
    whole = stage.stream(Feed(batch_size=32, seed=3))
    acting, saying = [], []
    for rank in range(2):
        own = stage.stream(Feed(batch_size=8, seed=3, rank=rank, ranks=2, parts=2))
        for part in range(2):
            names = own.origins(5 * 2 + part)
            saying += [name for name in names if name.startswith("colors")]
            acting += [name for name in names if not name.startswith("colors")]
    assert [*acting, *saying] == whole.origins(5)
    assert len(saying) == 8


def test_a_share_is_met_in_every_stretch(colors, tmp_path: Path) -> None:
    stage = begin(_recipe(colors, WordsConfig(weight=0.1)), tmp_path).run.stage  # the published shares
    stream = stage.stream(Feed(batch_size=16))
    assert stream.share == pytest.approx(8.5 / (8.5 + 74.2))
    counts = np.cumsum([len(stream.batch(n).saying) for n in range(20)])
    assert np.abs(counts - stream.share * 16 * np.arange(1, 21)).max() <= 1


def test_what_cannot_be_is_refused(colors, tmp_path: Path) -> None:
    begun = begin(_recipe(colors, WORDS), tmp_path)
    with pytest.raises(KinemaError, match="one process"):
        begun.run.stage.stream(Feed(batch_size=16, ranks=2))
    with pytest.raises(KinemaError, match="take 4 or more"):
        begun.run.stage.stream(Feed(batch_size=3))
    with pytest.raises(KinemaError, match="a share each"):
        begin(_recipe(colors, WordsConfig(shares={"robot": 1})), tmp_path / "a")
    with pytest.raises(KinemaError, match="no conversation"):
        ConversationSet(name="none", conversations=[])
    frozen = _recipe(colors, WORDS)
    optim = replace(frozen.loop.optim, rules=(Rule(pattern="backbone.*", frozen=True),))
    frozen = replace(frozen, loop=replace(frozen.loop, optim=optim))
    with pytest.raises(KinemaError, match="share no weights"):
        begin(frozen, tmp_path / "b").loop.run()
