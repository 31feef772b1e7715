"""A checkpoint in the format of the released Qwen3.5 ones, and tiny: every file as transformers writes it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration, Qwen3_5Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from kinema.card.load import load_card
from kinema.card.prompt import prompt

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
# The released one in short: a text or an image of a user's turn, and where the answer begins.
CHAT = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- for item in message.content %}"
    "{%- if item.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- else %}{{- item.text }}{%- endif %}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}{%- endif %}"
)
SENTENCES = ("pick up the red block", "put the green ball into the blue bowl", "push the drawer")


def make_released(folder: Path, *, rows_left: int = 64, layers: int = 4) -> Path:
    """A hybrid model of 0.3 M parameters in six shards or more, its tokenizer and its image rule.

    rows_left: of the embedding that no token uses; released checkpoints have 243
    """
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    torch.manual_seed(0)
    config = Qwen3_5Config(
        text_config=dict(
            vocab_size=len(tokenizer) + rows_left, hidden_size=64, intermediate_size=96,
            num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
            linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16,
            linear_value_head_dim=16, dtype="bfloat16",
            rope_parameters={
                "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.5,
                "mrope_section": [4, 2, 2], "mrope_interleaved": True,
            },
        ),
        vision_config=dict(
            depth=2, hidden_size=64, intermediate_size=96, num_heads=2, patch_size=16, spatial_merge_size=2,
            out_hidden_size=64, num_position_embeddings=16,
        ),
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen3_5ForConditionalGeneration(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="200KB")
    processor = Qwen2VLImageProcessorPil(
        patch_size=16, temporal_patch_size=2, merge_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        size={"shortest_edge": 4096, "longest_edge": 16_777_216},
    )  # fmt: skip
    about = processor.to_dict() | {
        "image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": "Qwen3VLProcessor"
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


def _tokenizer() -> Qwen3_5Tokenizer:
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [prompt(load_card(name), text, 16) for name in ("panda", "ur5e") for text in SENTENCES]
    plain.train_from_iterator(texts, trainer)
    learnt = json.loads(plain.to_str())["model"]
    tokenizer = Qwen3_5Tokenizer(
        vocab=learnt["vocab"], merges=[tuple(pair) for pair in learnt["merges"]], chat_template=CHAT
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    return tokenizer
