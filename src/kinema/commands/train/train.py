"""`kinema train`: run a recipe, from data to an artifact."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from kinema.commands.terminal import examples, finite, positive, saved_on_interrupt, table, words, writable
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.train.optim import Rule
    from kinema.train.recipe import Options, Recipe

EXAMPLES = examples(
    "kinema train --list",
    "kinema train debug --out runs/debug",
    "kinema train nano_tabletop --data data --minutes 60 --evaluate-every 2000",
    "kinema train nano_tabletop --resume",
    "kinema train nano --data data/mine --card my_robot.yaml",
    "kinema train base --plan --gpus 8 --gpu-memory 80",
    "torchrun --nproc-per-node 8 -m kinema train nano_tabletop --device cuda",
    "kinema train nano_tabletop --init runs/before/artifact --freeze 'backbone.*' --lr 'decoder.*=1e-4'",
)


def train(
    recipe: Annotated[str, typer.Argument(help="The recipe's name; --list shows them.")] = "",
    list_them: Annotated[
        bool, typer.Option("--list", help="Show the recipes and the data they need.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint, logs and artifact. Default: runs/<recipe>.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder below which the recipe looks for its data [data]; nano, finetune: a data set, or "
            "the address of one (hf://, s3://, https://)."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps, instead of the recipe's.", min=1)] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train for this long instead of by steps.", min=0.01, callback=finite)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a batch, of all processes.", min=1)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")
    ] = False,
    init: Annotated[Path | None, typer.Option(help="Start from this artifact's weights.")] = None,
    vocabulary: Annotated[
        str,
        typer.Option(
            "--words",
            help="init: those of --init; data: new ones from the data's sentences, which begin as what they "
            "are made of.",
        ),
    ] = "init",
    card: Annotated[
        str | None, typer.Option(help="nano, finetune: whose the data sets are, a name or a .yaml file.")
    ] = None,
    hold_out: Annotated[
        int,
        typer.Option(
            help="nano, finetune: of every so many episodes the last is not learnt from; 0: none.", min=0
        ),
    ] = 10,
    backbone: Annotated[
        str | None, typer.Option(help="finetune: a Qwen3.5 checkpoint, a folder or a name on the Hub.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="finetune: of the backbone on the Hub.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="finetune: whose decoder the backbone gets [base]; edge is smaller. nano: `nano`, or "
            "`nano_look`, which looks twice."
        ),
    ] = None,
    lora: Annotated[
        int, typer.Option(help="finetune: rank of adapters, which learn in place of the matrices.", min=0)
    ] = 0,
    lora_on: Annotated[
        list[str] | None, typer.Option(help="finetune: what they are put on [backbone]; or decoder, or both.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, or what torch sees here: cuda, cuda:1, mps, xpu.")
    ] = "cpu",
    precision: Annotated[
        str, typer.Option(help="auto (bf16 where the device has units for it), fp32 or bf16.")
    ] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of each process.", min=1)] = 1,
    processes: Annotated[
        int | None,
        typer.Option(
            help="Processes of this CPU that share every batch; on two free cores 2 is fastest. "
            "Elsewhere torchrun starts them.",
            min=1,
        ),
    ] = None,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute layers again for the gradient: less memory.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile every layer.")] = False,
    accumulate: Annotated[
        int, typer.Option(help="Parts that a batch is taken in, to need less memory.", min=1)
    ] = 1,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="Weights to leave as they are, by name: 'backbone.*', '!decoder.*' (all others)."),
    ] = None,
    lr: Annotated[
        list[str] | None, typer.Option(help="A learning rate for weights by name: 'backbone.*=1e-5'.")
    ] = None,
    weight_decay: Annotated[
        list[str] | None, typer.Option(help="A weight decay for weights by name: 'decoder.*=0.1'.")
    ] = None,
    average: Annotated[
        bool, typer.Option(help="Ship the average of the weights over the last steps, or the last ones.")
    ] = True,
    lr_scale: Annotated[
        float,
        typer.Option(
            help="Scales the recipe's learning rates; below 1 to go on from --init.",
            min=1e-4,
            callback=finite,
        ),
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and noise.", min=0)] = None,
    most_clipped: Annotated[
        float,
        typer.Option(
            help="Share of a channel's targets that the statistics of --init may clip.",
            min=0,
            max=1,
            callback=finite,
        ),
    ] = 0.1,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of numbers and pictures. Default: KINEMA_CACHE, else in the data sets."),
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            help="Those of data sets: decode (each time), cache (once, onto the disk) or memory (all first)."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that make batches ahead, of each process.", min=0)
    ] = 0,
    tracker: Annotated[
        str, typer.Option(help="Where curves go, with commas: tensorboard, wandb, trackio. '': a file alone.")
    ] = "tensorboard",
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what the run would need: parameters, memory, samples.")
    ] = False,
    gpus: Annotated[int, typer.Option(help="With --plan: GPUs that share the run.", min=1)] = 1,
    gpu_memory: Annotated[
        float | None,
        typer.Option(help="With --plan: GB of each GPU; refused if it does not fit.", callback=positive),
    ] = None,
    evaluate_every: Annotated[
        int,
        typer.Option(
            help="Judge every so many steps, and log it: a policy where `kinema eval` plays its bodies.",
            min=0,
        ),
    ] = 0,
) -> None:
    """Train a recipe and write its artifact: weights, what gives them their meaning, and provenance."""
    from kinema import recipes
    from kinema.bench.provenance import source_commit
    from kinema.commands.eval.closed_loop import closed_loop
    from kinema.commands.train.page import write_page
    from kinema.data.frames import Way
    from kinema.data.remote import local
    from kinema.model.device import AskedPrecision
    from kinema.train.parallel import is_chief, launched, restarted
    from kinema.train.recipe import Options
    from kinema.train.run import run
    from kinema.train.stage import Named, Words
    from kinema.train.stop import interruptible

    if list_them:
        print(_listed())
        return
    if cache is not None:
        os.environ["KINEMA_CACHE"] = str(cache)
    folder = out or Path("runs") / recipe
    resume = resume or (restarted() and (folder / "checkpoint").exists())
    chosen, folders = recipes.get(recipe), [local(place) for place in data or ["data"]]
    if len(folders) > 1 and not chosen.is_told:
        raise KinemaError(f"{chosen.name} looks for its data below one folder, not below {len(folders)}")
    named = Named(
        sets=tuple(folders) if data and chosen.is_told else (), card=card,
        hold_out=hold_out if chosen.is_told else 0, backbone=backbone, revision=revision,
        preset=preset, lora=lora, lora_on=tuple(lora_on or (["backbone"] if lora else [])),
    )  # fmt: skip
    options = Options(
        steps=steps, minutes=minutes, batch_size=batch_size, seed=seed, lr_scale=lr_scale, device=device,
        accumulate=accumulate, rules=_rules(freeze or [], lr or [], weight_decay or []), average=average,
        precision=cast(AskedPrecision, precision), threads=threads, processes=processes or launched(),
        checkpointing=checkpointing, compile=compiled, resume=resume,
        init=init, words=cast("Words", vocabulary), most_clipped=most_clipped, evaluate_every=evaluate_every,
        pictures=cast("Way | None", pictures), workers=workers, trackers=words(tracker),
        named=named,
    )  # fmt: skip
    if plan:
        _say_plan(chosen, folders[0], folder, options, gpus, gpu_memory)
        return
    if gpus > 1 or gpu_memory is not None:
        raise KinemaError("--gpus and --gpu-memory are what --plan plans for; add --plan")
    if (folder / "checkpoint").exists() and not resume:
        raise KinemaError(f"{folder} holds a run; add --resume to go on with it, or choose another --out")
    writable(folder)
    if is_chief():
        print(f"recipe {chosen.name}: {chosen.summary}")
    acts = evaluate_every and recipes.is_policy(recipe)
    saved = f"The checkpoint is in {folder}; --resume goes on from there."
    with interruptible(), saved_on_interrupt(lambda: saved):
        artifact = run(
            chosen, folders[0], folder, options, evaluate=closed_loop(folder) if acts else None,
            commit=source_commit(),
        )  # fmt: skip
    if not is_chief():
        return
    print(f"artifact: {artifact}")
    print(f"page:     {write_page(folder)}")
    if "tensorboard" in options.trackers:
        print(f"curves:   tensorboard --logdir {folder / 'tensorboard'}")


def _say_plan(
    recipe: Recipe, data: Path, out: Path, options: Options, gpus: int, gpu_memory_gb: float | None
) -> None:
    from kinema.train.plan import plan

    asked = options.of(recipe).loop
    is_for_gpus = gpu_memory_gb is not None and options.precision == "auto"
    precision = "bf16" if is_for_gpus else asked.computes_in
    ranks = gpus if gpus > 1 else options.processes
    found = plan(recipe, data, out, options, ranks=ranks, precision=precision)
    memory = None if gpu_memory_gb is None else gpu_memory_gb * 1e9
    print(table(found.table(memory), ("of the run", recipe.name)))
    if memory is not None:
        found.check(memory)


def _rules(freeze: Sequence[str], lr: Sequence[str], weight_decay: Sequence[str]) -> tuple[Rule, ...]:
    from kinema.train.optim import Rule

    rules = [Rule(pattern=pattern, frozen=True) for pattern in freeze]
    rules += [Rule(pattern=pattern, lr=rate) for pattern, rate in (_set("lr", text) for text in lr)]
    decays = (_set("weight-decay", text) for text in weight_decay)
    return (*rules, *(Rule(pattern=pattern, weight_decay=rate) for pattern, rate in decays))


def _set(option: str, text: str) -> tuple[str, float]:
    """'backbone.*=1e-5' as a pattern and a number."""
    pattern, _, number = text.rpartition("=")
    try:
        return pattern or "*", float(number)
    except ValueError:
        raise KinemaError(f"--{option} {text!r} must be a pattern and a number: 'backbone.*=1e-5'") from None


def _listed() -> str:
    from kinema import recipes

    found = [recipes.get(name) for name in recipes.RECIPES]
    return table([(r.name, r.summary, r.data_command) for r in found], ("recipe", "what", "data"))
