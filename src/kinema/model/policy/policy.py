"""The policy: Qwen3.5 backbone, pointing head and flow-matching action decoder.

    images, prompt -> backbone -> context --(linear)--> decoder context + point tokens + state token
                                                        (+ tokens of a second look at what was pointed at)
    noise, tau, context -> decoder -> clean chunk

Where it has a head for words, the same backbone goes on after the pictures, token by token, and answers.

Axes: B batch, R noise draws, H steps, K slots, V views, P points, C decoder width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache
from transformers.models.qwen3_5.configuration_qwen3_5 import Qwen3_5Config
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5Model

from kinema.data.batch import Batch, Inputs, Replies
from kinema.model.policy import flow
from kinema.model.policy.action_dit import ActionDiT, DecoderConfig, KeyValue
from kinema.model.policy.backbone import Backbone
from kinema.model.policy.flow import Known, Prediction, Times
from kinema.model.policy.pointing import Pointed, PointEmbed, PointHead, point_losses
from kinema.model.policy.second_look import (
    Places,
    SecondLook,
    SecondLookConfig,
    corners,
    cut,
    shrink,
    training_places,
)
from kinema.space.layout import LAYOUT_VERSION, NUM_SLOTS

MAX_VIEWS = 8
Head = Literal["own", "tied"]


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Everything needed to build the network. `text` and `vision` are Qwen3.5's own config keys."""

    text: dict
    vision: dict
    decoder: DecoderConfig
    image_size: int  # pixels of a side of the pictures that the backbone reads
    conv_stem: bool = False
    # of pixels in [0, 1]: what is taken from them, and what they are divided by then
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    closing: tuple[int, ...] = ()  # tokens after the pictures
    points: int = 2  # 0: no pointing head
    second_look: SecondLookConfig | None = None  # None: the policy looks once
    state_token: bool = True  # the normalised state as one decoder token
    prediction: Prediction = "data"  # what the network gives
    times: Times = "beta"  # how flow times are drawn in training
    tau_concentration: float = 4.0
    draws: int = 2
    sample_steps: int = 2
    head: Head | None = None  # for words: a matrix of its own, or the embedding's; None: it says nothing
    late_steps: int = 0  # most steps that its pictures were older than its pose in training
    layout_version: int = LAYOUT_VERSION

    def __post_init__(self) -> None:
        for what, word, choices in (
            ("prediction", self.prediction, get_args(Prediction)), ("times", self.times, get_args(Times)),
            ("head", self.head, (*get_args(Head), None)),
        ):  # fmt: skip
            if word not in choices:
                raise ValueError(f"{what} {word!r} must be one of {choices}")
        if self.second_look and not self.points:
            raise ValueError("a second look needs points to look at; points is 0")
        if self.second_look and self.second_look.source_size < self.image_size:
            raise ValueError(
                f"a second look at pictures of {self.second_look.source_size} px needs a first look at no "
                f"more; image_size is {self.image_size}"
            )
        if self.late_steps and not self.state_token:
            raise ValueError("late pictures need the state token: it says where the body is by now")
        if self.layout_version != LAYOUT_VERSION:
            raise ValueError(
                f"policy was made for layout version {self.layout_version}, this code has {LAYOUT_VERSION}"
            )

    @property
    def source_size(self) -> int:
        """Pixels of a side of the pictures that the policy is given."""
        return self.second_look.source_size if self.second_look else self.image_size

    def to_json(self) -> dict:
        """Without what is None: a policy that looks once says what it said before there was a second look."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: dict) -> PolicyConfig:
        """What `to_json` gave, or JSON made of it."""
        told: dict[str, Any] = {
            k: tuple(v) for k, v in data.items() if k in ("image_mean", "image_std", "closing")
        }
        if "second_look" in data:
            told["second_look"] = SecondLookConfig(**data["second_look"])
        return cls(**{**data, **told, "decoder": DecoderConfig(**data["decoder"])})


@dataclass(frozen=True, kw_only=True)
class Prefilled:
    """What one observation costs once, however many Euler steps or candidates follow."""

    context: Tensor  # (B, T, C)
    mask: Tensor  # bool (B, T)
    condition: Tensor  # (B, C)
    pointed: Pointed | None
    cache: list[KeyValue] = field(default_factory=list)


class Policy(nn.Module):
    """See the module docstring. Called with a batch it gives its losses; `sample` is for acting."""

    def __init__(self, config: PolicyConfig, qwen: Qwen3_5Model | None = None) -> None:
        """qwen: the backbone's model, of this configuration and stock; None: a fresh one"""
        super().__init__()
        self.config = config
        if qwen is None:
            qwen = Qwen3_5Model(
                Qwen3_5Config(text_config=dict(config.text), vision_config=dict(config.vision))
            )
        self.backbone = Backbone(
            qwen, config.image_size, conv_stem=config.conv_stem, image_mean=config.image_mean,
            image_std=config.image_std, closing=config.closing,
        )  # fmt: skip
        width = config.decoder.width
        self.context_in = nn.Linear(self.backbone.width, width)
        self.prompt_in = nn.Linear(self.backbone.width, width)
        self.decoder = ActionDiT(config.decoder, NUM_SLOTS)
        self.state_in = (
            nn.Sequential(nn.Linear(NUM_SLOTS, width), nn.SiLU(), nn.Linear(width, width))
            if config.state_token
            else None
        )
        # what the motion since the pictures adds to the state's token; nothing at first
        self.moved_in = nn.Linear(NUM_SLOTS, width, bias=False) if config.late_steps else None
        if self.moved_in is not None:
            nn.init.zeros_(self.moved_in.weight)
        self.point_head = self.point_embed = None
        if config.points:
            self.point_head = PointHead(self.backbone.width, config.points, self.backbone.grid)
            self.point_embed = PointEmbed(width, config.points, MAX_VIEWS)
        # at first every word is as likely as any other
        self.word_head: nn.Linear | None = None
        if config.head == "own":
            self.word_head = nn.Linear(self.backbone.width, config.text["vocab_size"], bias=False)
            nn.init.zeros_(self.word_head.weight)
        self.second_look: SecondLook | None = None
        if config.second_look:
            self.backbone.check_size("crop_size", config.second_look.crop_size)
            self.second_look = SecondLook(
                config.second_look, self.backbone.width, width, config.points, MAX_VIEWS
            )

    @classmethod
    def without_weights(cls, config: PolicyConfig) -> Policy:
        """A network whose parameters have no memory until `load_state_dict(..., assign=True)`."""
        with torch.device("meta"):
            policy = cls(config)
        qwen = policy.backbone.qwen  # what is computed from the configuration is in no file
        qwen.visual.rotary_pos_emb = type(qwen.visual.rotary_pos_emb)(qwen.config.vision_config)
        qwen.language_model.rotary_emb = type(qwen.language_model.rotary_emb)(qwen.config.text_config)
        return policy

    @property
    def blocks(self) -> list[nn.Module]:
        """What is repeated: most of the weights, and of the work."""
        qwen = self.backbone.qwen
        return [*qwen.visual.blocks, *qwen.language_model.layers, *self.decoder.blocks]

    def prefill(self, inputs: Inputs, places: Places | None = None) -> Prefilled:
        """Run everything that does not depend on noise. places: of a second look; None: its own points."""
        return self.remembered(self.read(inputs, places))

    def remembered(self, read: Prefilled) -> Prefilled:
        """The same with the keys and values by which the decoder knows the context."""
        return replace(read, cache=self.decoder.prefill(read.context, read.mask))

    def read(self, inputs: Inputs, places: Places | None = None) -> Prefilled:
        """What the decoder is to know of these inputs, without its cache; places as in `prefill`."""
        images = inputs.images
        if self.second_look is not None:
            images = shrink(images, self.config.image_size)
        context = self.backbone(images, inputs.image_mask, inputs.tokens, inputs.token_mask, inputs.tags)
        parts, masks = [self.context_in(context.hidden)], [context.mask]
        pointed = None
        if self.point_head is not None:
            pointed = self.point_head(context.image_tokens)
            parts.append(self.point_embed(pointed))
            masks.append(inputs.image_mask.repeat_interleave(self.config.points, 1))
        if self.second_look is not None and pointed is not None:
            looked = self._look_again(self.second_look, inputs.images, pointed, places)
            parts.append(looked.flatten(1, 2))
            masks.append(inputs.image_mask.repeat_interleave(looked.shape[2], 1))
        if self.state_in is not None:
            pose = self.state_in(inputs.state.to(parts[0].dtype))
            if self.moved_in is not None:
                pose = pose + self.moved_in(inputs.moved.to(parts[0].dtype))
            parts.append(pose[:, None])
            masks.append(inputs.state_mask.any(1, keepdim=True))
        tokens, mask = torch.cat(parts, 1), torch.cat(masks, 1)
        # the last text token has read the whole prompt and, under the causal mask, no image
        condition = self.prompt_in(context.hidden[:, inputs.tokens.shape[1] - 1])
        return Prefilled(context=tokens, mask=mask, condition=condition, pointed=pointed)

    def _look_again(
        self, second: SecondLook, images: Tensor, pointed: Pointed, places: Places | None
    ) -> Tensor:
        """Tokens (B, V, P * N, C) of the crops around the places, or around what was pointed at."""
        own = pointed.uv.detach()
        corner = corners(
            places.or_at(own) if places else own, second.config.source_size, second.config.crop_size
        )
        crops = cut(images, corner, second.config.crop_size)
        seen = self.backbone.embed_images(crops.flatten(0, 2)).unflatten(0, crops.shape[:3])
        return second(seen, corner)

    def predict(self, prefilled: Prefilled, y: Tensor, tau: Tensor, given: Tensor | None = None) -> Tensor:
        """Clean chunks (B, R, H, K) from noisy ones and flow times (B, R); `given` as in the decoder."""
        p = prefilled
        found = self.decoder(y, tau, p.condition, p.context, p.mask, p.cache, given)
        return found if self.config.prediction == "data" else flow.data_of(y, found, tau)

    def forward(self, batch: Batch | Replies, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Named losses: `flow`, `quiet` (slots of bodies not named), and `point_cell` and `point_uv`; of
        replies `words`.

        Where the decoder takes prefixes, the first steps of some draws are given as they are and carry no
        loss (training-time real-time chunking: Black et al. 2025, arXiv 2512.05964).
        """
        if isinstance(batch, Replies):
            return {"words": self._words_loss(batch)}
        places = None
        if self.config.second_look:
            labelled = batch.point_mask & batch.point_visible
            places = training_places(batch.points, labelled, self.config.second_look, generator)
        prefilled = self.prefill(batch.inputs, places)
        R, (B, H, K) = self.config.draws, batch.actions.shape
        data = batch.actions[:, None].expand(B, R, H, K)
        noise = torch.randn(B, R, H, K, generator=generator).to(data.device)
        tau = flow.draw_tau(B * R, self.config.tau_concentration, generator, self.config.times)
        tau = tau.to(data.device)
        y = flow.interpolate(data.flatten(0, 1), noise.flatten(0, 1), tau)
        mask = batch.action_mask[:, None].expand(B, R, H, K).flatten(0, 1)
        given = self._draw_given(B * R, generator).to(data.device) & mask.any(-1)  # (BR, H)
        y = torch.where(given[..., None] & mask, data.flatten(0, 1), y)
        predicted = self.predict(prefilled, y.unflatten(0, (B, R)), tau.view(B, R), given.view(B, R, H))
        predicted = predicted.float().flatten(0, 1)
        mask = mask & ~given[..., None]
        target = (noise - data).flatten(0, 1)
        quiet = batch.quiet_mask[:, None, None].to(predicted.dtype)  # (B, 1, 1, K)
        silence = (predicted.unflatten(0, (B, R)) ** 2 * quiet).sum(-1) / quiet.sum(-1).clamp_min(1)
        losses = {
            "flow": flow.masked_loss(flow.velocity(y, predicted, tau), target, mask),
            "quiet": silence.mean(),
        }
        if prefilled.pointed is not None:
            grid = self.backbone.grid
            losses |= point_losses(
                prefilled.pointed, batch.points, batch.point_mask, batch.point_visible, grid
            )
        return losses

    def _words_loss(self, batch: Replies) -> Tensor:
        """The mean cross-entropy of the tokens of answers, each from all that stands before it."""
        b = batch
        hidden = self.backbone(
            b.images, b.image_mask, b.tokens, b.token_mask, b.tags, b.reply, b.reply_mask
        ).hidden
        A = b.reply.shape[1]
        before = hidden[:, -A - 1 : -1][b.learnt]  # (answer tokens, C)
        entropy = F.cross_entropy(self.word_logits(before).float(), b.reply[b.learnt], reduction="sum")
        return entropy / b.learnt.sum().clamp_min(1)

    def word_logits(self, hidden: Tensor) -> Tensor:
        """Of the next token (..., vocabulary) after hidden states (..., C)."""
        if self.word_head is not None:
            return self.word_head(hidden)
        return F.linear(hidden, self.backbone.qwen.language_model.embed_tokens.weight)

    @torch.inference_mode()
    def answer(self, asked: Replies, *, end: int, most: int) -> list[list[int]]:
        """The likeliest tokens one by one, of every row, until it says `end`, which is left out, or `most`.

        Raises ValueError for a policy without a head for words.
        """
        if self.config.head is None:
            raise ValueError("this policy has no head for words")
        a, cache = asked, DynamicCache(config=self.backbone.config.text_config)
        context = self.backbone(
            a.images, a.image_mask, a.tokens, a.token_mask, a.tags, a.reply, a.reply_mask, cache
        )
        hidden, mask = context.hidden[:, -1], context.mask
        position = self.backbone.after_pictures(a.tokens.shape[1], a.image_mask)
        position = position + len(self.config.closing) + a.reply.shape[1]
        said: list[list[int]] = [[] for _ in range(len(a))]
        goes_on = [True] * len(a)
        for _ in range(most):
            token = self.word_logits(hidden).argmax(-1)
            for row, id in enumerate(token.tolist()):
                goes_on[row] = goes_on[row] and id != end
                if goes_on[row]:
                    said[row].append(id)
            if not any(goes_on):
                break
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            hidden = self.backbone.go_on(token, mask, position, cache)
            position = position + 1
        return said

    def _draw_given(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Which steps (count, H) of each draw are given: none in half of the draws, else up to `prefix`."""
        decoder = self.config.decoder
        if not decoder.prefix:
            return torch.zeros(count, decoder.horizon, dtype=torch.bool)
        length = torch.randint(-decoder.prefix + 1, decoder.prefix + 1, (count, 1), generator=generator)
        return torch.arange(decoder.horizon) < length

    @torch.inference_mode()
    def sample(
        self,
        inputs: Inputs,
        noise: Tensor,
        steps: int | None = None,
        known: Known | None = None,
    ) -> Tensor:
        """Chunks (B, R, H, K), zero outside each body's slots, from noise (B, R, H, K).

        known: actions (B, H, K) that every draw must contain.
        """
        prefilled = self.prefill(inputs)
        B, R = noise.shape[:2]

        if known is not None:
            values, mask = (x.repeat_interleave(R, 0) for x in (known.values, known.mask))
            known = Known(values=values, mask=mask)
        clean = known if self.config.decoder.prefix else None  # what was trained to be given as it is

        def predict_data(y: Tensor, tau: Tensor) -> Tensor:
            given = None
            if clean is not None:
                y, given = torch.where(clean.mask, clean.values, y), clean.mask.any(-1).unflatten(0, (B, R))
            return (
                self.predict(prefilled, y.unflatten(0, (B, R)), tau.view(B, R), given).float().flatten(0, 1)
            )

        chunk = flow.sample(predict_data, noise.flatten(0, 1), steps or self.config.sample_steps, known)
        return chunk.unflatten(0, (B, R)) * inputs.slot_mask[:, None, None]
