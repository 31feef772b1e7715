"""`kinema imagine`: what would be seen if a sentence were carried out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from kinema.commands.rendering import require_rendering
from kinema.commands.shipped import ARTIFACTS
from kinema.commands.terminal import examples, writable
from kinema.schema import KinemaError

EXAMPLES = examples(
    'kinema imagine front.png wrist.png "put the red block in the blue bowl"',
    'kinema imagine --scene 500001 "put the red block in the blue bowl" --out out/imagined',
)
DEFAULT_WORLD = "shipped"
SHIPPED_FOLDER = ARTIFACTS / "world"


def imagine(
    inputs: Annotated[
        list[str],
        typer.Argument(help="One picture for each camera, in the card's order, and then the instruction."),
    ],
    robot: Annotated[str, typer.Option(help="The body that acts.")] = "panda",
    views: Annotated[
        int | None, typer.Option(help="How many of the pictures are used. Default: all.", min=1, max=4)
    ] = None,
    scene: Annotated[
        int | None,
        typer.Option(
            help="Instead of pictures: a tabletop scene made for the sentence from this seed.", min=0
        ),
    ] = None,
    world: Annotated[str, typer.Option(help="`shipped`, or the folder of a world model.")] = DEFAULT_WORLD,
    seed: Annotated[int, typer.Option(help="Seed of what is imagined.", min=0)] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Euler steps. Default: the model's.", min=1, max=1000)
    ] = None,
    clips: Annotated[
        int, typer.Option(help="Go on from the last picture so many times.", min=1, max=100)
    ] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the film and the contact sheet.")] = Path(
        "out/imagine"
    ),
) -> None:
    """Imagine what follows from first pictures and a sentence; write a film and a contact sheet."""
    from kinema.bench.video import write_video
    from kinema.card.load import load_card
    from kinema.data.clips import side_by_side
    from kinema.model.world import artifact as world_artifact

    *pictures, instruction = inputs
    card = load_card(robot)
    if scene is not None:
        if pictures:
            raise KinemaError(f"either pictures or --scene, not both; got {pictures} and --scene {scene}")
        images = scene_pictures(instruction, robot, scene)
    else:
        images = read_pictures(pictures, tuple(card.camera_names))
    if views is not None:
        images = dict(list(images.items())[:views])
    writable(out)  # before the work is done
    model = world_artifact.load(world_folder(world))
    film = model.imagine(images, instruction, card.name, seed=seed, steps=steps, clips=clips)
    out.mkdir(parents=True, exist_ok=True)
    canvas = side_by_side(film.frames)
    write_video(out / "imagined.mp4", canvas, film.fps)
    write_sheet(out / "imagined.png", canvas)
    print(f"{len(film.frames)} frames of {', '.join(film.cameras)}, {1 / film.fps:.2f} s apart")
    print(f"video: {out / 'imagined.mp4'}")
    print(f"sheet: {out / 'imagined.png'}")


def world_folder(name: str, others: Collection[str] = ()) -> Path:
    """The folder of the shipped world model or of the user's own.

    others: names that the command takes as well, for the error. KinemaError when there is no model.
    """
    folder = SHIPPED_FOLDER if name == DEFAULT_WORLD else Path(name)
    if not is_world(folder):
        choices = ", ".join(["a folder made by `kinema train nano_world`", *others])
        raise KinemaError(f"no world model in {folder}; choices: {choices}")
    return folder


def is_world(folder: Path) -> bool:
    """Whether a world model's artifact lies there."""
    return (folder / "world.json").is_file()


def read_pictures(paths: list[str], cameras: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Pictures from files, for the first cameras of the card."""
    if not 1 <= len(paths) <= len(cameras):
        raise KinemaError(
            f"give one picture for each of the cameras {', '.join(cameras)} (at least the first), and then "
            f"the instruction; got {len(paths)} pictures"
        )
    return {name: _picture(path) for name, path in zip(cameras, paths)}


def _picture(path: str) -> np.ndarray:
    """uint8 (H, W, 3). Raises KinemaError for a file that is no picture of colours."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut off what is above 255
                raise KinemaError(f"{path} has more than 8 bits a pixel ({image.mode}); save it as 8-bit RGB")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged or none"
        raise KinemaError(f"{path} is not a picture that can be read: {why}") from None


def scene_pictures(instruction: str, robot: str, seed: int) -> Mapping[str, np.ndarray]:
    """What the cameras see of a tabletop scene made for the sentence."""
    require_rendering()
    from kinema.commands.closed_loop import prepare

    session = prepare(instruction, robot=robot, scene="seen", seed=seed, policy_name="hold", gate=False)
    session.world.reset(seed, session.request)
    try:
        return session.world.observe().images
    finally:
        session.world.close()


def write_sheet(path: Path, canvas: np.ndarray) -> None:
    """All frames (F, H, W, 3) as one picture, four in a row."""
    from PIL import Image

    frames = list(canvas)
    frames += [np.full_like(canvas[0], 255)] * (-len(frames) % 4)
    rows = [np.concatenate(frames[i : i + 4], 1) for i in range(0, len(frames), 4)]
    Image.fromarray(np.concatenate(rows)).save(path)
