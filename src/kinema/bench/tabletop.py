"""The project's own tabletop world for the runner: every family on every body, seen or varied."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from kinema.bench.benchmark import TaskSpec
from kinema.bench.gl import prefer_egl
from kinema.card.load import card_names, load_card
from kinema.schema import KinemaError

IMAGE_SIZE_PX = 96


class TabletopBenchmark:
    """Tasks are "body/family", or "body/family/variation" when several variations are asked for.

    bodies, families: all of them when empty; a family counts for the bodies whose expert solves it. Those of
                      moving things (`DYNAMIC` of the world) are there only where they are named
    variations:       names that `kinema.worlds.variation` knows: seen, one of the axes, all
    """

    name = "tabletop"

    def __init__(
        self,
        bodies: Iterable[str] = (),
        families: Iterable[str] = (),
        variations: Iterable[str] = ("seen",),
        image_size: int = IMAGE_SIZE_PX,
    ) -> None:
        prefer_egl()
        env, variation_of = _world("tabletop.env"), _world("variation").Variation.named
        self._variations = {name: variation_of(name) for name in variations}
        self._image_size = image_size
        self._cards = {card.name: card for card in map(load_card, tuple(bodies) or card_names())}
        wanted = tuple(families) or env.FAMILIES
        self._places: dict[str, tuple[str, str, str]] = {}
        for body, card in self._cards.items():
            if card.control == "metaworld":
                continue
            for family in env.playable(card):
                for variation in self._variations if family in wanted else ():
                    name = f"{body}/{family}" + (f"/{variation}" if len(self._variations) > 1 else "")
                    self._places[name] = (body, family, variation)
        if not self._places:
            raise KinemaError(
                f"no tabletop task for bodies {list(self._cards)} and families {list(wanted)}; "
                f"families: {', '.join((*env.FAMILIES, *env.DYNAMIC))}"
            )

    def tasks(self) -> tuple[TaskSpec, ...]:
        return tuple(
            TaskSpec(
                name=name,
                card=body,
                control_hz=self._cards[body].control_hz,
                groups={"body": body, "family": family, "variation": variation},
                expert=True,
            )
            for name, (body, family, variation) in self._places.items()
        )

    def make(self, task: str) -> Any:
        """The task's environment, with the world's expert as `expert_action()`."""
        body, family, variation = self._places[task]
        environment = _world("tabletop.env").TabletopEnv(
            card=self._cards[body],
            family=family,
            variation=self._variations[variation],
            image_size=self._image_size,
        )
        return _WithExpert(environment)

    def provenance(self) -> dict[str, Any]:
        wide = any(variation.is_wide for variation in self._variations.values())
        drawn = _world("tabletop.things.metaworld").told() if wide else {}
        return {
            "protocol": "an episode ends at its first success or at the family's step limit",
            "variations": list(self._variations),
            "rendering": {
                "size_px": self._image_size,
                "shadows": False,
                "reflections": False,
                "skybox": False,
                **drawn,
            },
        }


class _WithExpert:
    """A tabletop environment that also says what its expert would do."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._expert = _world("tabletop.experts.expert").Expert(environment)

    def expert_action(self) -> np.ndarray:
        return self._expert.act()

    def over(self) -> bool:
        return bool(self._environment.over())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


def _world(module: str) -> ModuleType:
    try:
        return import_module(f"kinema.worlds.{module}")
    except ImportError as error:
        if (error.name or "").startswith("kinema"):
            raise  # a fault of ours is no missing package
        raise KinemaError(
            f"the tabletop world cannot be loaded ({error}); install it with: pip install 'kinema[tabletop]'"
        ) from error
