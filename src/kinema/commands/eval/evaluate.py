"""`kinema eval`: judge a policy on a benchmark: counts, intervals, errors apart from failures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands import loading, long_tasks, policies
from kinema.commands.eval import latency
from kinema.commands.eval.baselines import BASELINES, conclude, judge_baselines
from kinema.commands.eval.judged import SEED_HELP, Sitting, play, rates_table, seed_line
from kinema.commands.eval.played import PLAYED, Told
from kinema.commands.rendering import require_rendering
from kinema.commands.terminal import RAY_HELP, choose, examples, given, refuse_unheeded, table, words
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.bench.results import Results

HEEDED = {  # of the options that not every benchmark heeds
    **{name: benchmark.heeds for name, benchmark in PLAYED.items()},
    "safety": ("robots", "retry_errors"),
    "world": ("tasks", "robots", "workers", "retry_errors", "ray"),
    "planning": ("robots", "workers", "retry_errors", "replan", "imagines", "ray"),
    "long": (
        "tasks", "robots", "workers", "retry_errors", "replan", "ray", "planner", "planner_model",
    ),
    "scene2robot": ("tasks", "robots", "workers", "retry_errors", "ray"),
    "openloop": ("data", "robots"),
    "questions": ("data", "robots", "tasks", "variation"),
}  # fmt: skip
BENCHMARKS = tuple(HEEDED)
EXAMPLES = examples(
    "kinema eval tabletop --episodes 10 --workers 2 --out out/tabletop",
    "kinema eval tabletop --robots panda --variation seen,background --episodes 10 --out out/background",
    "kinema eval tabletop --suites dynamic --robots panda --baseline --episodes 10 --out out/dynamic",
    "kinema eval safety --episodes 4 --out out/safety",
    "kinema eval world --episodes 20 --out out/world",
    "kinema eval long --episodes 10 --workers 2 --out out/long",
    "kinema eval scene2robot --robots iiwa14,ur5e --episodes 4 --out out/scene2robot",
    "kinema eval latency --episodes 20 --workers 2 --out out/latency",
    "kinema eval openloop --policy runs/mine/artifact --data data/mine --out out/openloop",
    "kinema eval questions --policy runs/nano_ask/artifact --episodes 5 --out out/questions",
    "kinema eval metaworld --policy expert --episodes 1 --tasks reach-v3,push-v3 --out out/mt",
    "kinema eval libero --policy random --suites spatial --tasks spatial/0 --episodes 1 --out out/libero",
    "kinema eval aloha --policy expert --suites gym --episodes 2 --out out/aloha",
    "kinema eval simpler --policy random --tasks stack_cube --episodes 24 --out out/simpler",
    "kinema eval navigation --policy expert --suites instruction --episodes 4 --out out/navigation",
    "kinema eval tabletop --baseline --robots panda,ur5e --episodes 10 --out out/sound",
)


def evaluate(
    ctx: typer.Context,
    benchmark: Annotated[str, typer.Argument(help=f"Which benchmark: {' or '.join(BENCHMARKS)}.")],
    policy: Annotated[str, typer.Option(help=policies.HELP)] = policies.DEFAULT,
    episodes: Annotated[int, typer.Option(help="Episodes per task.", min=1)] = 10,
    first: Annotated[
        int,
        typer.Option(
            help="A task's first episode: where start states are numbered, the first of them.", min=0
        ),
    ] = 0,
    seed: Annotated[str, typer.Option(help=SEED_HELP)] = "fresh",
    workers: Annotated[int, typer.Option(help="Processes. The result does not depend on it.", min=1)] = 1,
    ray: Annotated[str | None, typer.Option(help=RAY_HELP)] = None,
    tasks: Annotated[str, typer.Option(help="Only these tasks, with commas between. Default: all.")] = "",
    suites: Annotated[
        str,
        typer.Option(
            help="libero: spatial, object, goal, 10, 90, with commas; default: all but 90. aloha: gym, act. "
            "robotwin: clean, randomized. navigation: instruction, search, follow. tabletop: static (the "
            "default), dynamic."
        ),
    ] = "",
    look: Annotated[
        str,
        typer.Option(
            help="libero, aloha: pictures as `shipped`, `reduced` (meshes within 1 mm), or `plain` (no "
            "reflections, rough edges)."
        ),
    ] = "shipped",
    assets: Annotated[
        str,
        typer.Option(
            help="simpler: the folder of ManiSkill's downloads. navigation: one of houses in ProcTHOR's "
            "JSON. Default: its own."
        ),
    ] = "",
    variation: Annotated[
        str,
        typer.Option(
            help="tabletop, navigation: seen, a held-out axis, axes joined by +, all, and the same after "
            "wide+ (tabletop); libero: "
            "seen, position, object, "
            "language, task (LIBERO-PRO's), plus-camera, plus-robot, plus-language, plus-noise, plus-light, "
            "plus-background, plus-layout (LIBERO-Plus's); several with commas."
        ),
    ] = "seen",
    robots: Annotated[
        str,
        typer.Option(
            help="tabletop, world, navigation: bodies, with commas. Default: those it was trained on."
        ),
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="metaworld: `kinema`, or `lerobot` for its sentences and pictures.")
    ] = "kinema",
    replan: Annotated[
        int | None, typer.Option(help="Steps of a chunk played before the next. Default: 4, 5 or 8.", min=1)
    ] = None,
    world: Annotated[
        str,
        typer.Option(
            help="tabletop: `true`, or `imagined`: judged inside a world model; five policies or more with "
            "commas between are ranked against the truth."
        ),
    ] = "true",
    imagines: Annotated[
        str, typer.Option(help="Whose imagination: `shipped`, a world artifact's folder, `oracle`.")
    ] = "shipped",
    planner: Annotated[str, typer.Option(help="long: " + long_tasks.PLANNER_HELP)] = long_tasks.BUILT_IN,
    planner_model: Annotated[str | None, typer.Option(help="long: " + long_tasks.MODEL_HELP)] = None,
    baseline: Annotated[
        bool,
        typer.Option(
            help="Play `random`, `hold` and `expert`, and say whether the benchmark can be believed; with "
            "--policy beside it, in the same scenes."
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="openloop: a data set or the address of one, judged on the episodes that the policy did not "
            "learn from. questions: a LLaVA-style JSON file. navigation: a file of episodes as R2R-CE has "
            "them, beside its houses."
        ),
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option(help="When a run goes on: play again what was an error.")
    ] = False,
    device: loading.Device = "cpu",
    dtype: loading.Dtype = "fp32",
    quantise: loading.Quantise = None,
    compile: loading.Compile = False,
    out: Annotated[Path, typer.Option(help="Folder of the results; a stopped run goes on there.")] = Path(
        "out/eval"
    ),
) -> None:
    """Play episodes of a benchmark, then write results.json and a report with films.

    Exits with 1 when an episode was an error; its rate then counts errors as failures.
    """
    from kinema.bench.benchmark import Factory
    from kinema.bench.seeds import seed_of
    from kinema.bench.settings import RunSettings

    sitting = Sitting(
        out=out, episodes=episodes, seed=seed, workers=workers, ray=ray, retry_errors=retry_errors,
        baseline=baseline,
    )  # fmt: skip
    choose("benchmark", benchmark, BENCHMARKS)
    refuse_unheeded(ctx, benchmark, HEEDED)
    choose("world", world, ("true", "imagined"))
    if world == "true" and benchmark == "tabletop":
        refuse_unheeded(ctx, "the true world", {"the true world": (), "--world imagined": ("imagines",)})
    alone = baseline and not given(ctx, "policy")
    policy = BASELINES[0] if alone else policy
    held = loading.loading_of(device, dtype, quantise, compile)
    bodies = policies.bodies_in(robots)
    if benchmark == "openloop":
        from kinema.commands.eval.openloop import judge_openloop

        judge_openloop(policy, data, bodies=bodies, sitting=sitting)
        return
    if benchmark != "questions" or data is None:
        require_rendering()
    if benchmark == "questions":
        from kinema.commands.eval.questions import judge_questions

        judge_questions(
            policy, data, bodies=bodies, families=words(tasks), variation=variation, sitting=sitting
        )
        return
    if benchmark == "safety":
        _safety(policy, bodies, sitting)
        return
    if benchmark == "world":
        from kinema.commands.eval.eval_world import evaluate_world

        evaluate_world(policy, bodies=bodies, tasks=words(tasks), sitting=sitting)
        return
    if benchmark == "scene2robot":
        from kinema.commands.eval.eval_scene2robot import evaluate_scene2robot

        evaluate_scene2robot(policy, bodies=bodies, families=words(tasks), sitting=sitting)
        return
    at_tabletop = replan or PLAYED["tabletop"].replan_steps
    if benchmark == "planning":
        from kinema.commands.eval.plan import evaluate_planning

        evaluate_planning(policy, imagines, bodies=bodies, replan=at_tabletop, sitting=sitting)
        return
    if benchmark == "long":
        from kinema.commands.eval.long import evaluate_long

        evaluate_long(
            policy, planner, planner_model, bodies=bodies, tasks=words(tasks), replan=at_tabletop,
            sitting=sitting,
        )  # fmt: skip
        return
    if world == "imagined":
        from kinema.commands.eval.rank import RankSettings, judge_imagined

        if held is not None:
            raise KinemaError("what is ranked is loaded as it is; leave out --device, --dtype, --quantise")
        if baseline:
            raise KinemaError("what is imagined is compared with the truth; leave out --baseline")
        if variation != "seen":
            raise KinemaError("only the seen tabletop can be imagined; leave out --variation")
        if suites:
            raise KinemaError("only the static tabletop can be imagined; leave out --suites")
        ranked = RankSettings(
            policies=words(policy), imagines=imagines, reader="shipped", bodies=bodies,
            tasks=words(tasks), replan=at_tabletop, sitting=sitting,
        )  # fmt: skip
        judge_imagined(ranked)
        return
    told = Told(
        policy=policy, episodes=episodes, first=first, bodies=bodies, suites=words(suites),
        variations=words(variation), look=look, protocol=protocol, assets=assets or None, data=data,
    )  # fmt: skip
    judged = PLAYED[benchmark].judged(told)
    factory = policies.policy_factory(
        policy, judged.bodies, steady=judged.steady, server=judged.server, loading=held
    )
    drawn = seed_of(seed, [policies.policy_factory(name) for name in BASELINES] if alone else [factory])
    settings = RunSettings(
        benchmark=judged.benchmark,
        policy=factory,
        episodes=episodes,
        first=first,
        seed=drawn.value,
        seed_rule=drawn.rule,
        replan_steps=replan or PLAYED[benchmark].replan_steps,
        tasks=words(tasks),
        play=Factory(target=judged.player, arguments={"seed": drawn.value}) if judged.player else None,
    )
    if alone:
        judge_baselines(settings, sitting)
        return
    results = play(settings, sitting)
    print(latency.summary(out) if benchmark == "latency" else summary(results))
    found = {name for group in results.groups.values() for name in group["measures"]}
    if measured := [name for name in PLAYED[benchmark].measured if name in found]:
        print(measures_table(results, measured))
    print(f"results: {out / 'results.json'}")
    print(f"report:  {out / 'report.html'}")
    conclude(out, results.baselines, results)


def _safety(policy: str, bodies: Sequence[str], sitting: Sitting) -> None:
    """The shipped gate before an artifact: judged chunks, and episodes with it and without."""
    from kinema.commands.data.make_hazards import BODIES
    from kinema.commands.eval.safety import SafetySettings, judge_safety

    gate = policies.gate_folder()
    if gate is None:
        raise KinemaError("no gate is shipped here; train one with: kinema train nano_gate")
    settings = SafetySettings(
        gate=gate, policy=policies.policy_factory(policy, tuple(bodies) or BODIES),
        sitting=sitting, bodies=tuple(bodies) or BODIES,
    )  # fmt: skip
    judge_safety(settings)


def summary(results: Results) -> str:
    """Groups, all episodes, means and baselines, for the terminal. Errors count as failures."""
    rows = [((str(count["kind"]), name), count) for name, count in results.groups.items()]
    rows.append((("", "all episodes"), results.overall))
    rows += [(("", f"{name} (baseline)"), told["overall"]) for name, told in results.baselines.items()]
    lines = [rates_table(rows, ("by", "group"))]
    for what, mean, ends in (
        ("groups", results.mean_of_groups, results.mean_of_groups_ci95),
        ("tasks", results.mean_of_tasks, results.mean_of_tasks_ci95),
    ):
        if mean is not None and ends is not None:
            lines.append(f"mean of {what} {mean:.1%} (95 % interval {ends[0]:.1%} to {ends[1]:.1%})")
    lines.append(seed_line(results))
    return "\n".join(lines)


def measures_table(results: Results, names: Sequence[str]) -> str:
    """The means of these measures by group."""
    counts = {name: (count["kind"], count["measures"]) for name, count in results.groups.items()}
    rows = [
        (kind, group, *(f"{found[name]:.3f}" if name in found else "-" for name in names))
        for group, (kind, found) in counts.items()
    ]
    return table(rows, ("by", "group", *names))
