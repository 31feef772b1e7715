"""Our worlds as gymnasium environments: `import kinema.worlds.gym`, then `make("kinema/PickPlace-panda-v0")`.

One id for every family that a shipped body's expert solves, every goal of the road and every errand in a
house. Observations and actions are the card's own: pictures uint8, state and action float32 in its units and
order. The reward is 1 at the step at which the goal is reached, which ends the episode, and 0 before.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import card_names, load_card, vehicle_names
from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.schema import KinemaError
from kinema.worlds.house.env import HouseEnv
from kinema.worlds.house.errands import ERRANDS
from kinema.worlds.road.env import RoadEnv
from kinema.worlds.road.goals import GOALS
from kinema.worlds.tabletop.env import TabletopEnv, families_for
from kinema.worlds.variation import Variation

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise KinemaError(
        f"gymnasium is not installed ({error}); install it with: pip install 'kinema[gym]'"
    ) from error


class WorldEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """One task of one body.

    body:       name of a card, or the file of one's own
    task:       a family of the tabletop; of a body that drives a goal of the road, of a base an errand
    variation:  what is drawn differently from what policies were trained on, as `kinema eval --variation`
    image_size: pixels of a square picture

    Observations: `pictures` by camera, `state`, `instruction`. `info` has `success` and the task's measures.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium reads it of the class)

    def __init__(
        self,
        body: str,
        task: str,
        variation: str = "seen",
        image_size: int = 96,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise KinemaError(f"render_mode must be rgb_array or None, got {render_mode!r}")
        card = load_card(body)
        self.render_mode = render_mode
        self._world = _world(card, task, Variation.named(variation), image_size)
        self.metadata = {**type(self).metadata, "render_fps": card.control_hz}
        self._steps = 0
        picture = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        text = spaces.Text(MAX_INSTRUCTION_CHARS, charset=string.printable)
        self.observation_space = spaces.Dict(
            pictures=spaces.Dict({name: picture for name in card.camera_names}),
            state=spaces.Box(-np.inf, np.inf, (len(card.states),), np.float32),
            instruction=text,
        )
        low, high = np.array([channel.range for channel in card.actions], np.float32).T
        self.action_space = spaces.Box(low, high, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw scene and sentence: from the seed where one is given, else from the last one's generator."""
        super().reset(seed=seed)
        self._steps = 0
        self._world.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self._seen(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One control period. Raises KinemaError for an action of another length or that is not finite."""
        self._world.step(np.asarray(action, np.float64))
        self._steps += 1
        done = self._world.success()
        late = self._steps >= self._world.max_steps
        return self._seen(), float(done), done, late and not done, self._info()

    def render(self) -> np.ndarray | None:
        """The first camera's picture."""
        return None if self.render_mode is None else next(iter(self._world.observe().images.values()))

    def close(self) -> None:
        """Free the graphics context."""
        self._world.close()

    def _seen(self) -> dict[str, Any]:
        found = self._world.observe()
        state = np.asarray(found.state, np.float32)
        return {"pictures": dict(found.images), "state": state, "instruction": found.instruction}

    def _info(self) -> dict[str, Any]:
        return {"success": self._world.success(), **self._world.measures()}


def _world(
    card: EmbodimentCard, task: str, variation: Variation, image_size: int
) -> TabletopEnv | RoadEnv | HouseEnv:
    if card.control == "waypoints":
        return HouseEnv(errand=task, card=card, variation=variation, image_size=image_size)
    if card.control == "drive":
        return RoadEnv(goal=task, card=card, variation=variation, image_size=image_size)
    return TabletopEnv(card=card, family=task, variation=variation, image_size=image_size)


_TASKS = {"drive": GOALS, "waypoints": ERRANDS}


def ids() -> Iterator[tuple[str, str, str]]:
    """(id, body, task) of every shipped world: `kinema/PickPlace-panda-v0` and its like."""
    for body in (*card_names(), *vehicle_names()):
        card = load_card(body)
        for task in _TASKS[card.control] if card.control in _TASKS else families_for(card):
            yield f"kinema/{task.title().replace('_', '')}-{body}-v0", body, task


def _register() -> None:
    for name, body, task in ids():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=f"{__name__}:WorldEnv", kwargs={"body": body, "task": task})


_register()
