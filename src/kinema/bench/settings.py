"""What decides a run's result, apart from the machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kinema.bench.benchmark import Factory
from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What decides the result, except the machine. `episodes` is per task; no `tasks` means all of them.

    play: builds what plays an episode in place of `play_episode`
    """

    benchmark: Factory
    policy: Factory
    episodes: int = 10
    seed: int = 0
    replan_steps: int = 8
    tasks: tuple[str, ...] = ()
    play: Factory | None = None
    episode_limit_s: float = 900.0  # wall time after which a hanging episode becomes an error

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise KinemaError(f"episodes must be at least 1; got {self.episodes}")

    def identity(self) -> dict[str, Any]:
        """The part that two halves of one run must share; `episodes` and `tasks` may grow."""
        settings = {
            "benchmark": asdict(self.benchmark),
            "policy": asdict(self.policy),
            "seed": self.seed,
            "replan_steps": self.replan_steps,
        }
        return settings | ({"play": asdict(self.play)} if self.play else {})
