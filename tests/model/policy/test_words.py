"""Words: what is learnt from, what is answered, and that acting knows nothing of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.data.batch import Replies
from kinema.data.sample import end_of_answer, replies, talk
from kinema.data.text import TextTokenizer
from kinema.model.policy import artifact, presets
from kinema.model.policy.artifact import Artifact
from kinema.model.policy.asking import Asked, Asker
from kinema.model.policy.policy import Policy
from kinema.schema import KinemaError

TOKENIZER = TextTokenizer.train(["what is left of the mug?", "the red block"], 400, digits_apart=True)
QUESTIONS = ("what is left of the mug?", "where?", "is there a red block behind it, or is it a blue one?")


def _images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)


def _config(kind: str, vocab_size: int = TOKENIZER.vocab_size):
    config = presets.tiny(vocab_size)
    if kind == "own":
        return replace(config, head="own")
    text = {**config.text, "num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"]}
    linear = dict(linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16,
                  linear_value_head_dim=16)  # fmt: skip
    # a chat's: the end of a turn, and what an answer begins with
    return replace(config, text={**text, **linear}, head="tied", closing=(7, 9))


@pytest.fixture(params=["own", "hybrid"])
def policy(request: pytest.FixtureRequest) -> Policy:
    torch.manual_seed(0)
    made = Policy(_config(request.param)).eval()
    if made.word_head is not None:
        torch.nn.init.normal_(made.word_head.weight)
    else:  # a token of the context's must not be its own likeliest successor
        torch.nn.init.normal_(made.backbone.qwen.language_model.embed_tokens.weight, std=0.02)
    for layer in made.backbone.qwen.language_model.layers:
        for matrix in (p for p in layer.parameters() if p.ndim == 2):
            torch.nn.init.normal_(matrix, std=0.3)
    return made


def _asked(policy: Policy, rows: list[tuple[str, int]]) -> Replies:
    closing = policy.config.closing
    return replies(
        [
            talk(_images(n, i), [(q, None)], TOKENIZER, image_size=64, closing=closing)
            for i, (q, n) in enumerate(rows)
        ],
        TOKENIZER,
    )


def _recomputed(policy: Policy, asked: Replies, end: int, most: int) -> list[int]:
    """One row's answer, with everything computed anew for every token."""
    said: list[int] = []
    for _ in range(most):
        a = asked
        hidden = policy.backbone(
            a.images, a.image_mask, a.tokens, a.token_mask, a.tags, a.reply, a.reply_mask
        )
        token = int(policy.word_logits(hidden.hidden[:, -1]).argmax())
        if token == end:
            break
        said.append(token)
        reply = torch.cat([a.reply, torch.tensor([[token]])], 1)
        asked = replace(a, reply=reply, reply_mask=torch.ones_like(reply, dtype=torch.bool))
    return said


@torch.no_grad()
def test_an_answer_by_cache_is_that_of_everything_anew_whoever_else_is_asked(policy: Policy) -> None:
    end = end_of_answer(TOKENIZER, policy.config.closing)
    rows = [(question, 1) for question in QUESTIONS]
    together = policy.answer(_asked(policy, rows), end=end, most=8)
    assert len({tuple(said) for said in together}) > 1
    for i, said in enumerate(together):
        images = _images(1, i)
        alone = replies(
            [talk(images, [(QUESTIONS[i], None)], TOKENIZER, image_size=64, closing=policy.config.closing)],
            TOKENIZER,
        )
        assert said == _recomputed(policy, alone, end, 8)


@torch.no_grad()
def test_a_row_without_a_picture_answers_the_same_beside_one_with() -> None:
    torch.manual_seed(0)
    policy = Policy(_config("own")).eval()
    torch.nn.init.normal_(policy.word_head.weight)
    together = policy.answer(_asked(policy, [(QUESTIONS[0], 0), (QUESTIONS[1], 2)]), end=0, most=8)
    assert together[0] == policy.answer(_asked(policy, [(QUESTIONS[0], 0)]), end=0, most=8)[0]


def test_an_answer_ends_at_its_end_or_at_the_limit(policy: Policy) -> None:
    asked = _asked(policy, [(QUESTIONS[0], 1)])
    (said,) = policy.answer(asked, end=-1, most=6)
    assert len(said) == 6
    first = said.index(said[2])
    assert policy.answer(asked, end=said[2], most=6) == [said[:first]]


def test_only_the_tokens_of_answers_are_learnt(policy: Policy) -> None:
    """Labels of questions may be anything; the loss is the plain cross-entropy of what the answers say."""
    closing = policy.config.closing
    turns = [(QUESTIONS[0], "the red block"), (QUESTIONS[1], "there")]
    batch = replies(
        [
            talk(_images(1), turns, TOKENIZER, image_size=64, closing=closing),
            talk(_images(1), turns[:1], TOKENIZER, image_size=64, closing=closing),
        ],
        TOKENIZER,
    )
    end = end_of_answer(TOKENIZER, closing)
    said = [[*TOKENIZER.encode(answer, bare=True), end] for _, answer in turns]
    assert batch.reply[0][batch.learnt[0]].tolist() == said[0] + said[1]
    assert batch.reply[1][batch.learnt[1]].tolist() == said[0]

    b = batch
    hidden = policy.backbone(
        b.images, b.image_mask, b.tokens, b.token_mask, b.tags, b.reply, b.reply_mask
    ).hidden
    chances = policy.word_logits(hidden[:, -b.reply.shape[1] - 1 : -1]).log_softmax(-1)
    nats = [-chances[i, j, b.reply[i, j]] for i, j in b.learnt.nonzero().tolist()]
    torch.testing.assert_close(policy(batch)["words"], torch.stack(nats).mean())

    def gradient(batch: Replies) -> torch.Tensor:
        policy.zero_grad()
        policy(batch)["words"].backward()
        weight = (
            policy.word_head.weight
            if policy.word_head
            else policy.backbone.qwen.language_model.embed_tokens.weight
        )
        return weight.grad.clone()

    last = TOKENIZER.encode(QUESTIONS[1], bare=True)[-1]
    assert batch.reply_mask[1].sum() < batch.reply.shape[1]
    other = batch.reply.clone()
    other[1, ~batch.reply_mask[1]] = last  # padding after the last answer is nobody's
    torch.testing.assert_close(gradient(replace(batch, reply=other)), gradient(batch))


def test_a_head_changes_no_action_and_old_configurations_stay_as_they_were() -> None:
    config = presets.tiny(TOKENIZER.vocab_size)
    assert "head" not in config.to_json()
    told = replace(config, head="own")
    assert type(config).from_json(told.to_json()) == told
    torch.manual_seed(0)
    plain = Policy(config)
    speaking = Policy(told)
    speaking.load_state_dict(plain.state_dict(), strict=False)
    assert set(speaking.state_dict()) - set(plain.state_dict()) == {"word_head.weight"}
    with pytest.raises(ValueError, match="head 'mouth'"):
        replace(config, head="mouth")


def test_who_has_learnt_no_words_refuses_and_so_does_an_empty_question() -> None:
    def asker(head):  # type: ignore[no-untyped-def]
        policy = Policy(replace(presets.tiny(TOKENIZER.vocab_size), head=head)).eval()
        return Asker(
            Artifact(
                policy=policy, tokenizer=TOKENIZER, codecs={}, provenance={}, folder=artifact.Path("some")
            )
        )

    with pytest.raises(KinemaError, match="some was not trained to answer in words"):
        asker(None)
    with pytest.raises(KinemaError, match="empty"):
        asker("own").answers([Asked(question="  ", images=[])])
    with pytest.raises(KinemaError, match="tokens"):
        asker("own").answers([Asked(question="why " * 500, images=[])])
