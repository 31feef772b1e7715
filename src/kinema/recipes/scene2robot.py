"""The recipes of Scene2Robot: its video code, and the model that is shipped.

Two bodies are never in a pair: whether a robot that was only ever seen alone can be put into a scene is what
the paper claims, and what they are kept for. The code may see them alone, since it is only a compression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kinema.data.aligned import AlignedClips, SegmentClips, aligned_clips, aligned_sets
from kinema.data.clips import Films, Part
from kinema.model.world import presets as world_presets
from kinema.recipes.world import HUMAN, HUMAN_COMMAND, VaeRecipe, nano_vae
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.scene2robot import Scene2RobotTrainConfig

NEVER_PAIRED = ("iiwa14", "viperx")


@dataclass(frozen=True, kw_only=True)
class Scene2RobotRecipe:
    """summary: one line for help. paired, never_paired: clips below a data folder; vae: as in WorldRecipe."""

    name: str
    summary: str
    train: Scene2RobotTrainConfig
    paired: Callable[[Path, Part], list[AlignedClips]]
    never_paired: Callable[[Path, Part], list[AlignedClips]]
    vae: str


def paired(data: Path, part: Part) -> list[AlignedClips]:
    """All bodies of data/human that may be in pairs. Raises KinemaError when there is none."""
    sets = aligned_sets(data / HUMAN)
    found = [aligned_clips(d, ClipShape(), part) for body, d in sets.items() if body not in NEVER_PAIRED]
    if not found:
        raise KinemaError(f"{data / HUMAN} holds only {', '.join(sets)}, which are kept out of the pairs")
    return found


def never_paired(data: Path, part: Part) -> list[AlignedClips]:
    """Those that are kept for judging, as far as they are there."""
    sets = aligned_sets(data / HUMAN)
    return [aligned_clips(sets[body], ClipShape(), part) for body in NEVER_PAIRED if body in sets]


def code_films(data: Path, part: Part) -> list[Films]:
    """Every robot alone; in the scene only those of the pairs; the scene once, for it is the same for all."""
    pairs, sets = paired(data, part), aligned_sets(data / HUMAN)
    kept = [
        SegmentClips(sets[body], "robot_alone", ClipShape(), part) for body in NEVER_PAIRED if body in sets
    ]
    return [pairs[0].scene, *(body.robot for body in pairs), *(body.alone for body in pairs), *kept]


def nano_scene2robot_vae() -> VaeRecipe:
    """The nano world model's code, taught the hand's table and every arm."""
    return replace(
        nano_vae(),
        name="nano_scene2robot_vae",
        summary="the video code of nano_scene2robot (a quarter of an hour from nano_vae's)",
        train=replace(nano_vae().train, name="nano_scene2robot_vae"),
        clips=code_films,
        data_command=HUMAN_COMMAND,
    )


def nano_scene2robot() -> Scene2RobotRecipe:
    """All staged bodies but two, the hand's families."""
    return Scene2RobotRecipe(
        name="nano_scene2robot",
        summary="a robot in a person's place, from the scene and the robot alone (an hour on two cores)",
        train=Scene2RobotTrainConfig(
            name="nano_scene2robot",
            world=world_presets.nano_scene2robot(),
            loop=LoopConfig(
                steps=4000,
                save_every=50,
                optim=OptimConfig(
                    lr=4e-3, matrix_lr=1e-2, weight_decay=0.02, warmup_steps=40, ema_decay=0.995
                ),
            ),
        ),
        paired=paired,
        never_paired=never_paired,
        vae="nano_scene2robot_vae",
    )
