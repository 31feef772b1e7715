"""Our houses for the runner: every errand with every base that takes waypoints, judged as VLN-CE judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kinema.bench.benchmark import Environment, TaskSpec
from kinema.bench.gl import prefer_egl
from kinema.bench.navigation.episodes import on_the_floor, read_episodes
from kinema.bench.navigation.metrics import Walk, metrics
from kinema.card.load import load_card, vehicle_names
from kinema.schema import KinemaError
from kinema.worlds.variation import Variation

if TYPE_CHECKING:
    from kinema.worlds.house.house import House

IMAGE_SIZE_PX = 96


def bases() -> tuple[str, ...]:
    """The shipped bases that take waypoints."""
    return tuple(name for name in vehicle_names() if load_card(name).control == "waypoints")


class NavigationBenchmark:
    """Tasks are "errand/body", or "errand/body/variation" when several variations are asked for.

    Houses are those of the episodes' seeds, which no training has.
    bodies, errands: all of them when empty
    variations:      seen, or of color, background and instruction (`kinema.worlds.variation`)
    houses:          a folder of houses in ProcTHOR's JSON to play in, by turns of the seed
    episodes:        a file of R2R-CE's kind whose instructions are played, in the order of the file
    """

    name = "navigation"

    def __init__(
        self,
        bodies: Iterable[str] = (),
        errands: Iterable[str] = (),
        variations: Iterable[str] = ("seen",),
        image_size: int = IMAGE_SIZE_PX,
        houses: str | None = None,
        episodes: str | None = None,
    ) -> None:
        prefer_egl()
        from kinema.worlds.house.errands import ERRANDS

        self._cards = {name: load_card(name) for name in tuple(bodies) or bases()}
        self._variations = {name: Variation.named(name) for name in variations}
        self._image_size = image_size
        self._houses = _houses_in(Path(houses)) if houses else {}
        self._episodes = Path(episodes) if episodes else None
        errands = ("instruction",) if episodes else tuple(errands) or ERRANDS
        self._places = {
            f"{errand}/{body}" + (f"/{variation}" if len(self._variations) > 1 else ""): (
                errand, body, variation,
            )
            for errand in errands
            for body in self._cards
            for variation in self._variations
        }  # fmt: skip

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(
                name=name,
                card=body,
                control_hz=self._cards[body].control_hz,
                groups={"errand": errand, "body": body, "variation": variation},
                expert=True,
            )
            for name, (errand, body, variation) in self._places.items()
        )

    def make(self, task: str) -> Environment:
        """The task's environment, with the way's shortest path as `expert_action()`."""
        from kinema.worlds.house.env import HouseEnv

        errand, body, variation = self._places[task]
        env = HouseEnv(
            errand=errand, card=self._cards[body], variation=self._variations[variation],
            image_size=self._image_size, houses=tuple(house for house, _ in self._houses.values()),
        )  # fmt: skip
        if self._episodes:
            return _Listed(env, self._episodes)
        return _Followed(env) if errand == "follow" else _Judged(env)

    def provenance(self) -> dict[str, Any]:
        return {
            "protocol": "stopped, by standing still for a second, less than 3 m on foot from the goal (1 m "
            "from a thing that is searched); VLN-CE's metrics; who follows is judged at the end",
            "variations": list(self._variations),
            "episodes": self._episodes.name if self._episodes else "by seed",
            "houses": {name: {"left_out": left} for name, (_, left) in self._houses.items()} or "by seed",
            "rendering": {
                "size_px": self._image_size,
                "shadows": False,
                "reflections": False,
                "skybox": False,
            },
        }


def _houses_in(folder: Path) -> dict[str, tuple[House, tuple[str, ...]]]:
    """The houses of a folder by their files' names, each with the things that could not be drawn."""
    from kinema.worlds.house.procthor import read_house

    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise KinemaError(f"{folder} has no houses: no .json in it")
    return {path.name: read_house(path) for path in paths}


class _Judged:
    """A house's environment with the expert of its errand, which shows the way before each episode."""

    def __init__(self, environment: Any) -> None:
        from kinema.worlds.house.expert import HouseExpert

        self._environment = environment
        self._expert = HouseExpert(environment)

    def expert_action(self) -> np.ndarray:
        return self._expert.act()

    def reset(self, seed: int) -> None:
        """Raises KinemaError for a house in which there is no way."""
        self._environment.reset(seed)
        self._truth = self._shown_way()

    def _shown_way(self) -> np.ndarray:
        """Where the expert goes (M, 2) in this episode, which then begins anew."""
        env = self._environment
        while env.steps < env.max_steps and not env.success():
            env.step(self._expert.act())
        shown: np.ndarray = env.positions
        env.restart()
        return shown

    def over(self) -> bool:
        return bool(self._environment.over())

    def measures(self) -> Mapping[str, float]:
        from kinema.worlds.house.errands import SUCCESS_M

        env = self._environment
        walk = Walk(
            places=env.positions, distances_m=env.distances_m, truth=self._truth, stop_called=env.stopped,
            success_m=SUCCESS_M[env.family],
        )  # fmt: skip
        return metrics(walk) | {"bumps": float(env.bumps)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


class _Listed(_Judged):
    """The episodes of a file, in the houses that it names."""

    def __init__(self, environment: Any, path: Path) -> None:
        super().__init__(environment)
        self._path, self._episodes = path, read_episodes(path)

    def reset_to(self, index: int, seed: int) -> None:
        """Raises KinemaError for an episode that is not there, or that cannot be played here."""
        from kinema.bench.navigation.own_episodes import errand_of, house_of

        if index >= len(self._episodes):
            raise KinemaError(f"{self._path} has {len(self._episodes)} episodes; got number {index}")
        episode = self._episodes[index]
        house = house_of(episode, self._path.parent)
        self._environment.begin(house, errand_of(episode, house), np.random.default_rng([seed, index]))
        if episode.truth:
            self._truth = on_the_floor(episode.truth.locations)
        else:
            self._truth = self._shown_way()


class _Followed(_Judged):
    """Whoever follows is judged by the whole walk: by how much of it they kept up, and by its end."""

    judged_at_the_end: Literal[True] = True

    def measures(self) -> Mapping[str, float]:
        env = self._environment
        return {"kept_up": float(np.mean(env.kept_up or [False])), "bumps": float(env.bumps)}
