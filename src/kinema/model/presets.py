"""The named sizes of the policy. `nano` is trained here; the others are the published scales.

The larger presets use Qwen3.5's own hybrid pattern (three gated-delta layers, then one softmax layer) and
build on the meta device for counting; they load released backbones by name or path.
"""

from __future__ import annotations

from collections.abc import Callable

from kinema.model.action_dit import DecoderConfig
from kinema.model.policy import PolicyConfig


def nano(vocab_size: int = 1024, image_size: int = 96) -> PolicyConfig:
    """About 5 M parameters: softmax attention only, a convolutional stem with 16 px patches."""
    return _small(
        vocab_size, image_size, width=192, text_depth=3, vision_width=128, vision_depth=2,
        decoder=DecoderConfig(width=192, depth=3, heads=4, ffn=512),
    )  # fmt: skip


def tiny(vocab_size: int = 512, image_size: int = 64) -> PolicyConfig:
    """Under a million parameters, for tests and the debug recipe."""
    return _small(
        vocab_size, image_size, width=96, text_depth=1, vision_width=64, vision_depth=1,
        decoder=DecoderConfig(width=64, depth=2, heads=2, ffn=128),
    )  # fmt: skip


def _small(
    vocab_size: int, image_size: int, *, width: int, text_depth: int, vision_width: int, vision_depth: int,
    decoder: DecoderConfig,
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
    return PolicyConfig(text=text, vision=vision, decoder=decoder, image_size=image_size, conv_stem=True)


def _rope(theta: float, partial: float, sections: list[int]) -> dict:
    return {
        "rope_type": "default",
        "rope_theta": theta,
        "partial_rotary_factor": partial,
        "mrope_section": sections,
        "mrope_interleaved": True,
    }


PRESETS: dict[str, Callable[[], PolicyConfig]] = {"tiny": tiny, "nano": nano}
