"""`kinema run`: one sentence, one scene, one policy; a film and a report of what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands import loading, long_tasks, policies
from kinema.commands.rendering import require_rendering
from kinema.commands.stopping import Stopping
from kinema.commands.terminal import examples, writable
from kinema.schema import KinemaError, Result

if TYPE_CHECKING:
    import numpy as np

    from kinema.bench.benchmark import Factory
    from kinema.commands.closed_loop import Film, Session
    from kinema.runtime.report import RunTrace

EXAMPLES = examples(
    'kinema run "put the red block in the blue bowl"',
    'kinema run "stack the green block on the yellow block" --robot ur5e --seed 3 --out out/stack',
    'kinema run "put the red block in the blue bowl" --policy expert --scene background',
    'kinema run "tidy up the table" --planner built-in --out out/tidy',
    'kinema run "first press the red button, then put the green block in the blue bowl, finally press the '
    'red button" --out out/long',
)


def run(
    instruction: Annotated[str, typer.Argument(help="What the robot should do, in English.")],
    robot: Annotated[
        str | None,
        typer.Option(
            help="The body: a shipped card, or the path of one. Default: panda, or aloha for two arms."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the scene and the policy's noise.", min=0)] = 0,
    scene: Annotated[
        str,
        typer.Option(help="How the scene looks: seen, all, held-out axes joined by +; wide, or wide+ these."),
    ] = "seen",
    policy: Annotated[str, typer.Option(help=policies.HELP)] = policies.DEFAULT,
    replan: Annotated[int, typer.Option(help="Steps of a chunk that are played before the next.", min=1)] = 4,
    planner: Annotated[
        str | None,
        typer.Option(
            help=f"{long_tasks.PLANNER_HELP} Default: built-in for a sentence of several steps, else none."
        ),
    ] = None,
    planner_model: Annotated[str | None, typer.Option(help=long_tasks.MODEL_HELP)] = None,
    gate: Annotated[
        bool, typer.Option(help="Ask the shipped gate before every chunk; what it refuses is not played.")
    ] = True,
    device: loading.Device = "cpu",
    dtype: loading.Dtype = "fp32",
    quantise: loading.Quantise = None,
    compile: loading.Compile = False,
    film_effects: Annotated[
        bool,
        typer.Option(
            "--film-effects",
            help="Film with shadows, soft edges and the body's meshes, where its card names some. The policy "
            "sees none of it; what the world model imagines beside a film is left out.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the film, the recording and the report.")] = Path(
        "out/run"
    ),
) -> None:
    """Build a scene from a sentence, let the policy act in it, write a film, a recording and a report."""
    require_rendering()
    from kinema.bench.video import write_video
    from kinema.commands.closed_loop import play, prepare
    from kinema.runtime.report import write_report
    from kinema.runtime.rerun_file import write_rerun
    from kinema.worlds.cameras import FILM, PLAIN

    plans = _planner(instruction, planner, planner_model)
    session = prepare(
        instruction, robot=robot, scene=scene, seed=seed, policy_name=policy, gate=gate, planner=plans,
        loading=loading.loading_of(device, dtype, quantise, compile), effects=FILM if film_effects else PLAIN,
    )  # fmt: skip
    writable(out)
    print(f"prompt: {session.prompt}")
    with Stopping() as stopping:
        film = play(session, replan_steps=replan)
        trace = film.trace
        if not len(trace.actions):
            raise typer.Exit(stopping.exit_code)  # before the first step: there is nothing to write
        pictures, trace = _with_imagined(film, session)
        write_video(out / "run.mp4", pictures, session.card.control_hz)
        write_report(out / "report.html", trace, out / "run.mp4")
        write_rerun(out / "run.rrd", trace, film.frames)
        for line in _told(trace):
            print(line)
        print(f"{trace.outcome.result.value}: {trace.outcome.cause}")
        if trace.verdicts:
            refused = sum(not verdict.allowed for _, verdict in trace.verdicts)
            print(f"gate:   {len(trace.verdicts)} verdicts, {refused} refusals")
        for what, name in (("video", "run.mp4"), ("report", "report.html"), ("rerun", "run.rrd")):
            print(f"{what + ':':8}{out / name}")
        if film.interrupted:
            raise typer.Exit(stopping.exit_code)
        if trace.outcome.result is Result.ERROR:
            raise typer.Exit(1)


def _told(trace: RunTrace) -> Iterator[str]:
    """What was tried, a line each."""
    for one in trace.long.tried if trace.long else ():
        print_as = "done" if one.done else "not done"
        yield f"{one.began_s:6.1f} s  {one.said}: {print_as}, try {one.number}, check {one.chance or 0.0:.2f}"


def _planner(instruction: str, planner: str | None, model: str | None) -> Factory | None:
    """Who makes steps of the sentence: as told; else the built-in one, where one step does not do."""
    from kinema.worlds.tabletop.long.words import is_long

    if planner is None and model:
        raise KinemaError(f"a planner's model needs the planner's address: --planner URL; got {model!r}")
    if planner is None and not is_long(instruction):
        return None
    return long_tasks.planner_factory(planner or long_tasks.BUILT_IN, model)


def _with_imagined(film: Film, session: Session) -> tuple[np.ndarray, RunTrace]:
    """The run's pictures and trace, with what the shipped world model imagined below, where there is one and
    the film shows what it knows."""
    from kinema.commands.imagine.beside import imagined_along, shipped_world, stacked

    pictures, trace = film.side_by_side(), film.trace
    if shipped_world() is None or session.effects.meshes or session.task:
        return pictures, trace
    from kinema.commands.eval.eval_world import imagines_factory

    imagines = imagines_factory("shipped").build()
    sentence = session.request.text
    imagined = imagined_along(imagines, film.frames, sentence, session.card, seed=session.seed)
    if imagined is None:
        return pictures, trace
    facts = {**trace.facts, "film": "above what happened, below what the world model imagined beforehand"}
    return stacked(pictures, imagined), replace(trace, facts=facts)
