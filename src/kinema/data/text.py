"""Words to token ids: a small byte-pair tokenizer made here, with the prompt's fixed phrases as tokens, or
one that came with a released backbone (`model/policy/released.py`).

Any text encodes (bytes are the fallback). It is learnt from a recipe's own sentences and from common English
words (`english.txt`, the commonest first), so that words which no recipe says are few tokens, too. The
phrases of the prompt template and the camera tags are tokens of their own, so the constant part of every
prompt costs a few positions instead of thirty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError

PAD = "<|pad|>"
RELEASED_PAD = "<|endoftext|>"  # Qwen's
CAMERA_TAGS = ("ego", "cam_left_wrist", "cam_right_wrist")
SPECIAL = [PAD] + [f"<|{tag}_{edge}|>" for tag in CAMERA_TAGS for edge in ("start", "end")]
# Leading spaces belong to the phrase, so that what stands between two phrases is plain words.
PHRASES = [
    "The robot is",
    " with single arm",
    " with dual arms",
    ", waist",
    ", and mobile base",
    ". The control frequency is",
    " Hz. Please predict the next",
    " control actions to execute the following task:",
]
MAX_TOKENS = 160
VOCAB_SIZE = 2560
# How often the merges see a text of the recipe, and the commonest English word; later words less and less.
_RECIPE_WEIGHT, _ENGLISH_WEIGHT, _HALVED_AT = 100, 50, 40
_SENTENCES_BEGIN_WITH = 200  # of the commonest words


def _weighted(texts: Iterable[str]) -> Iterator[str]:
    """What the merges are learnt from, each as often as it counts."""
    for text in sorted(set(texts)):
        yield f"{text}\n" * _RECIPE_WEIGHT
    words = files("kinema.data").joinpath("english.txt").read_text().split()
    for rank, word in enumerate(dict.fromkeys(words)):
        often = max(1, _ENGLISH_WEIGHT * _HALVED_AT // (rank + _HALVED_AT))
        yield f" {word}" * often
        if rank < _SENTENCES_BEGIN_WITH:
            yield f"{word.capitalize()} {word.capitalize()}\n" * max(1, often // 4)


class TextTokenizer:
    """Encodes prompts to left-padded id arrays. Build with `train` or `load`, or around another."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        ids = [tokenizer.token_to_id(pad) for pad in (PAD, RELEASED_PAD)]
        found = next((id for id in ids if id is not None), None)
        if found is None:
            raise KinemaError(f"this tokenizer lacks the token {PAD!r}; it was not made by kinema")
        self.pad_id: int = found

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int = VOCAB_SIZE, *, digits_apart: bool = False
    ) -> TextTokenizer:
        """A byte-level BPE of at most vocab_size tokens, learnt from the given texts and common English.

        digits_apart: every digit is a token, as in Qwen's vocabulary: who writes numbers learns ten of them
        """
        tokenizer = Tokenizer(models.BPE())
        bytes_apart = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = bytes_apart
        if digits_apart:
            digits = pre_tokenizers.Digits(individual_digits=True)
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_apart])
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(PHRASES),
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_weighted(texts), trainer)
        tokenizer.add_tokens(PHRASES)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        if not path.is_file():
            raise KinemaError(f"no tokenizer at {path}")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise KinemaError(f"{path} is damaged: {error}") from None
        return cls(tokenizer)

    @classmethod
    def from_json(cls, content: str) -> TextTokenizer:
        """What `to_json` gave."""
        return cls(Tokenizer.from_str(content))

    def to_json(self) -> str:
        """The whole tokenizer: the same text for the same tokenizer."""
        return self._tokenizer.to_str()

    def save(self, path: Path) -> None:
        self._tokenizer.save(str(path))

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def tag_ids(self, tag: str) -> tuple[int, int]:
        """The two token ids that wrap an image of this camera tag."""
        if tag not in CAMERA_TAGS:
            raise KinemaError(f"unknown camera tag {tag!r}; choices: {CAMERA_TAGS}")
        start, end = (self._tokenizer.token_to_id(f"<|{tag}_{edge}|>") for edge in ("start", "end"))
        if start is None or end is None:
            raise KinemaError(f"this tokenizer lacks the camera tag {tag!r}; it was not made by kinema")
        return start, end

    def camera_tags(self, card: EmbodimentCard) -> np.ndarray:
        """int64 (V, 2): the tokens that wrap each of the card's cameras."""
        return np.array([self.tag_ids(camera.tag) for camera in card.cameras], np.int64).reshape(-1, 2)

    def encode(self, text: str, *, bare: bool = False) -> list[int]:
        """bare: without what opens a turn of a chat. Raises KinemaError for more than MAX_TOKENS."""
        ids = list(self._tokenizer.encode(text, add_special_tokens=not bare).ids)
        if len(ids) > MAX_TOKENS:
            raise KinemaError(
                f"the text has {len(ids)} tokens, at most {MAX_TOKENS} are allowed: {text[:80]!r}..."
            )
        return ids

    def token_id(self, token: str) -> int:
        """Raises KinemaError for a token that is not in the vocabulary."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise KinemaError(f"the vocabulary has no token {token!r}")
        return int(found)

    def spelled_by(self, other: TextTokenizer) -> list[list[int]]:
        """Of every token here, in order, the other's tokens that say the same."""
        spelled = []
        vocabulary = self._tokenizer.get_vocab()
        for token, id in sorted(vocabulary.items(), key=lambda entry: entry[1]):
            same = other._tokenizer.token_to_id(token)
            spelled.append([same] if same is not None else other._ids_of(token, self.decode([id])))
        return spelled

    def _ids_of(self, token: str, text: str) -> list[int]:
        """text: the token's; where it ends within a character it has none, and goes byte by byte."""
        if "\ufffd" in text:
            return [self.token_id(byte) for byte in token]
        return list(self._tokenizer.encode(text).ids)

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids)

    def pad(self, rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ids to (n, L) int64 and bool mask, padded on the left to the longest."""
        length = max(len(row) for row in rows)
        ids = np.full((len(rows), length), self.pad_id, np.int64)
        mask = np.zeros((len(rows), length), bool)
        for i, row in enumerate(rows):
            ids[i, length - len(row) :] = row
            mask[i, length - len(row) :] = True
        return ids, mask
