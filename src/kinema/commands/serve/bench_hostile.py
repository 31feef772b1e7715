"""`kinema bench hostile`: a robot's answers beside one hostile client of each kind, and alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.terminal import examples, finite, table

if TYPE_CHECKING:
    from kinema.runtime.client import RemotePolicy
    from kinema.schema import Observation

EXAMPLES = examples("kinema bench hostile", "kinema bench hostile hold --seconds 3")
RATIO_LIMIT = 2.0
ASKS_HZ = 10.0  # a robot asks anew while it plays


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A robot's questions for a while: seconds of each answer, and how many had none."""

    answered_s: list[float]
    lost: int

    def quantile_ms(self, share: float) -> float:
        import numpy as np

        return 1e3 * float(np.quantile(self.answered_s, share)) if self.answered_s else float("inf")


def hostile(
    artifact: Annotated[str, typer.Argument(help="What `kinema serve` takes.")] = "shipped",
    robot: Annotated[str, typer.Option(help="The body that asks.")] = "panda",
    seconds: Annotated[
        float, typer.Option(help="How long each client attacks.", min=1.0, max=60.0, callback=finite)
    ] = 10.0,
) -> None:
    """p95 of a robot's answers beside each hostile client over p95 alone. Exit 1: above 2, or a lost answer.

    Alone is just before and just after that client. All of it stays on this machine, and the attackers run
    at its lowest priority, as they would take none of a server's processor from elsewhere.
    """
    from kinema.card.load import load_card
    from kinema.commands.serve.bench_serve import server
    from kinema.commands.serve.hostile import ATTACKS, attack
    from kinema.model.policy.made_up import observation as made_up
    from kinema.runtime.client import RemotePolicy

    observation = made_up(load_card(robot), 96)
    rows, good = [], True
    with (
        TemporaryDirectory() as folder,
        server(artifact, Path(folder), keys=("robot", "attacker")) as running,
    ):
        own, other = running.secrets
        with RemotePolicy(f"ws://{running.host}", api_key=own, timeout_s=10.0) as policy:
            _watch(policy, observation, robot, 2.0)  # warm
            before = _watch(policy, observation, robot, seconds)
            for kind in ATTACKS:
                attacker = get_context("spawn").Process(
                    target=attack, args=(kind, running.host, other, seconds + 5), daemon=True
                )
                attacker.start()
                time.sleep(2.0)  # until it is at it
                beside = _watch(policy, observation, robot, seconds)
                attacker.kill()
                attacker.join()
                time.sleep(1.0)  # until the server has cleared up
                after = _watch(policy, observation, robot, seconds)
                alone = Watched(
                    answered_s=before.answered_s + after.answered_s, lost=before.lost + after.lost
                )
                ratio = beside.quantile_ms(0.95) / alone.quantile_ms(0.95)
                lost = alone.lost + beside.lost
                good &= ratio <= RATIO_LIMIT and not lost
                quantiles = (
                    f"{seen.quantile_ms(q):.1f}" for q in (0.5, 0.95, 1.0) for seen in (alone, beside)
                )
                rows.append((kind, *quantiles, f"{ratio:.2f}", str(lost)))
                before = after
    columns = (f"{name} ms {when}" for name in ("median", "p95", "largest") for when in ("alone", "beside"))
    print(table(rows, ("beside", *columns, f"p95 / alone (bar: {RATIO_LIMIT:g})", "lost")))
    raise typer.Exit(0 if good else 1)


def _watch(policy: RemotePolicy, observation: Observation, card: str, seconds: float) -> Watched:
    """Ask at a robot's rate for so long."""
    from kinema.schema import KinemaError

    answered_s, lost, until_s = [], 0, time.monotonic() + seconds
    while (began_s := time.monotonic()) < until_s:
        try:
            policy.infer(observation, card)
            answered_s.append(time.monotonic() - began_s)
        except KinemaError:
            lost += 1
        time.sleep(max(0.0, began_s + 1 / ASKS_HZ - time.monotonic()))
    return Watched(answered_s=answered_s, lost=lost)
