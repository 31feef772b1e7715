"""The named sizes of the policy. `nano` is trained here; the others are the published scales.

The larger presets use Qwen3.5's own hybrid pattern (three gated-delta layers, then one softmax layer) and are
counted on the meta device. On a released backbone (`released.py`) they say what the decoder is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kinema.model.policy.action_dit import DecoderConfig
from kinema.model.policy.policy import PolicyConfig
from kinema.model.policy.second_look import SecondLookConfig


def nano(vocab_size: int = 1024, image_size: int = 96, horizon: int = 16) -> PolicyConfig:
    """About 5 M parameters: softmax attention only, a convolutional stem with 16 px patches."""
    return _small(
        vocab_size, image_size, width=192, text_depth=3, vision_width=128, vision_depth=2,
        decoder=DecoderConfig(width=192, depth=3, heads=4, ffn=512, mask="read", horizon=horizon),
    )  # fmt: skip


def nano_look(vocab_size: int = 1024, image_size: int = 128) -> PolicyConfig:
    """`nano` that looks again: crops of half a picture's side, at twice the resolution of the first look."""
    look = SecondLookConfig(source_size=2 * image_size, crop_size=image_size // 2)
    return replace(nano(vocab_size, image_size), second_look=look)


def tiny(vocab_size: int = 512, image_size: int = 64) -> PolicyConfig:
    """Under a million parameters, for tests and the debug recipe."""
    return _small(
        vocab_size, image_size, width=96, text_depth=1, vision_width=64, vision_depth=1,
        decoder=DecoderConfig(width=64, depth=2, heads=2, ffn=128, mask="read", prefix=4),
        late_steps=2,
    )  # fmt: skip


def _small(
    vocab_size: int, image_size: int, *, width: int, text_depth: int, vision_width: int, vision_depth: int,
    decoder: DecoderConfig, late_steps: int = 0,
) -> PolicyConfig:  # fmt: skip
    text = dict(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=512 * width // 192,
        num_hidden_layers=text_depth,
        num_attention_heads=width // 48,
        num_key_value_heads=width // 48,
        head_dim=48,
        layer_types=["full_attention"] * text_depth,
        rope_parameters=_rope(theta=1000.0, partial=0.5, sections=[4, 4, 4]),
    )
    vision = dict(
        depth=vision_depth,
        hidden_size=vision_width,
        intermediate_size=3 * vision_width,
        num_heads=vision_width // 32,
        patch_size=16,
        spatial_merge_size=1,
        out_hidden_size=width,
        num_position_embeddings=(image_size // 16) ** 2,
        hidden_act="gelu",
    )
    return PolicyConfig(
        text=text, vision=vision, decoder=decoder, image_size=image_size, conv_stem=True,
        late_steps=late_steps,
    )  # fmt: skip


def _rope(theta: float, partial: float, sections: list[int]) -> dict:
    return {
        "rope_type": "default",
        "rope_theta": theta,
        "partial_rotary_factor": partial,
        "mrope_section": sections,
        "mrope_interleaved": True,
    }


def edge() -> PolicyConfig:
    """1.8 B in all, on the shape of Qwen3.5-0.8B."""
    return _qwen(
        _qwen_text(hidden=1024, layers=24, ffn=3584, heads=8, kv_heads=2, linear_value_heads=16),
        _qwen_vision(hidden=768, depth=12, ffn=3072, heads=12, out=1024),
        DecoderConfig(width=1536, depth=13, heads=12, ffn=10240),
    )


def base() -> PolicyConfig:
    """The published model: Qwen3.5-4B and a 1.15 B decoder (arXiv 2605.30280).

    With token embeddings 5.7 B; the published 5.2 B matches the count without them.
    """
    return _qwen(
        _qwen_text(hidden=2560, layers=32, ffn=9216, heads=16, kv_heads=4, linear_value_heads=32),
        _qwen_vision(hidden=1024, depth=24, ffn=4096, heads=16, out=2560),
        DecoderConfig(width=1536, depth=16, heads=12, ffn=10240),
    )


def pro() -> PolicyConfig:
    """7 B in all, a Qwen3.5-class backbone between the released 4 B and 9 B."""
    return _qwen(
        _qwen_text(hidden=3072, layers=32, ffn=10752, heads=16, kv_heads=4, linear_value_heads=32),
        _qwen_vision(hidden=1152, depth=27, ffn=4304, heads=16, out=3072),
        DecoderConfig(width=1536, depth=16, heads=12, ffn=10240),
    )


def ultra() -> PolicyConfig:
    """65 B in all, a Qwen3.5-class backbone above the released dense ones."""
    return _qwen(
        _qwen_text(hidden=8192, layers=64, ffn=26624, heads=32, kv_heads=8, linear_value_heads=64),
        _qwen_vision(hidden=1152, depth=27, ffn=4304, heads=16, out=8192),
        DecoderConfig(width=3072, depth=16, heads=24, ffn=20480),
    )


def _qwen(text: dict, vision: dict, decoder: DecoderConfig) -> PolicyConfig:
    return PolicyConfig(
        text=text, vision=vision, decoder=decoder, image_size=224, draws=8, sample_steps=4,
        prediction="velocity", tau_concentration=1.5,
    )  # fmt: skip


def _qwen_text(
    *, hidden: int, layers: int, ffn: int, heads: int, kv_heads: int, linear_value_heads: int
) -> dict:
    return dict(
        vocab_size=248320,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=256,
        linear_num_key_heads=16,
        linear_num_value_heads=linear_value_heads,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        rope_parameters=_rope(theta=1e7, partial=0.25, sections=[11, 11, 10]),
    )


def _qwen_vision(*, hidden: int, depth: int, ffn: int, heads: int, out: int) -> dict:
    return dict(hidden_size=hidden, depth=depth, intermediate_size=ffn, num_heads=heads, out_hidden_size=out)


PRESETS: dict[str, Callable[[], PolicyConfig]] = {
    "tiny": tiny, "nano": nano, "nano_look": nano_look, "edge": edge, "base": base, "pro": pro, "ultra": ultra
}  # fmt: skip
