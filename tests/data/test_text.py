"""The small tokenizer: anything encodes and comes back, the template's constant parts are cheap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import load_card
from kinema.card.prompt import prompt
from kinema.data.text import CAMERA_TAGS, MAX_TOKENS, TextTokenizer
from kinema.schema import KinemaError
from laws import examples

SENTENCES = ["put the red block in the blue bowl", "open the drawer", "press the green button"]


@pytest.fixture(scope="module")
def tokenizer():
    return TextTokenizer.train([prompt(load_card("panda"), s, 16) for s in SENTENCES], 500)


@examples(100)
@given(st.text(max_size=40))
def test_any_text_encodes_and_comes_back(tokenizer, text):
    if "<|" not in text:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_constant_part_of_the_prompt_is_cheap(tokenizer):
    whole = prompt(load_card("panda"), SENTENCES[0], 16)
    assert len(whole.split()) > 25
    assert len(tokenizer.encode(whole)) < len(SENTENCES[0].split()) + 14


def test_bodies_and_sentences_give_different_tokens(tokenizer):
    cards = [load_card(name) for name in ("panda", "ur5e", "aloha")]
    rows = {tuple(tokenizer.encode(prompt(card, s, 16))) for card in cards for s in SENTENCES}
    assert len(rows) == len(cards) * len(SENTENCES)


def test_rows_are_padded_on_the_left(tokenizer):
    ids, mask = tokenizer.pad([[7, 8, 9], [5]])
    np.testing.assert_array_equal(ids, [[7, 8, 9], [tokenizer.pad_id, tokenizer.pad_id, 5]])
    np.testing.assert_array_equal(mask, [[True, True, True], [False, False, True]])


def test_training_is_reproducible_and_survives_saving(tokenizer, tmp_path):
    again = TextTokenizer.train([prompt(load_card("panda"), s, 16) for s in SENTENCES], 500)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = TextTokenizer.load(tmp_path / "tokenizer.json")
    for sentence in SENTENCES:
        assert tokenizer.encode(sentence) == again.encode(sentence) == loaded.encode(sentence)


def test_every_tag_has_its_own_pair(tokenizer):
    pairs = [tokenizer.tag_ids(tag) for tag in CAMERA_TAGS]
    assert len({i for pair in pairs for i in pair}) == 2 * len(CAMERA_TAGS)
    with pytest.raises(KinemaError, match="unknown camera tag 'left'"):
        tokenizer.tag_ids("left")


def test_endless_prompts_are_refused(tokenizer):
    with pytest.raises(KinemaError, match=f"at most {MAX_TOKENS}"):
        tokenizer.encode("zq" * 300)


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(KinemaError, match="no tokenizer at"):
        TextTokenizer.load(tmp_path / "tokenizer.json")


def test_what_one_vocabulary_says_another_spells(tokenizer):
    other = TextTokenizer.train(["ein größeres Wörterbuch für die Küche"], vocab_size=400)
    for ours, theirs in ((tokenizer, other), (other, tokenizer)):
        spelled = ours.spelled_by(theirs)
        assert len(spelled) == ours.vocab_size
        assert all(spelled)
        for id, ids in enumerate(spelled):
            assert theirs.decode(ids) == ours.decode([id])
