"""`kinema eval scene2robot`: how true the films are in which a robot takes a person's place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kinema.commands.eval.judged import Sitting, finish, headline, play
from kinema.commands.imagine.compose import scene2robot_folder
from kinema.commands.terminal import choose, table

_PRINTED = (
    "made.tool_px", "made.tool_mm", "depth.tool_px", "empty.tool_px", "made.psnr_db", "made.ssim",
    "made.robot_psnr_db", "ceiling.robot_psnr_db", "depth.robot_psnr_db", "empty.robot_psnr_db",
)  # fmt: skip


def evaluate_scene2robot(
    model: str, *, bodies: Sequence[str], families: Sequence[str], sitting: Sitting
) -> None:
    """Judge a model (shipped or a folder) on held-out scenes; write results, measures and a report.

    Exits with 1 when a scene crashed.
    """
    from kinema.bench.benchmark import Factory
    from kinema.bench.journal import read_records
    from kinema.bench.seeds import seed_of
    from kinema.bench.settings import RunSettings
    from kinema.bench.world.scene2robot import measures_table
    from kinema.commands.data.make_human import staged_robots
    from kinema.model.stored import read_json
    from kinema.model.world.scene2robot import ABOUT
    from kinema.worlds.hand.stage import FAMILIES

    for family in families:
        choose("family of the hand", family, FAMILIES)
    folder, out = scene2robot_folder(model), sitting.out
    paired = list(read_json(folder / ABOUT, "scene-to-robot model")["provenance"]["clips"])
    judged = {"bodies": list(bodies or staged_robots()), "paired": paired, "families": list(families)}
    composes = Factory(target="kinema.commands.imagine.compose:trained", arguments={"folder": str(folder)})
    drawn = seed_of(sitting.seed, [composes])
    settings = RunSettings(
        benchmark=Factory(target="kinema.bench.world.scene2robot:StageBenchmark", arguments=judged),
        policy=composes,
        play=Factory(target="kinema.bench.world.scene2robot:StagePlayer", arguments={"seed": drawn.value}),
        episodes=sitting.episodes,
        seed=drawn.value,
        seed_rule=drawn.rule,
    )
    results = play(settings, sitting)
    records = [r for r in read_records(out) if r.task in results.tasks and r.index < sitting.episodes]
    numbers = measures_table(records, paired)
    (out / "scene2robot.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(summary(numbers))
    print(headline(results, "films have the tool within a pixel"))
    print(f"measures: {out / 'scene2robot.json'}")
    print(f"report:   {out / 'report.html'}")
    finish(out, results)


def summary(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    """A few measures of every group as a table for the terminal."""
    rows = [
        (name, str(row["films"]), *(f"{row[key]['mean']:.2f}" if key in row else "-" for key in _PRINTED))
        for name, row in numbers.items()
    ]
    lines = [table(rows, ("bodies", "films", *_PRINTED))]
    if errors := sum(row["errors"] for row in numbers.values()):
        lines.append(f"{errors} scenes crashed and enter no mean of this table")
    return "\n".join(lines)
