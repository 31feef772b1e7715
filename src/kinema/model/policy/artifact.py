"""A trained policy as one folder: all that is needed to act.

    config.json         the network's configuration and the layout version
    weights.safetensors
    tokenizer.json
    cards/NAME.json     every body it was trained on
    stats.json          per body, the normalisation of actions and states
    example.safetensors one input with its noise and the chunk it must give
    provenance.json     commit, recipe, data, steps, seed, hardware, time

Nothing is pickled, and nothing outside the folder is consulted to load it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from kinema.data.batch import Inputs
from kinema.data.text import TextTokenizer
from kinema.model.policy import memory
from kinema.model.policy.loading import PLAIN, Loading
from kinema.model.policy.policy import Policy, PolicyConfig
from kinema.model.stored import meaning_of, read_card, read_json, read_tensors, read_weights
from kinema.schema import KinemaError
from kinema.space.codec import Codec
from kinema.space.layout import LAYOUT_VERSION
from kinema.space.stats import ChannelStats

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A loaded artifact. `policy` is in eval mode."""

    policy: Policy
    tokenizer: TextTokenizer
    codecs: Mapping[str, Codec]  # by card name
    provenance: Mapping[str, Any]
    folder: Path

    def codec(self, card_name: str) -> Codec:
        if card_name not in self.codecs:
            raise KinemaError(
                f"artifact {self.folder.name!r} was not trained on {card_name!r}; "
                f"it knows {sorted(self.codecs)}"
            )
        return self.codecs[card_name]


def save(
    folder: Path, policy: Policy, tokenizer: TextTokenizer, codecs: Mapping[str, Codec], example: Inputs,
    provenance: Mapping[str, Any], *, exact: bool = False,
) -> None:  # fmt: skip
    """Write an artifact. `example` (B = 1) is answered by the weights as stored.

    exact: keep the weights as they are; else in bfloat16
    """
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    stored = {k: v.contiguous() if exact else _narrow(v) for k, v in policy.state_dict().items()}
    save_file(stored, folder / "weights.safetensors")
    policy.load_state_dict({k: v.to(policy.state_dict()[k].dtype) for k, v in stored.items()})
    tokenizer.save(folder / "tokenizer.json")
    config = {"format": FORMAT, "layout_version": LAYOUT_VERSION, "policy": policy.config.to_json()}
    _write_json(folder / "config.json", config)
    for name, codec in codecs.items():
        (folder / "cards" / f"{name}.json").write_text(codec.card.model_dump_json(indent=1))
    stats = {
        name: {"action": codec.action_stats.to_json(), "state": codec.state_stats.to_json()}
        for name, codec in codecs.items()
    }
    _write_json(folder / "stats.json", stats)
    _write_json(folder / "provenance.json", provenance)
    noise = torch.randn(
        1,
        1,
        policy.config.decoder.horizon,
        example.state.shape[1],
        generator=torch.Generator().manual_seed(0),
    )
    policy.eval()
    tensors = {f"input.{f.name}": getattr(example, f.name).contiguous() for f in fields(Inputs)}
    tensors |= {"noise": noise, "chunk": policy.sample(example, noise).clone()}
    save_file(tensors, folder / "example.safetensors")


def load(folder: Path, loading: Loading = PLAIN, *, check: bool = True) -> Artifact:
    """Read an artifact to act with it as `loading` says and, with `check`, prove it on its own example.

    Raises KinemaError naming the file and the fault: missing or damaged file, foreign format, another
    layout version, statistics that do not fit their card, or an example answered differently; or what the
    device has not the memory for.
    """
    with meaning_of(folder / "config.json"):
        policy = Policy.without_weights(config_of(folder))
    memory.check_fits(folder.name, policy, loading)
    weights = read_weights(folder / "weights.safetensors", "artifact", loading.bring)
    try:
        policy.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise KinemaError(f"{folder}/weights.safetensors does not fit config.json: {error}") from None
    codecs = {}
    for name, entry in read_json(folder / "stats.json", "artifact").items():
        card = read_card(folder / "cards" / f"{name}.json", "artifact")
        with meaning_of(folder / "stats.json"):
            action, state = ChannelStats.from_json(entry["action"]), ChannelStats.from_json(entry["state"])
            codecs[name] = Codec(card, action, state)
    if not codecs:
        raise KinemaError(f"{folder}/stats.json is damaged: it names no body")
    artifact = Artifact(
        policy=policy.to(loading.device).eval(),
        tokenizer=TextTokenizer.load(folder / "tokenizer.json"),
        codecs=codecs,
        provenance=read_json(folder / "provenance.json", "artifact"),
        folder=folder,
    )
    if check:
        check_example(artifact, loading)
    return artifact


def config_of(folder: Path) -> PolicyConfig:
    """The configuration of an artifact's network. Raises KinemaError as `load`."""
    if not folder.is_dir():
        raise KinemaError(f"no artifact folder at {folder}")
    config = read_json(folder / "config.json", "artifact")
    if config.get("format") != FORMAT:
        raise KinemaError(f"{folder}/config.json: format {config.get('format')!r}, this code reads {FORMAT}")
    if config.get("layout_version") != LAYOUT_VERSION:
        raise KinemaError(
            f"{folder} uses layout version {config.get('layout_version')!r} of the unified space, "
            f"this code has {LAYOUT_VERSION}; train again or install the matching kinema"
        )
    with meaning_of(folder / "config.json"):
        return PolicyConfig.from_json(config["policy"])


def example(folder: Path) -> Inputs:
    """The input (B = 1) that an artifact proves itself on. Raises KinemaError where it is damaged."""
    return _example(folder)[0]


def _example(folder: Path) -> tuple[Inputs, Tensor, Tensor]:
    """The input, its noise and the chunk it must give."""
    tensors = read_tensors(folder / "example.safetensors", "artifact")
    if "tags" in tensors:  # artifacts from before rows had tags of their own: (V, 2) for the one row
        tensors["input.tags"] = tensors["tags"][None]
    with meaning_of(folder / "example.safetensors"):
        inputs = Inputs(**{f.name: tensors[f"input.{f.name}"] for f in fields(Inputs)})
        return inputs, tensors["noise"], tensors["chunk"]


def check_example(artifact: Artifact, loading: Loading = PLAIN) -> None:
    """Answer the stored example; raises KinemaError if it differs by more than `loading.tolerance`."""
    inputs, noise, expected = _example(artifact.folder)
    with meaning_of(artifact.folder / "example.safetensors"):
        chunk = artifact.policy.sample(inputs.to(loading.device), noise.to(loading.device))
        error = (chunk.cpu() - expected).abs().max().item()
    if not error <= loading.tolerance:
        raise KinemaError(
            f"{artifact.folder} answers its own example with an error of {error:.2g} "
            f"(allowed {loading.tolerance}); weights, versions or kernels differ"
        )


def _narrow(value: Tensor) -> Tensor:
    return value.to(torch.bfloat16).contiguous() if value.is_floating_point() else value.contiguous()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
