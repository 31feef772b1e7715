"""`kinema data make`: demonstrations by scripted experts, and labelled pictures and chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinema.commands.data.made import BODIES, MADE, Told
from kinema.commands.policies import bodies_in
from kinema.commands.rendering import require_rendering
from kinema.commands.terminal import RAY_HELP, choose, examples, finite, refuse_unheeded, words, writable

HEEDED = {name: made.heeds for name, made in MADE.items()}  # of the options that not every world heeds
WORLDS = tuple(MADE)
EXAMPLES = examples(
    "kinema data make tabletop --robots panda,ur5e --episodes 50 --workers 2 --out data/tabletop",
    "kinema data make tabletop --look wide --episodes 50 --image-size 128 --out data/wide",
    "kinema data make metaworld --families reach-v3 --episodes 50 --out data/metaworld",
    "kinema data make libero --families object,spatial/0 --episodes 50 --workers 2 --out data/libero",
    "kinema data make aloha --episodes 50 --workers 2 --out data/aloha",
    "kinema data make simpler --families stack_cube --episodes 50 --out data/simpler",
    "kinema data make hazards --episodes 600 --out data/hazards",
    "kinema data make looks --episodes 60 --out data/looks",
    "kinema data make steps --episodes 60 --out data/steps",
    "kinema data make questions --robots panda --families button --episodes 2 --out data/questions",
    "kinema data make road --episodes 50 --views 2 --out data/road",
    "kinema data make navigation --robots wheeled_base --families instruction --episodes 50 "
    "--out data/navigation",
    "kinema data make human --robots panda,ur5e --episodes 60 --out data/human",
)


def make(
    ctx: typer.Context,
    world: Annotated[str, typer.Argument(help=f"Which world: {' or '.join(WORLDS)}.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the data sets, one per body; a stopped run goes on there.")
    ],
    episodes: Annotated[
        int, typer.Option(help="Successful episodes per body and family (or task).", min=1)
    ] = 50,
    robots: Annotated[
        str, typer.Option(help=f"Bodies, with commas. Default: {','.join(BODIES)}; navigation: every base.")
    ] = "",
    families: Annotated[
        str,
        typer.Option(
            help="Families, tasks of Meta-World, ALOHA or SimplerEnv, LIBERO's suites or tasks. Default: all."
        ),
    ] = "",
    assets: Annotated[
        str, typer.Option(help="simpler: the folder of ManiSkill's downloads. Default: its own.")
    ] = "",
    noise: Annotated[
        float, typer.Option(help="Disturbance of what is executed; 0 none, 1 usual.", min=0, callback=finite)
    ] = 1.0,
    image_size: Annotated[
        int | None,
        typer.Option(help="Pixels of a side. Default: 96, metaworld 128 or 192.", min=16, max=1024),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="tabletop, simpler, navigation: this artifact acts first, then the expert mends what "
            "it left (DAgger)."
        ),
    ] = None,
    latency_ms: Annotated[
        int, typer.Option(help="tabletop: that policy's answers come up to so much late.", min=0, max=1000)
    ] = 0,
    look: Annotated[
        str,
        typer.Option(help="tabletop, questions: plain, or wide for things, words and rooms of all kinds."),
    ] = "plain",
    protocol: Annotated[
        str, typer.Option(help="metaworld: whose sentences and pictures, kinema's or lerobot's.")
    ] = "kinema",
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="metaworld: raw arrays, some pictures: for nano_metaworld. navigation: R2R-CE's files.",
        ),
    ] = False,
    first_seed: Annotated[
        int, typer.Option(help="The first scene; another round wants other scenes.", min=1_000_000)
    ] = 1_000_000,
    views: Annotated[int, typer.Option(help="road: how many of the car's cameras.", min=1, max=3)] = 3,
    workers: Annotated[int, typer.Option(help="Processes. The data do not depend on it.", min=1)] = 1,
    ray: Annotated[str | None, typer.Option(help=RAY_HELP)] = None,
) -> None:
    """Let scripted experts demonstrate and record it; labels stay clean where noise disturbs the motion."""
    choose("world", world, WORLDS)
    refuse_unheeded(ctx, world, HEEDED)
    if policy is None:
        refuse_unheeded(ctx, "the expert alone", {"the expert alone": (), "--policy": ("latency_ms",)})
    require_rendering()
    told = Told(
        out=writable(out), episodes=episodes, bodies=bodies_in(robots) or MADE[world].bodies,
        names=words(families), noise=noise, size_px=image_size, policy=policy,
        latency_s=latency_ms / 1000, look=look,
        protocol=protocol, raw=raw, first_seed=first_seed, views=views, assets=assets or None,
        workers=workers, ray=ray,
    )  # fmt: skip
    MADE[world].make(told)
