"""`kinema bench ros`: the same scenes by the control loop alone and over ROS 2, and how long that takes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from kinema.commands import policies
from kinema.commands.terminal import examples, finite, table
from kinema.schema import KinemaError

EXAMPLES = examples("kinema bench ros", "kinema bench ros --robot panda --episodes 20 --out out/ros")
WAY_LIMIT_MS = 30.0
_ROWS = "rows.jsonl"


def ros(
    robot: Annotated[str, typer.Option(help="The body: ur5e or panda, or any with --topics.")] = "ur5e",
    policy: Annotated[str, typer.Option(help="An artifact's name or folder.")] = policies.DEFAULT,
    instruction: Annotated[str, typer.Option(help="The sentence.")] = "put the red block in the blue bowl",
    episodes: Annotated[int, typer.Option(help="Scenes, each played both ways.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Of the first scene; the others follow.", min=0)] = 100,
    rate: Annotated[
        float,
        typer.Option(
            help="How fast time goes beside the real one; below 1 for a busy machine, and no times are told.",
            min=0.05,
            max=1.0,
            callback=finite,
        ),
    ] = 1.0,
    topics: Annotated[Path | None, typer.Option(help="A topics file. Default: the shipped one.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a line of JSON by scene and the nodes' logs.")
    ] = None,
) -> None:
    """Success of a sentence over ROS 2 beside the control loop alone, scene by scene.

    The simulated robot, the node and a client are processes of their own, in the environment that
    scripts/setup_ros.sh makes (KINEMA_ROS names its folder). From camera to command is counted without the
    policy and without waiting for the control period.
    """
    with TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = _played(folder / _ROWS, robot, policy, instruction, range(seed, seed + episodes), topics, rate)
    _tell(rows)


def _played(
    path: Path, robot: str, policy: str, instruction: str, seeds: range, topics: Path | None, rate: float
) -> list[dict[str, Any]]:
    import json
    import subprocess

    from kinema.bench.own_environment import OwnEnvironment

    environment = OwnEnvironment(
        benchmark="ROS 2", variable="KINEMA_ROS", folder=".venv-ros", script="scripts/setup_ros.sh",
        target="kinema_ros.bench",
    )  # fmt: skip
    command = [
        str(environment.python()), "-m", environment.target, "--robot", robot, "--policy", policy,
        "--instruction", instruction, "--seeds", ",".join(map(str, seeds)), "--out", str(path.absolute()),
        "--rate", str(rate),
        *(("--topics", str(topics)) if topics else ()),
    ]  # fmt: skip
    path.unlink(missing_ok=True)
    done = subprocess.run(command, check=False)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if done.returncode or len(rows) != len(seeds):
        raise KinemaError(f"it ended after {len(rows)} of {len(seeds)} scenes; what was said is above")
    return rows


def _tell(rows: list[dict[str, Any]]) -> None:
    import numpy as np

    from kinema.bench.metrics.intervals import wilson95

    shown = []
    for what, key in (("the control loop alone", "direct"), ("over ROS 2", "ros")):
        succeeded = sum(row[key] for row in rows)
        low, high = wilson95(succeeded, len(rows))
        shown.append((what, f"{succeeded} of {len(rows)}", f"{100 * low:.1f} to {100 * high:.1f} %"))
    print(table(shown, ("success", "scenes", "95 % interval")))
    only = [sum(row[a] and not row[b] for row in rows) for a, b in (("direct", "ros"), ("ros", "direct"))]
    print(f"only the loop alone succeeded in {only[0]} scenes, only ROS in {only[1]}")
    for what, key in (
        (f"from camera to command, without the policy (limit {WAY_LIMIT_MS:g} ms)", "ways_s"),
        ("age of the pictures when they are read", "ages_s"),
    ):
        times_ms = 1e3 * np.concatenate([row[key] for row in rows])
        if len(times_ms):
            median, p95 = np.percentile(times_ms, [50, 95])
            print(f"{what}: median {median:.1f} ms, p95 {p95:.1f} ms, {len(times_ms)} steps")
