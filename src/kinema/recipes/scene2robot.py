"""The recipes of Scene2Robot: its video code, and the model that is shipped.

Two bodies are never in a pair: whether a robot that was only ever seen alone can be put into a scene is what
the paper claims, and what they are kept for. The code may see them alone, since it is only a compression.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from kinema.data.aligned import AlignedClips, SegmentClips, aligned_clips, aligned_sets
from kinema.data.clips import Films, Part
from kinema.data.frames import Way
from kinema.model.world import presets as world_presets
from kinema.recipes.world import HUMAN, HUMAN_COMMAND, nano_vae, world_loop
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.recipe import Recipe
from kinema.train.stages.scene2robot import Scene2RobotStage, read_material
from kinema.train.stages.video_code import VideoCodeStage

NEVER_PAIRED = ("iiwa14", "viperx")


def paired(data: Path, part: Part, pictures: Way = "cache") -> list[AlignedClips]:
    """All bodies of data/human that may be in pairs. Raises KinemaError when there is none."""
    sets = aligned_sets(data / HUMAN)
    found = [
        aligned_clips(dataset, ClipShape(), part, pictures)
        for body, dataset in sets.items()
        if body not in NEVER_PAIRED
    ]
    if not found:
        raise KinemaError(f"{data / HUMAN} holds only {', '.join(sets)}, which are kept out of the pairs")
    return found


def never_paired(data: Path, part: Part, pictures: Way = "cache") -> list[AlignedClips]:
    """Those that are kept for judging, as far as they are there."""
    sets = aligned_sets(data / HUMAN)
    return [aligned_clips(sets[body], ClipShape(), part, pictures) for body in NEVER_PAIRED if body in sets]


def code_films(data: Path, part: Part, pictures: Way = "cache") -> list[Films]:
    """Every robot alone; in the scene only those of the pairs; the scene once, for it is the same for all."""
    pairs, sets = paired(data, part, pictures), aligned_sets(data / HUMAN)
    kept = [
        SegmentClips(sets[body], "robot_alone", ClipShape(), part, pictures)
        for body in NEVER_PAIRED
        if body in sets
    ]
    return [pairs[0].scene, *(body.robot for body in pairs), *(body.alone for body in pairs), *kept]


def nano_scene2robot_vae() -> Recipe:
    """The nano world model's code, taught the hand's table and every arm."""
    return replace(
        nano_vae(),
        name="nano_scene2robot_vae",
        summary="the video code of nano_scene2robot (a quarter of an hour from nano_vae's)",
        data_command=HUMAN_COMMAND,
        stage=partial(VideoCodeStage, code=world_presets.CODE_NANO, clips=code_films),
    )


def nano_scene2robot() -> Recipe:
    """All staged bodies but two, the hand's families."""
    kinds = {"paired": paired, "never paired": never_paired}
    material = partial(read_material, kinds=kinds, code="nano_scene2robot_vae")
    return Recipe(
        name="nano_scene2robot",
        summary="a robot in a person's place, from the scene and the robot alone (an hour on two cores)",
        data_command=HUMAN_COMMAND,
        stage=partial(Scene2RobotStage, config=world_presets.nano_scene2robot(), material=material),
        batch_size=16,
        loop=world_loop(),
    )
