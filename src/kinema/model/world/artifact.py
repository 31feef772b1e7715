"""A trained world model as one folder: a diffusers pipeline, and beside it what makes it ours.

model_index.json    the pipeline: transformer/, vae/, connector/, scheduler/, each in diffusers' format
policy/             the artifact whose frozen backbone reads pictures and words
world.json          format, configuration, clip shape, bodies, provenance
example.safetensors one scene with its noise and the latents it must give, checked at every load
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from diffusers.utils.logging import disable_progress_bar
from safetensors.torch import save_file
from torch import Tensor

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.data.sample import checked_image, resize
from kinema.model.policy import artifact
from kinema.model.policy.artifact import Artifact
from kinema.model.stored import meaning_of, read_json, read_tensors
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.connector import Connector
from kinema.model.world.model import Scene, WorldConfig, WorldModel
from kinema.model.world.understanding import Understood, understand
from kinema.model.world.video_vae import latent_frames, view_by_view
from kinema.schema import Film, KinemaError
from kinema.space.clip_shape import ClipShape

FORMAT = 1
disable_progress_bar()  # diffusers' own, for the second that loading takes
_TOLERANCE = 0.05  # of unit-variance latents; weights are stored in bfloat16 and kernels round differently


class WorldPipeline(DiffusionPipeline):
    """The stock container of the four parts; how they play together is in `World`."""

    def __init__(
        self, transformer: QwenImageTransformer2DModel, vae: ChangeCode, connector: Connector,
        scheduler: FlowMatchEulerDiscreteScheduler,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_modules(transformer=transformer, vae=vae, connector=connector, scheduler=scheduler)


@dataclass(frozen=True, kw_only=True)
class World:
    """A world model that can be asked (`schema.Imagines`). Everything is in eval mode."""

    model: WorldModel
    vae: ChangeCode
    policy: Artifact
    clips: ClipShape
    provenance: Mapping[str, Any]

    def imagine(
        self, images: Mapping[str, np.ndarray], instruction: str, card_name: str, *, seed: int = 0,
        steps: int | None = None, guidance: float | None = None, clips: int = 1,
    ) -> Film:  # fmt: skip
        """What would be seen if the instruction were carried out, from first pictures by camera name.

        clips: go on from the last picture so many times. Raises KinemaError naming a missing or wrong
        picture, or a body that training never saw.
        """
        card = load_card(card_name)
        taught = self.provenance.get("clips")  # by body; absent where nothing was trained
        if taught is not None and card.name not in taught:
            raise KinemaError(
                f"this world model was not trained on {card.name}; it knows {', '.join(taught)}"
            )
        first = self.first_pictures(images, card)
        cameras = tuple(name for name in card.camera_names if name in images)
        parts = []
        for number in range(clips):
            frames = self.continue_from(
                first[None], [instruction], card, [seed + 7919 * number], steps, guidance, cameras
            )[0]
            parts.append(frames if number == 0 else frames[1:])
            first = frames[-1]
        return Film(
            frames=np.concatenate(parts),
            cameras=cameras,
            fps=self.clips.fps(card.control_hz),
            card=card.name,
            instruction=instruction,
        )

    def first_pictures(self, images: Mapping[str, np.ndarray], card: EmbodimentCard) -> np.ndarray:
        """uint8 (V, S, S, 3) of the card's cameras that are there, in the card's order."""
        there = [name for name in card.camera_names if name in images]
        if not there:
            checked_image(images, card.camera_names[0], card)  # says which cameras there should be
        return np.stack([resize(checked_image(images, name, card), self.clips.size) for name in there])

    @torch.inference_mode()
    def continue_from(
        self, first: np.ndarray, instructions: list[str], card: EmbodimentCard, seeds: list[int],
        steps: int | None = None, guidance: float | None = None, cameras: tuple[str, ...] = (),
    ) -> np.ndarray:  # fmt: skip
        """Films uint8 (B, F, V, S, S, 3) of several first pictures (B, V, S, S, 3) of one body at once.

        cameras: whose pictures they are (default: all of the body's)
        """
        understood = understand(self.policy, card, first, instructions, cameras)
        scene = first_picture_scene(self.vae, first, understood, self.clips.frames)
        noise = torch.stack([noise_of(scene.still.shape[1:], seed) for seed in seeds])
        made = self.model.sample(scene, noise, steps=steps, guidance=guidance)
        return decode_views(self.vae, torch.cat([scene.given[0], made], 2), first)


def first_picture_scene(code: ChangeCode, first: np.ndarray, understood: Understood, frames: int) -> Scene:
    """First pictures (B, V, S, S, 3) as a scene: their latent is given, and what stands still is known."""
    B, V = first.shape[:2]
    pictures = view_by_view(first[:, None])
    given = side_by_side_latents(code.encode(pictures).unflatten(0, (B, V)))
    still = side_by_side_latents(code.still(pictures[:, :, 0])[:, :, None].unflatten(0, (B, V)))
    rest = latent_frames(frames) - 1
    return Scene(given=(given,), still=still.repeat(1, 1, rest, 1, 1), understood=understood)


def encode_views(code: ChangeCode, films: np.ndarray) -> Tensor:
    """Films uint8 (B, F, V, S, S, 3) to latents of the canvas (B, C, T, h, V * w): each view by itself."""
    B, _, V = films.shape[:3]
    return side_by_side_latents(code.encode(view_by_view(films)).unflatten(0, (B, V)))


def side_by_side_latents(latents: Tensor) -> Tensor:
    """(B, V, C, T, h, w) to (B, C, T, h, V * w)."""
    return latents.permute(0, 2, 3, 4, 1, 5).flatten(4, 5)


def decode_views(code: ChangeCode, latents: Tensor, first: np.ndarray) -> np.ndarray:
    """Latents of the canvas as films uint8 (B, F, V, S, S, 3) that begin with these very pictures
    (B, V, S, S, 3)."""
    B, V = first.shape[:2]
    apart = latents.unflatten(4, (V, -1)).permute(0, 4, 1, 2, 3, 5).flatten(0, 1)
    seen = view_by_view(first[:, None])[:, :, 0]
    films = code.decode(apart, seen).unflatten(0, (B, V)).permute(0, 3, 1, 4, 5, 2).numpy()
    films[:, 0] = first
    return films


def save(folder: Path, world: World, scene: Scene) -> None:
    """Write an artifact, weights in bfloat16. `scene` (B = 1) becomes the example."""
    save_network(folder, world.model, world.vae, scene)
    shutil.copytree(world.policy.folder, folder / "policy")
    about = {
        "format": FORMAT,
        "world": world.model.config.to_json(),
        "clips": asdict(world.clips),
        "provenance": dict(world.provenance),
    }
    (folder / "world.json").write_text(json.dumps(about, indent=1) + "\n")


def save_network(folder: Path, model: WorldModel, vae: ChangeCode, scene: Scene) -> None:
    """Write the pipeline and its example in place of what the folder held."""
    if folder.exists():
        shutil.rmtree(folder)
    pipeline = WorldPipeline(model.transformer, vae, model.connector, FlowMatchEulerDiscreteScheduler())
    for part in (model, vae):
        for value in part.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.to(torch.bfloat16))  # the example is answered by the weights as stored
    for part in (model, vae):
        part.to(torch.bfloat16)
    pipeline.save_pretrained(folder)
    for part in (model, vae):
        part.to(torch.float32)
    noise = noise_of(scene.still.shape[1:], 0)[None]
    tensors = {f"understood.{f.name}": getattr(scene.understood, f.name) for f in fields(Understood)}
    tensors |= {f"given.{i}": x for i, x in enumerate(scene.given)}
    tensors |= {"still": scene.still, "noise": noise, "made": model.eval().sample(scene, noise)}
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, folder / "example.safetensors")


def load(folder: Path, *, check: bool = True) -> World:
    """Read an artifact and, with `check`, prove it on its example. KinemaError names file and fault."""
    about = read_about(folder / "world.json", FORMAT)
    with meaning_of(folder / "world.json"):
        config, clips = WorldConfig.from_json(about["world"]), ClipShape(**about["clips"])
        provenance = about["provenance"]
    policy = artifact.load(folder / "policy", check=False)
    model, vae = load_network(folder, config, check=check)
    return World(model=model, vae=vae, policy=policy, clips=clips, provenance=provenance)


def read_about(path: Path, version: int) -> dict[str, Any]:
    """What an artifact says of itself. Raises KinemaError when this code reads another version."""
    about = read_json(path, "world model")
    if about.get("format") != version:
        raise KinemaError(f"{path}: format {about.get('format')!r}, this code reads {version}")
    return about


def load_network(folder: Path, config: WorldConfig, *, check: bool) -> tuple[WorldModel, ChangeCode]:
    """What `save_network` wrote, in eval mode."""
    with meaning_of(folder):
        pipeline = WorldPipeline.from_pretrained(
            folder, dtype=torch.float32, low_cpu_mem_usage=False, use_safetensors=True, local_files_only=True
        )
        model = WorldModel(config, pipeline.transformer, pipeline.connector).eval()
    if check:
        check_example(folder, model)
    return model, pipeline.vae.eval()


def load_code(folder: Path) -> ChangeCode:
    """A video code by itself: `vae` below the folder. Raises KinemaError when it is not there."""
    if not (folder / "vae" / "config.json").is_file():
        raise KinemaError(f"no video code in {folder}; a folder that `kinema train nano_vae` wrote is needed")
    with meaning_of(folder / "vae"):
        return ChangeCode.from_pretrained(
            folder / "vae", low_cpu_mem_usage=False, use_safetensors=True, local_files_only=True
        ).eval()


def check_example(folder: Path, model: WorldModel) -> None:
    """Imagine the stored example; raises KinemaError if the latents differ by more than the tolerance."""
    tensors = read_tensors(folder / "example.safetensors", "world model")
    with meaning_of(folder / "example.safetensors"):
        scene = Scene(
            given=tuple(tensors[f"given.{i}"] for i in range(sum(k.startswith("given.") for k in tensors))),
            still=tensors["still"],
            understood=Understood(**{f.name: tensors[f"understood.{f.name}"] for f in fields(Understood)}),
        )
        error = (model.sample(scene, tensors["noise"]) - tensors["made"]).abs().max().item()
    if not error <= _TOLERANCE:
        raise KinemaError(
            f"{folder} imagines its own example with an error of {error:.2g} (allowed {_TOLERANCE}); "
            f"weights, versions or kernels differ"
        )


def noise_of(shape: torch.Size, seed: int) -> Tensor:
    """Noise of one film: a function of its seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
