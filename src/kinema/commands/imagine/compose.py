"""Who puts a robot into a scene: the shipped scene-to-robot model, or the depth composite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.commands.shipped import ARTIFACTS
from kinema.commands.terminal import choose
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.model.world.scene2robot import Scene2Robot
    from kinema.worlds.hand.retarget import JointPath
    from kinema.worlds.hand.stage import StagedWorld

DEFAULT_MODEL = "shipped"
SHIPPED_FOLDER = ARTIFACTS / "scene2robot"
COMPOSERS = ("model", "depth")
Pictures = Mapping[str, np.ndarray]  # by view: uint8 (T, S, S, 3)
Compose = Callable[["StagedWorld", "JointPath", Pictures], Pictures]  # body, its path, the scene


def scene2robot_folder(name: str = DEFAULT_MODEL) -> Path:
    """The folder of the shipped model or of the user's own. Raises KinemaError when there is none."""
    folder = SHIPPED_FOLDER if name == DEFAULT_MODEL else Path(name)
    if not (folder / "scene2robot.json").is_file():
        raise KinemaError(
            f"no scene-to-robot model in {folder}; choices: a folder made by `kinema train nano_scene2robot`"
        )
    return folder


def trained(folder: str) -> Scene2Robot:
    """The model in a folder, for worker processes that build by name."""
    from kinema.model.world.scene2robot import load

    return load(Path(folder))


def composer(asked: str | None, size_px: int) -> tuple[str, Compose]:
    """Who composes pictures of this side, in words, and how.

    asked: `model`, `depth`, or None for the model where one is shipped that makes such pictures
    """
    if asked == "depth":
        return "depth composite", by_depth
    if asked is None and not (SHIPPED_FOLDER / "scene2robot.json").is_file():
        return "depth composite (no scene-to-robot model is shipped here)", by_depth
    if asked is not None:
        choose("composer", asked, COMPOSERS)
    made = trained(str(scene2robot_folder()))
    if asked is None and made.clips.size != size_px:
        return f"depth composite (the model makes pictures of {made.clips.size} px, not {size_px})", by_depth
    return f"scene-to-robot model, shown in scenes: {', '.join(made.provenance['clips'])}", by_model(made)


def by_depth(world: StagedWorld, path: JointPath, scene: Pictures) -> Pictures:
    """The body drawn over the film, hidden by what is nearer."""
    from kinema.worlds.hand.aligned import composite

    return composite(world, path, scene)


def by_model(model: Scene2Robot) -> Compose:
    """The film that the model makes of the scene and the body alone."""

    def compose(world: StagedWorld, path: JointPath, scene: Pictures) -> Pictures:
        from kinema.worlds.hand.aligned import robot_alone

        alone = robot_alone(world, path)
        made = model.compose(as_film(scene), as_film({view: alone[view] for view in scene}))
        return {view: made[:, number] for number, view in enumerate(scene)}

    return compose


def as_film(pictures: Pictures) -> np.ndarray:
    """Pictures by view as one film (T, V, S, S, 3)."""
    return np.stack(list(pictures.values()), 1)
