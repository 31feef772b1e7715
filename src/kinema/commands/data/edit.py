"""`kinema data edit`: everyday changes, each into a new folder that appears whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinema.commands.terminal import examples, pairs, words
from kinema.schema import KinemaError

app = typer.Typer(
    help="Merge, split, delete episodes; add, remove and rename features; edit tasks; re-encode. "
    "What is edited stays as it is.",
    no_args_is_help=False,
)

Folder = Annotated[Path, typer.Argument(help="Folder of a LeRobot data set (v3.0 or v2.1).")]
Out = Annotated[Path, typer.Option(help="Folder of the new data set; it must not exist.")]


@app.command("merge", epilog=examples("kinema data edit merge data/monday data/tuesday --out data/both"))
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Data sets of one body, rate and set of features.")],
    out: Out,
) -> None:
    """Put the episodes of several sets into one, in the order in which they are named."""
    from kinema.data.edit.operations import merge as make

    make(folders, out)
    _say(out)


@app.command(
    "split",
    epilog=examples(
        "kinema data edit split data/mine --parts train=0.9,test=0.1 --out data/parts",
        "kinema data edit split data/mine --parts red=0-9+14 --parts blue=10-13 --out data/parts",
    ),
)
def split(
    folder: Folder,
    parts: Annotated[
        list[str], typer.Option(help="NAME=SHARE, or NAME=EPISODES with + between numbers and ranges.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new sets, one folder for each part.")],
) -> None:
    """Make several sets of the episodes of one."""
    from kinema.data.edit.operations import split as make

    told = {name: text.replace("+", ",") for name, text in pairs("--parts", ",".join(parts)).items()}
    make(folder, told, out)
    for name in told:
        _say(out / name)


@app.command("delete", epilog=examples("kinema data edit delete data/mine --episodes 3,7-9 --out data/good"))
def delete(
    folder: Folder,
    episodes: Annotated[str, typer.Option(help="Numbers and ranges with commas: 0,3,5-9.")],
    out: Out,
) -> None:
    """Leave episodes out; those behind move up."""
    from kinema.data.edit.operations import delete as make

    make(folder, episodes, out)
    _say(out)


@app.command(
    "add",
    epilog=examples(
        "kinema data edit add data/mine --feature observation.force --values force.npy --names x,y,z "
        "--out data/forces"
    ),
)
def add(
    folder: Folder,
    feature: Annotated[str, typer.Option(help="Name of the new column.")],
    values: Annotated[Path, typer.Option(help="Its numbers: .npy, a row for every frame of the set.")],
    out: Out,
    names: Annotated[
        str, typer.Option(help="Names of its channels, with commas. Default: their numbers.")
    ] = "",
) -> None:
    """Add a column of numbers."""
    import numpy as np

    from kinema.data.edit.operations import add_feature

    try:
        numbers = np.load(values, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise KinemaError(f"{values} is not a readable .npy file: {error}") from None
    width = 1 if numbers.ndim == 1 else numbers.shape[-1] if numbers.ndim else 0
    add_feature(folder, feature, numbers, words(names) or [str(i) for i in range(width)], out)
    _say(out)


@app.command(
    "remove",
    epilog=examples("kinema data edit remove data/mine --features observation.effort --out data/lean"),
)
def remove(
    folder: Folder,
    features: Annotated[str, typer.Option(help="Columns or cameras, with commas.")],
    out: Out,
) -> None:
    """Leave columns or cameras out."""
    from kinema.data.edit.operations import remove_features

    remove_features(folder, words(features), out)
    _say(out)


@app.command(
    "rename",
    epilog=examples("kinema data edit rename data/mine --features actions=action --out data/named"),
)
def rename(
    folder: Folder,
    features: Annotated[str, typer.Option(help="OLD=NEW with commas; cameras as observation.images.NAME.")],
    out: Out,
) -> None:
    """Give columns or cameras other names."""
    from kinema.data.edit.operations import rename_features

    rename_features(folder, pairs("--features", features), out)
    _say(out)


@app.command(
    "tasks",
    epilog=examples(
        'kinema data edit tasks data/mine --to "put the cup on the plate" --out data/told',
        'kinema data edit tasks data/mine --from pick --to "pick up the cup" --episodes 0-9 --out data/told',
    ),
)
def tasks(
    folder: Folder,
    to: Annotated[str, typer.Option(help="The new instruction.")],
    out: Out,
    was: Annotated[str | None, typer.Option("--from", help="Only where this is the instruction.")] = None,
    episodes: Annotated[str | None, typer.Option(help="Only in these episodes: 0,3,5-9.")] = None,
) -> None:
    """Give episodes another instruction."""
    from kinema.data.edit.operations import retask

    retask(folder, to, out, was=was, episodes=episodes)
    _say(out)


@app.command(
    "encode",
    epilog=examples(
        "kinema data edit encode data/mine --out data/small --codec libsvtav1 --pixels yuv420p --crf 30"
    ),
)
def encode(
    folder: Folder,
    out: Out,
    codec: Annotated[str, typer.Option(help="libx264, libsvtav1, libx265, …")] = "libx264",
    pixels: Annotated[str, typer.Option(help="yuv444p keeps all colours, yuv420p is smaller.")] = "yuv444p",
    crf: Annotated[int, typer.Option(help="Quality; lower is better.", min=0, max=63)] = 10,
    preset: Annotated[str, typer.Option(help="The encoder's own word for speed.")] = "",
    keyframe_every: Annotated[int, typer.Option(help="Frames from key frame to key frame.", min=1)] = 2,
) -> None:
    """Encode the pictures of all cameras anew, those embedded in data files too."""
    from kinema.data.edit.operations import encode as make
    from kinema.data.video import FAITHFUL, LEROBOT, Encoding

    usual = LEROBOT if codec == LEROBOT.codec else FAITHFUL
    encoding = Encoding(
        codec=codec,
        pixel_format=pixels,
        crf=crf,
        preset=preset or usual.preset,
        keyframe_every=keyframe_every,
    )
    make(folder, encoding, out)
    _say(out)


def _say(out: Path) -> None:
    from kinema.data.index import Index

    made = Index.open(out)
    print(f"{out}: {made.num_episodes} episodes, {made.num_frames} frames, {len(made.tasks)} instructions")
