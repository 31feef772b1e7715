"""A backbone from a checkpoint in the format of the released Qwen3.5 ones: weights, words, image rule, chat.

Everything is read by transformers' own loading, by name or from a folder: shards, meta initialisation,
precision, revision. Weights are safetensors; a pickle is refused. What the checkpoint lacks is added: camera
tags become tokens in rows of the embedding that no token uses, and begin as what the checkpoint knows in
their place, the beginning and the end of a picture. So a fresh backbone gives the stock model's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, processors
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5Config
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model
from transformers.utils import logging

from kinema.data.text import CAMERA_TAGS, TextTokenizer
from kinema.model.policy.policy import PolicyConfig
from kinema.schema import KinemaError

T = TypeVar("T")
_EDGES = {"start": "<|vision_start|>", "end": "<|vision_end|>"}  # what a camera's tags begin as
_TAGS = {f"<|{tag}_{edge}|>": known for tag in CAMERA_TAGS for edge, known in _EDGES.items()}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, kw_only=True)
class Released:
    """What a checkpoint says of itself, its weights unread. `read` makes it."""

    name: str
    revision: str | None
    config: Qwen3_5Config
    tokenizer: TextTokenizer  # with the camera tags, and the chat's beginning before every prompt
    closing: tuple[int, ...]  # tokens after the pictures: the chat's end, and the beginning of an answer
    images: Qwen2VLImageProcessorPil

    @property
    def image_size(self) -> int:
        """The smallest square that the image rule leaves as it is."""
        cell = self.images.patch_size * self.images.merge_size
        return cell * math.ceil(math.sqrt(self.images.size["shortest_edge"]) / cell)

    def policy(self, like: PolicyConfig, image_size: int | None = None) -> PolicyConfig:
        """A policy of this kind on this backbone. image_size: None is `self.image_size`.

        Raises KinemaError for an image_size that the image rule would change.
        """
        size = image_size or self.image_size
        rule, cell = self.images.size, self.images.patch_size * self.images.merge_size
        kept = smart_resize(size, size, cell, rule["shortest_edge"], rule["longest_edge"])
        if kept != (size, size):
            raise KinemaError(
                f"image_size {size}: the image rule of {self.name} makes {kept[0]} x {kept[1]} of it "
                f"(multiples of {cell}, {rule['shortest_edge']} to {rule['longest_edge']} pixels)"
            )
        return replace(
            like, text=_own(self.config.text_config), vision=_own(self.config.vision_config),
            image_size=size, image_mean=tuple(self.images.image_mean),
            image_std=tuple(self.images.image_std), conv_stem=False, closing=self.closing,
        )  # fmt: skip

    def load(self, dtype: torch.dtype = torch.float32) -> Qwen3_5Model:
        """The stock model with the checkpoint's weights, on the CPU.

        Raises KinemaError where one is missing, of another shape or damaged, or where there are only pickles.
        """
        folder = Path(self.name)
        pickles = [path.name for kind in _PICKLES for path in folder.glob(kind)]
        if pickles and not any(folder.glob("*.safetensors")):
            raise KinemaError(
                f"{self.name} keeps its weights as a pickle ({pickles[0]}), which can run anything when "
                f"it is read; save them as safetensors"
            )
        model, found = _loaded(
            self.name,
            lambda: Qwen3_5Model.from_pretrained(
                self.name, revision=self.revision, dtype=dtype, use_safetensors=True,
                output_loading_info=True, ignore_mismatched_sizes=True,  # both are said below
            ),
        )  # fmt: skip
        if wrong := sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]):
            raise KinemaError(
                f"{self.name} is no whole Qwen3.5 checkpoint: {len(wrong)} weights are missing or of another "
                f"shape than its config.json says, {wrong[0]} among them"
            )
        with torch.no_grad():
            rows = model.language_model.embed_tokens.weight
            for tag, known in _TAGS.items():
                rows[self.tokenizer.token_id(tag)] = rows[self.tokenizer.token_id(known)]
        return model


def read(name: str | Path, revision: str | None = None) -> Released:
    """What a checkpoint, a folder or a name on the Hub, says of itself.

    Raises KinemaError where there is none, it is of another architecture, or its vocabulary cannot take or
    does not know what is needed.
    """
    name = str(name)
    config = _loaded(
        name, lambda: AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    )
    if not isinstance(config, Qwen3_5Config):
        raise KinemaError(
            f"{name} is a {config.model_type or 'nameless'} checkpoint; a backbone is one of Qwen3.5 with "
            f"vision and words ({Qwen3_5Config.model_type})"
        )
    whole = _loaded(name, lambda: AutoTokenizer.from_pretrained(name, revision=revision))
    images = _loaded(name, lambda: Qwen2VLImageProcessorPil.from_pretrained(name, revision=revision))
    before, after = _chat(name, whole)
    words = _with_tags(name, whole.backend_tokenizer, config.text_config.vocab_size)
    if before:  # stored in tokenizer.json: nobody who encodes can leave it out
        ids = words.encode(before, add_special_tokens=False).ids
        words.post_processor = processors.TemplateProcessing(
            single="opening $A", special_tokens=[{"id": "opening", "ids": ids, "tokens": [before] * len(ids)}]
        )
    return Released(
        name=name, revision=revision, config=config, tokenizer=TextTokenizer(words),
        closing=tuple(words.encode(after, add_special_tokens=False).ids), images=images,
    )  # fmt: skip


def _with_tags(name: str, words: Tokenizer, rows: int) -> Tokenizer:
    if lacking := [token for token in _EDGES.values() if words.token_to_id(token) is None]:
        raise KinemaError(f"the vocabulary of {name} has no {lacking[0]}, which says where a picture begins")
    words = Tokenizer.from_str(words.to_str())  # transformers' own stays as it was
    words.add_special_tokens([tag for tag in _TAGS if words.token_to_id(tag) is None])
    if (size := words.get_vocab_size()) > rows:
        raise KinemaError(
            f"the vocabulary of {name} has no room for the camera tags: with them it has {size} tokens, and "
            f"the embedding {rows} rows"
        )
    return words


def _chat(name: str, words: Any) -> tuple[str, str]:
    """What stands before a prompt and after its pictures in a user's turn; nothing where there is no chat."""
    if words.chat_template is None:
        return "", ""
    said = [{"type": "text", "text": "PROMPT"}, {"type": "image"}]
    turn = words.apply_chat_template(
        [{"role": "user", "content": said}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    before, prompt, rest = turn.partition("PROMPT")
    between, picture, after = rest.partition("<|vision_start|><|image_pad|><|vision_end|>")
    if not prompt or not picture or between:
        raise KinemaError(f"the chat template of {name} does not put a picture after a sentence: {turn!r}")
    return before, after


def _own(config: PreTrainedConfig) -> dict[str, Any]:
    """What a configuration says of its own architecture."""
    common = PreTrainedConfig().to_dict()
    return {key: value for key, value in config.to_dict().items() if key not in common}


def _loaded(name: str, load: Callable[[], T]) -> T:
    loud = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would warn of is an error here, in one line
    try:
        return load()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise KinemaError(f"cannot read a Qwen3.5 checkpoint from {name}: {first}") from None
    finally:
        logging.set_verbosity(loud)
