"""What decides a run's result, apart from the machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kinema.bench.benchmark import Factory
from kinema.bench.identity import made_by, without_places
from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What decides the result, except the machine. `episodes` is per task; no `tasks` means all of them.

    first:        the index of a task's first episode: its start state, where they are numbered
    play:         builds what plays an episode in place of `play_episode`
    seed_rule:    where the seed comes from, in words
    retry_errors: play again what was an error when the run was last stopped
    """

    benchmark: Factory
    policy: Factory
    episodes: int = 10
    first: int = 0
    seed: int = 0
    seed_rule: str = "given"
    replan_steps: int = 8
    tasks: tuple[str, ...] = ()
    play: Factory | None = None
    episode_limit_s: float = 900.0  # wall time after which a hanging episode becomes an error
    retry_errors: bool = False

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise KinemaError(f"episodes must be at least 1; got {self.episodes}")
        if self.first < 0:
            raise KinemaError(f"the first episode's index must be at least 0; got {self.first}")

    @property
    def indices(self) -> range:
        """Of a task's episodes."""
        return range(self.first, self.first + self.episodes)

    def identity(self) -> dict[str, Any]:
        """The part that two halves of one run must share; `indices` and `tasks` may grow.

        Artifacts stand in it by their content: where they lie does not matter, what they hold does.
        """
        settings = {
            "benchmark": without_places(asdict(self.benchmark)),
            "policy": without_places(asdict(self.policy)),
            "seed": self.seed,
            "replan_steps": self.replan_steps,
            "made_by": self.made_by(),
        }
        return settings | ({"play": without_places(asdict(self.play))} if self.play else {})

    def made_by(self) -> dict[str, dict[str, str]]:
        """Digests of the files that make the number, as they are on the disk now."""
        return made_by(benchmark=self.benchmark, policy=self.policy, play=self.play)
