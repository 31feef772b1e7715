"""`kinema bench`: speed and memory, measured side by side in one run and reported as ratios.

Seconds on another machine, or on a busy one, mean little; the ratios within one table hold.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands import loading, policies
from kinema.commands.policies import bodies_in
from kinema.commands.terminal import choose, examples, finite, table, words
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.model.policy.loading import Loading

app = typer.Typer(help="Speed and memory of the parts, measured here and now.", no_args_is_help=False)

Threads = Annotated[int, typer.Option(help="CPU threads.", min=1)]


@app.command(
    "policy",
    epilog=examples(
        "kinema bench policy",
        "kinema bench policy --robot ur5e --rounds 200",
        "kinema bench policy --preset nano --random-weights --rounds 5",
    ),
)
def policy(
    policy: Annotated[str, typer.Option(help="A shipped artifact, or the folder of one.")] = policies.DEFAULT,
    robot: Annotated[str | None, typer.Option(help="The body. Default: the artifact's first.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A size instead of an artifact: nano, nano_look, edge, base, pro, ultra."),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Of the preset: there are no others of it.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Observations per row.", min=1)] = 100,
    threads: Threads = 2,
    device: loading.Device = "cpu",
    dtype: loading.Dtype = "fp32",
    quantise: loading.Quantise = None,
    compile: loading.Compile = False,
) -> None:
    """Time from one observation to one chunk, median and p95; of a preset memory, too, as planned and taken.

    An artifact: for several numbers of Euler steps, words and decoding with it. A preset: the network alone.
    """
    from kinema.model.policy.loading import PLAIN

    held = loading.loading_of(device, dtype, quantise, compile) or PLAIN
    if preset is not None or random_weights:
        if preset is None or not random_weights:
            raise KinemaError("--preset and --random-weights belong together: a preset has no weights")
        if policy != policies.DEFAULT or robot is not None:
            raise KinemaError("--preset is measured instead of a policy: leave out --policy and --robot")
        _measure_size(preset, held, rounds=rounds, threads=threads)
        return
    from kinema.card.load import load_card
    from kinema.model.policy.bench import LIMIT_S, measure_latency

    robot = load_card(robot).name if robot else None
    folder = policies.artifact_folder(policy)
    found = measure_latency(folder, card=robot, repeats=rounds, threads=threads, loading=held)
    rows = [
        (x.card, x.views, x.steps, f"{1e3 * x.median_s:.1f}", f"{1e3 * x.p95_s:.1f}", f"{x.of_limit:.2f}")
        for x in found
    ]
    limit = f"p95 / {1e3 * LIMIT_S:.0f} ms"
    print(table(rows, ("body", "views", "Euler steps", "median ms", "p95 ms", limit)))


def _measure_size(preset: str, held: Loading, *, rounds: int, threads: int) -> None:
    import torch

    from kinema.model.device import device_name
    from kinema.model.policy.bench_size import measure_size
    from kinema.model.policy.presets import PRESETS

    choose("preset", preset, tuple(PRESETS))
    torch.set_num_threads(threads)
    config = PRESETS[preset]()
    found = measure_size(preset, config, held, rounds=rounds)
    memory = [
        (f"{what}, planned and taken, GB", f"{size.planned / 1e9:.3g}", f"{size.taken / 1e9:.3g}")
        for what, size in (
            ("weights", found.held), ("at most while loading", found.loading),
            ("at most while answering", found.answering),
        )
    ]  # fmt: skip
    spans = [
        (f"{what}, median and p95, ms", f"{1e3 * span.median:.1f}", f"{1e3 * span.p95:.1f}")
        for what, span in (
            (f"{found.tokens} tokens of pictures and words read", found.reading),
            (f"whole answer, {found.steps} Euler steps", found.answer),
        )
    ]
    loaded = ("made and brought, s", f"{found.load_s:.1f}", "")
    header = f"{preset}, {found.parameters / 1e9:.3g} B parameters, {held}"
    print(table([*memory, loaded, *spans], (header, "", "")))
    print(f"on {device_name(torch.device(held.device))}, {threads} CPU threads")


@app.command("train", epilog=examples("kinema bench train", "kinema bench train --processes 1 --batch 64"))
def train(
    processes: Annotated[int, typer.Option(help="Processes that share every batch.", min=1)] = 2,
    threads: Annotated[int, typer.Option(help="CPU threads of each process.", min=1)] = 1,
    batch: Annotated[int, typer.Option(help="Samples per step, over all processes.", min=1)] = 128,
    steps: Annotated[int, typer.Option(help="Steps to measure.", min=1)] = 40,
) -> None:
    """Training samples per second and memory of the nano preset, on made-up data, by the real loop."""
    from kinema.train.bench import measure_training

    speed = measure_training(processes=processes, threads=threads, batch_size=batch, steps=steps)
    rows = [
        ("samples/s", f"{speed.samples_per_s:.0f}"),
        ("samples/s / 200", f"{speed.of_limit:.2f}"),
        ("backbone / transformers' own forward", f"{speed.over_stock:.1f}"),
        ("largest memory, GB", f"{speed.peak_gb:.2f}"),
    ]
    how = f"{processes} process(es) of {threads} thread(s)"
    print(table(rows, (f"nano, 96 px, batches of {batch}, {how}", "")))


@app.command("world", epilog=examples("kinema bench world", "kinema bench world --robots panda --seconds 2"))
def world(
    robots: Annotated[str, typer.Option(help="Bodies, with commas between.")] = "panda,ur5e,aloha",
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.", min=16, max=1024)] = 128,
    seconds: Annotated[
        float, typer.Option(help="How long to measure each body.", min=0.1, callback=finite)
    ] = 5.0,
) -> None:
    """Control steps per second on one core, every camera drawn at every step."""
    from kinema.card.load import load_card
    from kinema.worlds.tabletop.bench import measure_steps_per_s

    rows = []
    for name in bodies_in(robots):
        card = load_card(name)
        rate = measure_steps_per_s(card, seconds, image_size=size)
        rows.append((name, len(card.cameras), f"{rate:.0f}", f"{rate / 200:.2f}"))
    print(table(rows, ("body", f"{size} px views", "steps/s", "steps/s / 200")))


@app.command("planner", epilog=examples("kinema bench planner", "kinema bench planner --robots ur5e,aloha"))
def planner(
    robots: Annotated[
        str, typer.Option(help="Bodies, with commas between.")
    ] = "panda,ur5e,ur10e,kinova_gen3,xarm7,aloha",
    seconds: Annotated[
        float, typer.Option(help="Processor time for each body.", min=0.1, callback=finite)
    ] = 5.0,
) -> None:
    """Trajectories planned from cards alone, without physics and pictures: frames an hour of one core."""
    from kinema.card.load import load_card
    from kinema.worlds.planner.bench import measure_frames_per_s

    rows = []
    for name in bodies_in(robots):
        card = load_card(name)
        per_hour = 3600 * measure_frames_per_s(card, seconds)
        rows.append((name, f"{card.control_hz:g}", f"{per_hour / 1e6:.1f}", f"{2 * per_hour / 1e6:.1f}"))
    print(table(rows, ("body", "Hz", "M frames/h, one core", "two cores")))


@app.command(
    "libero",
    epilog=examples("kinema bench libero", "kinema bench libero --tasks goal/0 --seconds 5"),
)
def libero(
    tasks: Annotated[
        str, typer.Option(help="Tasks, with commas between.")
    ] = "spatial/0,object/0,goal/0,10/0",
    size: Annotated[int, typer.Option(help="Pixels of a picture's side.", min=16, max=480)] = 128,
    seconds: Annotated[
        float, typer.Option(help="Processor time for each number.", min=0.1, callback=finite)
    ] = 10.0,
) -> None:
    """LIBERO's control steps per second of one core, both cameras drawn at every step, by look."""
    from kinema.bench.drawing import LOOKS
    from kinema.bench.libero.speed import WITHOUT, measure_steps_per_s

    rates = measure_steps_per_s(words(tasks), seconds, size_px=size)
    shown = (*LOOKS, WITHOUT)
    rows = [(task, *(f"{by_look[name]:.1f}" for name in shown)) for task, by_look in rates.items()]
    print(table(rows, (f"two {size} px views, steps/s", *shown)))


@app.command("imagine", epilog=examples("kinema bench imagine", "kinema bench imagine --rounds 10"))
def imagine(
    world: Annotated[str, typer.Option(help="`shipped`, or the folder of a world model.")] = "shipped",
    robot: Annotated[str, typer.Option(help="The body that acts.")] = "panda",
    rounds: Annotated[int, typer.Option(help="Films per row.", min=1)] = 5,
    threads: Threads = 2,
) -> None:
    """Seconds of a two-view film, from first pictures to pixels, for several numbers of Euler steps."""
    from kinema.card.load import load_card
    from kinema.commands.imagine.imagine import world_folder
    from kinema.model.world.bench import FEW_STEP_LIMIT_S, LIMIT_S, measure_speed

    found = measure_speed(
        world_folder(world),
        card_name=load_card(robot).name,
        steps=(1, 2, 4, 16),
        threads=threads,
        rounds=rounds,
    )
    rows = [
        (x.steps, x.frames, x.views, f"{x.wall_s:.2f}", f"{x.cpu_s:.2f}", f"{x.wall_s / limit:.2f}")
        for x in found
        for limit in [FEW_STEP_LIMIT_S if x.steps <= 4 else LIMIT_S]
    ]
    limits = f"wall / {FEW_STEP_LIMIT_S:.0f} s (up to 4 steps) or {LIMIT_S:.0f} s"
    print(table(rows, ("Euler steps", "frames", "views", "wall s", "CPU s", limits)))


@app.command(
    "data",
    epilog=examples(
        "kinema bench data",
        "kinema bench data data/tabletop/panda --peer ~/lerobot/bin/python",
    ),
)
def data(
    folder: Annotated[
        Path | None, typer.Argument(help="A LeRobot data set. Default: a small one is recorded for this.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="How long to measure each way.", min=0.1, callback=finite)
    ] = 3.0,
    workers: Annotated[int, typer.Option(help="Processes that make batches ahead.", min=1)] = 2,
    peer: Annotated[
        str,
        typer.Option(
            envvar="KINEMA_LEROBOT_PYTHON", help="A Python that has lerobot: its own loader is measured, too."
        ),
    ] = "",
) -> None:
    """Training samples per second from the cache and by decoding, and by lerobot's own loader beside it."""
    from kinema.data.bench import measure_lerobot, measure_loading

    with TemporaryDirectory() as temporary:
        root = folder or _recorded(Path(temporary))
        measured, theirs = measure_loading(root, seconds=seconds, workers=workers), ""
        if peer:
            of_lerobot, theirs = measure_lerobot(root, peer, seconds=seconds, workers=workers)
            measured |= of_lerobot
    rows = [
        (what, *(f"{measured[key]:.0f}" for key in (name, f"{name}_workers")))
        for what, name in (
            ("cache", "cache"),
            ("cache, empty at first", "new"),
            ("decoding", "decode"),
            (theirs, "lerobot"),
        )
        if name in measured
    ]
    print(table(rows, ("samples/s, 96 px, batches of 64", "in the process", f"{workers} workers")))
    print(
        f"opened in {measured['open']:.2f} s; cache filled at once at {measured['build']:.0f} frames/s, "
        f"{measured['cache_mb_per_1000']:.0f} MB per 1000 frames; {measured['cache_over_decode']:.1f} times "
        f"as fast as decoding; at most {measured['peak_gb']:.2f} GB held"
    )
    if peer:
        cached, decoded, other = (
            max(measured[name], measured[f"{name}_workers"]) for name in ("cache", "decode", "lerobot")
        )
        times = f"{decoded / other:.1f} times as fast by decoding, {cached / other:.0f} times from the cache"
        print(f"beside {theirs}, the faster column of each: {times}")


def _recorded(out: Path) -> Path:
    from kinema.commands.data.make import make
    from kinema.commands.data.play import Task

    task = Task(world="tabletop", card="panda", name="pick_place", noise=1.0, image_size=96)
    make([task], out, episodes=8, workers=1)
    return out / "panda"
