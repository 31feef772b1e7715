"""`kinema client`: a body here, its policy on a server elsewhere. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.commands.terminal import examples

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.commands.recorder import EpisodeRecorder
    from kinema.runtime.client import RemotePolicy
    from kinema.runtime.clock import Clock
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.record import Recorder
    from kinema.runtime.robot import Robot
    from kinema.runtime.watchdog import Mode

EXAMPLES = examples(
    'kinema client "put the red block in the blue bowl"',
    'kinema client "stack the green block on the yellow block" --server wss://robots.example:8000 --seed 3',
    'kinema client "pick up the cup" --robot so101 --driver my_robots:follower_arm',
)
KEY_VARIABLE = "KINEMA_API_KEY"


def client(
    instruction: Annotated[str, typer.Argument(help="What the robot should do, in English.")],
    server: Annotated[str, typer.Option(help="The server: ws://host:port or wss://host:port.")] = (
        "ws://127.0.0.1:8000"
    ),
    robot: Annotated[str, typer.Option(help="The body: a shipped card, or the path of one.")] = "panda",
    driver: Annotated[
        str | None,
        typer.Option(
            help="module:callable that makes a robot of lerobot's interface. Default: the simulated tabletop."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the scene and the policy's noise.", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="When to give up.", min=0.1)] = 30.0,
    strategy: Annotated[
        str, typer.Option(help="How answers take over: synchronous, blend or in_painting.")
    ] = "in_painting",
    timeout: Annotated[float, typer.Option(help="Seconds an answer may take.", min=0.01)] = 1.0,
    record: Annotated[
        Path | None, typer.Option(help="LeRobot data set to add the episode to (needs the extra `data`).")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust, PEM, for a server's own.")] = None,
) -> None:
    """Let a policy on a server move a robot here. The key, if one is needed, is read from $KINEMA_API_KEY.

    When the server is lost the robot holds, and after its card's time it is stopped.
    """
    from kinema.card.load import load_card
    from kinema.runtime.clock import RealClock
    from kinema.runtime.watchdog import Mode

    card, clock = load_card(robot), RealClock()
    with connected(server, card, timeout_s=timeout, ca=ca) as policy:
        policy.reset(seed)
        body = _driver(driver) if driver else simulated(instruction, card, seed, clock)
        with recording(record, card) as recorder:
            loop, mode, success = drive(policy, card, body, clock, instruction, strategy, seconds, recorder)
            if recorder is not None:
                recorder.finish(instruction, bool(success))
    counts = loop.counts
    latency_ms = sorted(1e3 * s for s in counts.latency_s)
    middle = f", median {latency_ms[len(latency_ms) // 2]:.0f} ms" if latency_ms else ""
    print(
        f"{counts.asked} questions, {counts.answered} answers{middle}, {counts.refused} refused by the gate"
    )
    if success is not None:
        print(f"{'success' if success else 'failure'}: {instruction}")
    if mode == Mode.STOPPED:
        print(f"the robot was stopped: {loop.reason}")
        raise typer.Exit(1)


def connected(server: str, card: EmbodimentCard, *, timeout_s: float, ca: Path | None) -> RemotePolicy:
    """A policy on a server that knows this body. Raises KinemaError."""
    from kinema.runtime.client import RemotePolicy
    from kinema.schema import KinemaError

    policy = RemotePolicy(
        server, api_key=os.environ.get(KEY_VARIABLE), timeout_s=timeout_s, ssl=_trusting(ca)
    )
    cards = policy.hello().get("cards", {})
    if card.name not in cards:
        raise KinemaError(f"{policy.url} does not serve {card.name}; it serves {', '.join(cards)}")
    return policy


def drive(
    policy: RemotePolicy, card: EmbodimentCard, robot: Robot, clock: Clock, instruction: str, strategy: str,
    seconds: float, recorder: Recorder | None = None,
) -> tuple[ControlLoop, Mode, bool | None]:  # fmt: skip
    """The control loop until the goal holds, the time is over or the robot is stopped.

    The last value says whether the goal holds at the end, None for a robot that cannot know.
    """
    from kinema.runtime.inference import ThreadedInference
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.robot import Body
    from kinema.runtime.strategy import strategy as strategy_of

    inference = ThreadedInference(policy)
    knows = getattr(robot, "success", None)
    with Body(card, robot) as body:
        loop = ControlLoop(body, inference, clock, strategy_of(strategy, card), recorder=recorder)
        try:
            mode = loop.run(
                instruction, max_steps=round(seconds * card.control_hz), done=knows or (lambda: False)
            )
            return loop, mode, knows() if knows else None
        finally:
            inference.close()


@contextmanager
def recording(root: Path | None, card: EmbodimentCard) -> Iterator[EpisodeRecorder | None]:
    """A recorder that adds to the data set at `root`; None without one."""
    if root is None:
        yield None
        return
    from kinema.card.harm import HAZARDS
    from kinema.commands.recorder import IMAGE_SIZE_PX, EpisodeRecorder

    size = IMAGE_SIZE_PX
    with EpisodeRecorder(root, card, image_size=size, hazards=tuple(HAZARDS), resume=True) as recorder:
        yield recorder


def simulated(instruction: str, card: EmbodimentCard, seed: int, clock: Clock) -> Robot:
    """The tabletop world with what the sentence needs, behind a robot's interface."""
    from kinema.worlds.simulated_robot import SimulatedRobot
    from kinema.worlds.tabletop.env import TabletopEnv
    from kinema.worlds.tabletop.parse import parse_instruction

    request = parse_instruction(instruction)
    world = TabletopEnv(card=card, family=request.family)
    world.reset(seed, request)
    return SimulatedRobot(world, clock.now_s)


def _driver(name: str) -> Robot:
    from kinema.schema import KinemaError

    module, _, attribute = name.partition(":")
    try:
        make = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise KinemaError(f"no driver {name!r} ({error}); write module:callable") from None
    return make()


def _trusting(ca: Path | None) -> Any:
    if ca is None:
        return None
    import ssl

    return ssl.create_default_context(cafile=str(ca))
