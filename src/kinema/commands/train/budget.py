"""How a stage trains, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.train.loop import LoopConfig

Asked = Literal["auto", "fp32", "bf16"]  # the precisions of `kinema.train.device`, which needs torch


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every stage heeds. resume: go on from the checkpoint in the folder."""

    steps: int | None = None
    minutes: float | None = None
    device: str = "cpu"
    precision: str = "auto"
    resume: bool = False
    threads: int = 1
    processes: int = 1

    def __post_init__(self) -> None:
        if self.precision not in get_args(Asked):
            choices = ", ".join(get_args(Asked))
            raise KinemaError(f"--precision must be one of {choices}; got {self.precision!r}")
        if self.processes > 1 and self.device != "cpu":
            raise KinemaError(
                f"--processes {self.processes} share a CPU; with --device {self.device} train in one process"
            )

    def of(self, loop: LoopConfig) -> LoopConfig:
        """A recipe's loop as it is asked for here."""
        asked = replace(loop, device=self.device, precision=cast(Asked, self.precision))
        return budgeted(asked, self.steps, self.minutes)


def budgeted(loop: LoopConfig, steps: int | None, minutes: float | None) -> LoopConfig:
    """The recipe's loop with these steps or this time instead of its own, where one is given.

    Raises KinemaError when both are: the run would end by time, and the steps would not be heeded.
    """
    if steps is not None and minutes is not None:
        raise KinemaError("--steps and --minutes are two ways to say the same thing; give one of them")
    if steps is not None:
        return replace(loop, steps=steps, budget_s=None)
    return loop if minutes is None else replace(loop, budget_s=60 * minutes)
