"""`kinema replay`: an episode of a data set, played on a body within its card's limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from kinema.commands.driver import DriverConfig, Settings, connecting, require_driver
from kinema.commands.serve.client import simulated, told_wiring
from kinema.commands.stopping import Stopping
from kinema.commands.teleop.record import Driver, RobotName, WiringFile
from kinema.commands.terminal import examples
from kinema.schema import ActionChunk, KinemaError, Observation

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard

EXAMPLES = examples(
    "kinema replay data/mine --episode 3",
    "kinema replay data/mine --robot so101 --driver lerobot:so101_follower --driver-config arm.yaml",
)
_NEAR = 0.02  # of a channel's range: what counts as having reached the first action
_APPROACH_S = 15.0


class Replay:
    """A policy that says what was recorded. It begins when the body is where the episode begins.

    actions: (T, D) native, at the card's rate
    """

    def __init__(self, card: EmbodimentCard, actions: np.ndarray) -> None:
        self._card, self._actions = card, actions
        low, high = np.array([channel.range for channel in card.actions]).T
        self._near = _NEAR * (high - low)
        slots = [channel.slot for channel in card.states]
        pairs = [
            (i, slots.index(c.slot)) for i, c in enumerate(card.actions) if c.slot in slots and card.keeps(c)
        ]
        self._commanded, self._measured = np.array(pairs, int).reshape(-1, 2).T
        self.began_s: float | None = None

    def reset(self, seed: int) -> None:
        self.began_s = None

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        now_s, hz, chunk = observation.time_s, self._card.control_hz, self._card.chunk
        times_s = now_s + (1 + np.arange(chunk)) / hz
        if self.began_s is None and self._is_there(np.asarray(observation.state, float)):
            self.began_s = now_s
        if self.began_s is None:
            return ActionChunk(values=np.tile(self._actions[0], (chunk, 1)), times_s=times_s, card=card_name)
        at = np.rint((times_s - self.began_s) * hz).astype(int) - 1
        values = self._actions[np.clip(at, 0, len(self._actions) - 1)]
        return ActionChunk(values=values, times_s=times_s, card=card_name)

    def is_over(self, now_s: float) -> bool:
        """Whether the last action was due."""
        return self.began_s is not None and (now_s - self.began_s) * self._card.control_hz > len(
            self._actions
        )

    def _is_there(self, state: np.ndarray) -> bool:
        away = np.abs(state[self._measured] - self._actions[0, self._commanded])
        arms = [self._card.actions[i].unit != "fraction" for i in self._commanded]
        return bool((away <= self._near[self._commanded])[arms].all())


def replay(
    root: Annotated[Path, typer.Argument(help="The LeRobot data set.")],
    episode: Annotated[int, typer.Option(help="Which of its episodes.", min=0)] = 0,
    robot: RobotName = "panda",
    driver: Driver = None,
    driver_config: DriverConfig = None,
    settings: Settings = None,
    wiring: WiringFile = None,
    seed: Annotated[int, typer.Option(help="Of the simulated scene.", min=0)] = 0,
) -> None:
    """Play what an episode asked for, guarded; the body first goes to where the episode begins."""
    from contextlib import ExitStack

    from kinema.card.load import load_card
    from kinema.runtime.clock import RealClock
    from kinema.runtime.inference import SimulatedInference
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.record import Log
    from kinema.runtime.robot import Body
    from kinema.runtime.strategy import strategy
    from kinema.runtime.watchdog import Mode
    from kinema.runtime.wiring import wiring_for

    card, clock = load_card(robot), RealClock()
    require_driver(driver, driver_config, settings, wiring)
    sentence, actions, states = _recorded(root, episode, card)
    with Stopping() as stopping, ExitStack() as closing:
        body_of: Any
        if driver:
            body_of = connecting(card, driver, driver_config, settings or ())
        else:
            body_of = simulated(sentence, card, seed, clock)
            closing.callback(body_of.world.close)
        wires = wiring_for(card, body_of, told_wiring(wiring, card))
        player, log = Replay(card, actions), Log()
        with Body(card, body_of, wires) as body:
            inference = SimulatedInference(player, lambda _: 0.0)
            loop = ControlLoop(body, inference, clock, strategy("synchronous", card), recorder=log)
            begun_s = clock.now_s()

            def done() -> bool:
                now_s = clock.now_s()
                lost = player.began_s is None and now_s - begun_s > _APPROACH_S
                return stopping.asked or player.is_over(now_s) or lost

            steps = len(actions) + round(_APPROACH_S * card.control_hz) + card.chunk
            with stopping.gently("stopping: the robot holds; once more breaks off"):
                mode = loop.run(sentence, max_steps=steps, done=done)
    if stopping.asked:
        raise typer.Exit(stopping.exit_code)
    if mode == Mode.STOPPED:
        print(f"the robot was stopped: {loop.reason}")
        raise typer.Exit(1)
    if player.began_s is None:
        raise KinemaError(
            f"{card.name} did not come to where episode {episode} begins within {_APPROACH_S:g} s; bring it "
            "nearer, out of the way of what is between"
        )
    print(_followed(card, log, player.began_s, states))


def _recorded(root: Path, episode: int, card: EmbodimentCard) -> tuple[str, np.ndarray, np.ndarray]:
    """Sentence, actions (T, D) and states (T, S) of an episode in the card's terms and at its rate."""
    from kinema.data.fits import fit
    from kinema.data.lerobot import Dataset

    dataset = Dataset.open(root)
    if not episode < dataset.num_episodes:
        raise KinemaError(f"{root} has {dataset.num_episodes} episodes; got number {episode}")
    fitting = fit(dataset, card)
    begin, end = dataset.episode_bounds[episode]
    steps = np.minimum(begin + np.rint(np.arange(0, end - begin, fitting.ratio)).astype(int), end - 1)
    sentence = dataset.tasks[int(dataset.task_index[begin])]
    return sentence, fitting.action[steps].astype(float), fitting.state[steps].astype(float)


def _followed(card: EmbodimentCard, log: Any, began_s: float, states: np.ndarray) -> str:
    """How far the body was from what was measured when it was recorded."""
    seen = np.array([step.observation.state for step in log.steps if step.time_s >= began_s])
    count = min(len(seen), len(states))
    away = np.abs(seen[:count] - states[:count]).max(0)
    worst = int(np.argmax(away / np.array([np.ptp(channel.range) for channel in card.states])))
    channel = card.states[worst]
    return (
        f"played {count} steps; furthest from what was recorded: {channel.name}, by {away[worst]:.3g} "
        f"{channel.unit}"
    )
