"""`kinema data`: make demonstrations, look at them, check them, mend them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinema.commands.data.fits import sources
from kinema.commands.terminal import (
    examples,
    saved_on_interrupt,
    table,
)
from kinema.schema import KinemaError

app = typer.Typer(help="Data sets: make, inspect, verify, repair, stats.", no_args_is_help=False)
Folder = Annotated[Path, typer.Argument(help="Folder of a LeRobot data set (v3.0 or v2.1).")]


@app.command(
    "inspect",
    epilog=examples(
        "kinema data inspect data/tabletop/panda --out out/panda.html",
        "kinema data inspect data/tabletop/panda --rerun 3",
        "kinema data inspect data/theirs --map action=actions,observation.state=state,front=image",
    ),
)
def inspect(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("out/inspect.html"),
    rerun: Annotated[
        int | None, typer.Option(help="Open this episode in rerun's viewer instead of writing a page.", min=0)
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="With --rerun: write a recording (.rrd) instead of opening the viewer."),
    ] = None,
    mapped: Annotated[
        str,
        typer.Option("--map", help="Other names, e.g. action=actions,observation.state=joint1+joint2."),
    ] = "",
) -> None:
    """Write a page with pictures, plots, instructions and faults; or show an episode in rerun."""
    from kinema.data.inspect import inspect as write_page
    from kinema.data.inspect import open_in_rerun

    columns = sources(mapped)
    if rerun is not None:
        open_in_rerun(folder, rerun, save_to=save, columns=columns)
        print(f"episode {rerun}: {save or 'in the viewer'}")
        return
    if save is not None:
        raise KinemaError("--save belongs to --rerun; a page is written with --out")
    write_page(folder, out, columns=columns)
    print(f"page: {out}")


@app.command("verify", epilog=examples("kinema data verify data/tabletop/panda"))
def verify(
    folder: Folder,
    fast: Annotated[bool, typer.Option("--fast", help="Do not decode the pictures.")] = False,
) -> None:
    """Name every fault: files, videos, indices, times, values, statistics. Exit code 1 when there is one."""
    from kinema.data.verify import Kind, examine

    if not folder.is_dir():
        raise KinemaError(f"{folder} is not a folder; expected a LeRobot data set")
    told = examine(folder, decode=not fast)
    for fault in told:
        print(fault)
    faults = [fault for fault in told if fault.kind != Kind.REMARK]
    if not faults:
        print(f"{folder} is sound")
        return
    count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
    mendable = sum(fault.repairable for fault in faults)
    print(f"{count}; `kinema data repair {folder}` can mend {mendable}" if mendable else count)
    raise typer.Exit(1)


@app.command(
    "repair",
    epilog=examples(
        "kinema data repair data/tabletop/panda --dry-run", "kinema data repair data/tabletop/panda"
    ),
)
def repair(
    folder: Folder,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Mend what can be mended, set aside what cannot, and keep a backup of the state before."""
    from kinema.data.repair import repair as mend

    actions = mend(folder, dry_run=dry_run)
    for action in actions:
        print(action)
    if not actions:
        print(f"{folder} is sound; nothing was done")
    if any(not action.mended for action in actions):
        raise typer.Exit(1)


@app.command(
    "mirror",
    epilog=examples(
        "kinema data mirror hf://datasets/lerobot/svla_so101_pickplace --into data/pickplace",
        "kinema data mirror s3://bucket/sets/mine --into /scratch/mine",
    ),
)
def mirror(
    url: Annotated[str, typer.Argument(help="Where a LeRobot set lies, as fsspec says it: hf://, s3://, …")],
    into: Annotated[Path, typer.Option(help="Folder for its metadata, and for its files as they are read.")],
) -> None:
    """Use a data set from afar without downloading it: metadata now, each file when it is first read."""
    from kinema.data.index import Index
    from kinema.data.remote import mirror as make

    index = Index.open(make(url, into))
    print(f"{into}: {index.num_episodes} episodes, {index.num_frames} frames; files come as they are read")


@app.command("stats", epilog=examples("kinema data stats data/tabletop/panda"))
def stats(
    folder: Folder,
    write: Annotated[bool, typer.Option("--write", help="Also write them into the data set.")] = False,
) -> None:
    """Measure every channel: range, quantiles, mean and deviation."""
    import numpy as np

    from kinema.data.lerobot import Dataset
    from kinema.data.measure import measure, write_statistics
    from kinema.data.metadata import channel_names

    dataset = Dataset.open(folder)
    measured = write_statistics(folder) if write else measure(dataset)
    print(f"{dataset.num_episodes} episodes, {dataset.num_frames} frames, {len(dataset.tasks)} instructions")
    columns = ("min", "q01", "q50", "q99", "max", "mean", "std")
    rows = []
    for feature, values in measured.items():
        names = channel_names(dataset.metadata.features[feature])
        for channel, *numbers in zip(names, *(np.ravel(values[column]) for column in columns)):
            rows.append((feature, channel, *(f"{number:.4g}" for number in numbers)))
    print(table(rows, ("feature", "channel", *columns)))


@app.command(
    "annotate",
    epilog=examples(
        "kinema data annotate data/tabletop/panda",
        "kinema data annotate data/videos --url http://localhost:8000/v1 --model vision",
    ),
)
def annotate(
    folder: Folder,
    url: Annotated[
        str, typer.Option(help="Let this OpenAI-compatible vision endpoint describe the pictures.")
    ] = "",
    model: Annotated[str, typer.Option(help="The endpoint's model; its key is in KINEMA_VISION_KEY.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many new episodes; 0 for all.", min=0)] = 0,
) -> None:
    """Write captions in five layers to meta/captions.jsonl: from the numbers, or from the pictures."""
    from kinema.commands.data.annotate import annotate as write
    from kinema.commands.data.annotate import seen_by, shown
    from kinema.data.annotate import Annotator, Endpoint

    if model and not url:
        raise KinemaError("--model belongs to --url; without an endpoint nothing leaves this machine")
    with saved_on_interrupt(lambda: f"Captions are in {folder}; the same command goes on from there."):
        if url:
            with Annotator(Endpoint.given(url, model)) as annotator:
                written = write(folder, seen_by(annotator), limit=limit)
        else:
            written = write(folder, limit=limit)
    for line in shown(written):
        print(line)
    print(f"{folder}: {written.new} episodes described, {written.kept} kept from before")
    for episode, fault in written.faulty.items():
        print(f"episode {episode} was left out: {fault}")
    if written.faulty:
        raise typer.Exit(1)
