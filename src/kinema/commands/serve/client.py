"""`kinema client`: a body here, its policy on a server elsewhere. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.commands.driver import DriverConfig, Settings, connecting, require_driver
from kinema.commands.stopping import Stopping
from kinema.commands.terminal import examples, finite

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.commands.data.recorder import EpisodeRecorder, Kept
    from kinema.runtime.clock import Clock
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.record import Recorder, Step
    from kinema.runtime.robot import Robot
    from kinema.runtime.watchdog import Mode
    from kinema.runtime.wiring import Wiring
    from kinema.schema import Policy
    from kinema.worlds.tabletop.simulated_robot import SimulatedRobot

EXAMPLES = examples(
    'kinema client "put the red block in the blue bowl"',
    'kinema client "stack the green block on the yellow block" --server wss://robots.example:8000 --seed 3',
    'kinema client "lift the tray with both arms" --robot aloha --driver my_robots:two_arms --wiring w.yaml',
    'kinema client "stand still" --server hold --robot so101 --driver lerobot:so101_follower '
    "--driver-config arm.yaml",
)
HOLD = "hold"


def client(
    instruction: Annotated[str, typer.Argument(help="What the robot should do, in English.")],
    server: Annotated[
        str,
        typer.Option(
            help="The server: ws://host:port or wss://host:port. Or hold: do nothing, which needs no server."
        ),
    ] = "ws://127.0.0.1:8000",
    robot: Annotated[str, typer.Option(help="The body: a shipped card, or the path of one.")] = "panda",
    driver: Annotated[
        str | None,
        typer.Option(
            help="lerobot:TYPE, or module:callable that makes a robot of lerobot's interface. "
            "Default: the simulated tabletop."
        ),
    ] = None,
    driver_config: DriverConfig = None,
    settings: Settings = None,
    wiring: Annotated[
        Path | None,
        typer.Option(
            help="YAML with keys, units, signs and zeros; `kinema robots wiring` writes a first one."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the scene and the policy's noise.", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="When to give up.", min=0.1, callback=finite)] = 30.0,
    strategy: Annotated[
        str, typer.Option(help="How answers take over: synchronous, blend or in_painting.")
    ] = "in_painting",
    timeout: Annotated[
        float, typer.Option(help="Seconds an answer may take.", min=0.01, callback=finite)
    ] = 1.0,
    record: Annotated[
        Path | None, typer.Option(help="LeRobot data set to add the episode to (needs the extra `data`).")
    ] = None,
    record_px: Annotated[
        int | None,
        typer.Option(help="Side of the recorded pictures. Default: as the cameras give them.", min=16),
    ] = None,
    success: Annotated[
        bool | None,
        typer.Option(
            "--success/--no-success",
            help="What to record of an episode that ends by itself. Default: unknown.",
        ),
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificates to trust, PEM, for a server's own.")] = None,
) -> None:
    """Let a policy on a server move a robot here. The key, if one is needed, is read from $KINEMA_API_KEY.

    When the server is lost the robot holds, and after its card's time it is stopped. Ctrl-C and SIGTERM end
    the run: the card's hold action is sent, and what was recorded is kept.
    """
    from kinema.card.load import load_card
    from kinema.runtime.clock import RealClock
    from kinema.runtime.watchdog import Mode
    from kinema.runtime.wiring import wiring_for
    from kinema.schema import check_instruction

    card, clock = load_card(robot), RealClock()
    check_instruction(instruction)
    require_driver(driver, driver_config, settings, wiring)
    trusted = _trusting(ca)
    with Stopping() as stopping, ExitStack() as closing:
        if driver:
            body: Robot = connecting(card, driver, driver_config, settings or ())
        else:
            body = world = simulated(instruction, card, seed, clock)
            closing.callback(world.world.close)
        wires = wiring_for(card, body, told_wiring(wiring, card))
        with connected(server, card, timeout_s=timeout, ssl=trusted) as policy:
            policy.reset(seed)
            with recording(record, card, picture_size(record_px, body, wires)) as recorder:
                ended: bool | None = None
                try:
                    loop, mode, knows = drive(
                        policy, card, body, clock, instruction, strategy, seconds, recorder,
                        wiring=wires, stopping=stopping,
                    )  # fmt: skip
                    if not stopping.asked and mode != Mode.STOPPED:
                        ended = success if success is not None else knows
                finally:
                    if recorder is not None:
                        with stopping.gently("writing what was recorded; once more gives it up"):
                            finish(recorder, instruction, False if success is False else ended)
    _tell(loop, mode, knows, instruction)
    if stopping.asked:
        raise typer.Exit(stopping.exit_code)
    if mode == Mode.STOPPED:
        print(f"the robot was stopped: {loop.reason}")
        raise typer.Exit(1)


def _tell(loop: ControlLoop, mode: Mode, knows: bool | None, instruction: str) -> None:
    counts = loop.counts
    latency_ms = sorted(1e3 * s for s in counts.latency_s)
    middle = f", median {latency_ms[len(latency_ms) // 2]:.0f} ms" if latency_ms else ""
    print(
        f"{counts.asked} questions, {counts.answered} answers{middle}, {counts.refused} refused by the gate"
    )
    if knows is not None:
        print(f"{'success' if knows else 'failure'}: {instruction}")


def told_wiring(path: Path | None, card: EmbodimentCard) -> Any:
    """What a wiring file tells; None without one."""
    if path is None:
        return None
    from kinema.runtime.wiring_file import read_wiring

    return read_wiring(path, card)


def picture_size(record_px: int | None, robot: Robot, wires: Wiring) -> Any:
    """Of the recorded pictures: a side for all, or (height, width) by camera."""
    if record_px is not None:
        return record_px
    sizes = {}
    for name, key in wires.cameras.items():
        height, width = robot.observation_features[key][:2]
        if not (isinstance(height, int) and isinstance(width, int)):
            from kinema.schema import KinemaError

            raise KinemaError(f"robot {robot.name!r} does not say how large {key!r} is; say --record-px")
        sizes[name] = (height, width)
    return sizes


def finish(recorder: EpisodeRecorder, instruction: str, success: bool | None) -> None:
    """Write the episode and say what became of it."""
    fault = recorder.fault
    if not recorder.steps:
        print("recorded nothing: no step was made")
        return
    kept: Kept = recorder.finish(instruction, success)
    word = {True: "a success", False: "a failure", None: "unknown"}[success]
    print(f"recorded {kept.steps} steps as {kept.frames} frames; how it ended: {word}")
    if kept.frames > 1.05 * kept.steps:
        print(f"the body made {kept.measured_hz:.3g} steps a second; frames repeat where it was late")
    if fault:
        print(fault)


def connected(
    server: str, card: EmbodimentCard, *, timeout_s: float, ssl: Any = None
) -> AbstractContextManager[Policy]:
    """A policy on a server that knows this body, or the one that does nothing. Raises KinemaError."""
    if server == HOLD:
        from kinema.runtime.policy import HoldPolicy

        return nullcontext(HoldPolicy(card))
    from kinema.runtime.client import KEY_VARIABLE, RemotePolicy
    from kinema.schema import KinemaError

    policy = RemotePolicy(server, api_key=os.environ.get(KEY_VARIABLE), timeout_s=timeout_s, ssl=ssl)
    cards = policy.hello().get("cards", {})
    if card.name not in cards:
        raise KinemaError(f"{policy.url} does not serve {card.name}; it serves {', '.join(cards)}")
    return policy


def drive(
    policy: Policy, card: EmbodimentCard, robot: Robot, clock: Clock, instruction: str, strategy: str,
    seconds: float, recorder: Recorder | None = None, *, wiring: Wiring | None = None,
    stopping: Stopping | None = None,
) -> tuple[ControlLoop, Mode, bool | None]:  # fmt: skip
    """The control loop until the goal holds, the time is over, somebody stops it or the robot is stopped.

    The last value says whether the goal holds at the end, None for a robot that cannot know.
    """
    from kinema.runtime.inference import ThreadedInference
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.robot import Body
    from kinema.runtime.strategy import strategy as strategy_of

    inference = ThreadedInference(policy)
    knows: Callable[[], bool] | None = getattr(robot, "success", None)
    stopping = stopping or Stopping()

    def done() -> bool:
        return stopping.asked or (knows is not None and knows())

    with Body(card, robot, wiring) as body:
        told = telling(policy, recorder)
        loop = ControlLoop(body, inference, clock, strategy_of(strategy, card), recorder=told)
        try:
            with stopping.gently("stopping: the robot holds; once more breaks off"):
                mode = loop.run(instruction, max_steps=round(seconds * card.control_hz), done=done)
            return loop, mode, knows() if knows else None
        finally:
            inference.close()


def telling(policy: Policy, recorder: Recorder | None) -> Recorder | None:
    """What `recorder` does, and the mode of every step goes to the console of the policy's server."""
    from kinema.runtime.client import RemotePolicy

    if not isinstance(policy, RemotePolicy):
        return recorder

    def tell(step: Step) -> None:
        policy.mode = step.mode.value
        if recorder is not None:
            recorder(step)

    return tell


@contextmanager
def recording(
    root: Path | None, card: EmbodimentCard, size: Any, by_person: bool = False
) -> Iterator[EpisodeRecorder | None]:
    """A recorder that adds to the data set at `root`; None without one. by_person: as it has it itself"""
    if root is None:
        yield None
        return
    from kinema.card.harm import HAZARDS
    from kinema.commands.data.recorder import EpisodeRecorder

    hazards = tuple(HAZARDS)
    with EpisodeRecorder(
        root, card, image_size=size, hazards=hazards, by_person=by_person, resume=True
    ) as recorder:
        yield recorder


def simulated(instruction: str, card: EmbodimentCard, seed: int, clock: Clock) -> SimulatedRobot:
    """The tabletop world with what the sentence needs, behind a robot's interface."""
    from kinema.worlds.tabletop.env import TabletopEnv
    from kinema.worlds.tabletop.parse import parse_instruction
    from kinema.worlds.tabletop.simulated_robot import SimulatedRobot

    request = parse_instruction(instruction)
    world = TabletopEnv(card=card, family=request.family)
    world.reset(seed, request)
    return SimulatedRobot(world, clock.now_s)


def _trusting(ca: Path | None) -> Any:
    if ca is None:
        return None
    import ssl

    from kinema.schema import KinemaError

    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:
        raise KinemaError(f"--ca {ca}: {error.strerror or error}") from None
