"""`kinema ask`: an answer on one line, or an error on one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.card.load import load_card
from kinema.cli import exit_code
from kinema.commands.policies import shipped_artifacts
from kinema.data.fake import fake_source
from kinema.data.mixture import Mixture
from kinema.data.source import measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.model.policy import artifact, presets
from kinema.model.policy.policy import Policy
from kinema.space.codec import Codec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that says one word whatever it is asked, and a picture."""
    out, source = tmp_path_factory.mktemp("ask"), fake_source(load_card("panda"), image_size=64)
    tokenizer = TextTokenizer.train([*source.tasks, "point to the mug"], 500, digits_apart=True)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    example = Mixture([source], codecs, tokenizer, Feed(batch_size=1), horizon=16).draw().inputs
    torch.manual_seed(0)
    policy = Policy(replace(presets.tiny(tokenizer.vocab_size), head="own"))
    torch.nn.init.normal_(policy.word_head.weight)
    artifact.save(out / "speaks", policy, tokenizer, codecs, example, {})
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(out / "a.png")
    (out / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nnone")
    return out


@pytest.mark.parametrize("more", [[], ["--point"], ["--tokens", "3"]])
def test_it_answers_on_one_line(more: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["ask", str(folder / "a.png"), "the mug", "--policy", str(folder / "speaks"), *more]
    assert exit_code(asked) == 0
    first = capsys.readouterr().out
    assert len(first.splitlines()) == 1
    assert first.removesuffix("\n").isprintable()
    assert exit_code(asked) == 0
    assert capsys.readouterr().out == first


def test_what_cannot_be_asked_is_one_line_and_two(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speaks, acts = str(folder / "speaks"), str(shipped_artifacts()["nano"])
    for picture, question, policy, says in (
        ("none.png", "what?", speaks, "no picture at"),
        ("b.png", "what?", speaks, "no picture that can be read"),
        ("a.png", " ", speaks, "the question is empty"),
        ("a.png", "why " * 400, speaks, "tokens"),
        ("a.png", "what?", acts, "nano was not trained to answer in words"),
        ("a.png", "what?", "nobody", "no policy 'nobody'"),
    ):
        assert exit_code(["ask", str(folder / picture), question, "--policy", policy]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert len(error.splitlines()) == 1
