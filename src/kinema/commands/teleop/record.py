"""`kinema teleop` and `kinema record`: a person moves the body, alone or over a policy, and it is kept."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.commands.driver import DriverConfig, Settings, connecting, require_driver
from kinema.commands.serve.client import (
    HOLD,
    connected,
    finish,
    picture_size,
    recording,
    simulated,
    telling,
    told_wiring,
)
from kinema.commands.stopping import Stopping
from kinema.commands.teleop.devices import Arm, Speed, With, WithConfig, WithSettings, operator_of
from kinema.commands.terminal import examples, finite

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.commands.data.recorder import EpisodeRecorder
    from kinema.runtime.clock import Clock
    from kinema.runtime.record import Step
    from kinema.runtime.robot import Body
    from kinema.runtime.teleop.operator import Operator
    from kinema.schema import Policy

TELEOP_EXAMPLES = examples(
    "kinema teleop --robot panda",
    "kinema teleop --robot so101 --driver lerobot:so101_follower --driver-config arm.yaml --with "
    "lerobot:so101_leader --with-config leader.yaml",
)
EXAMPLES = examples(
    'kinema record data/mine "put the red block in the blue bowl" --episodes 20',
    'kinema record data/mine "put the red block in the blue bowl" --policy nano --episodes 20 --with gamepad',
    'kinema record data/mine "lift the tray" --robot aloha --policy ws://127.0.0.1:8000 --arm left',
)
_DEFAULT_SENTENCE = "put the red block in the blue bowl"
_POLL_S = 0.05

RobotName = Annotated[str, typer.Option(help="The body: a shipped card, or the path of one.")]
Driver = Annotated[
    str | None,
    typer.Option(
        help="lerobot:TYPE, or module:callable that makes a robot. Default: the simulated tabletop."
    ),
]
WiringFile = Annotated[Path | None, typer.Option(help="YAML with keys, units, signs and zeros of the robot.")]


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What both commands are told."""

    robot: str
    driver: str | None
    driver_config: Path | None
    settings: list[str]
    wiring: Path | None
    device: str
    device_config: Path | None
    device_settings: list[str]
    arm: str
    speed_m_s: float
    policy: str
    sentence: str
    seconds: float
    seed: int
    out: Path | None = None
    record_px: int | None = None
    episodes: int = 1


def teleop(
    robot: RobotName = "panda",
    driver: Driver = None,
    driver_config: DriverConfig = None,
    settings: Settings = None,
    wiring: WiringFile = None,
    device: With = "keyboard",
    device_config: WithConfig = None,
    device_settings: WithSettings = None,
    arm: Arm = "",
    speed: Speed = 0.1,
    seconds: Annotated[float, typer.Option(help="When to end.", min=0.1, callback=finite)] = 600.0,
    seed: Annotated[int, typer.Option(help="Of the simulated scene.", min=0)] = 0,
) -> None:
    """Move a robot by hand, within its card's limits. Nothing is recorded; Esc ends it."""
    _sit(
        _Told(
            robot=robot, driver=driver, driver_config=driver_config, settings=settings or [], wiring=wiring,
            device=device, device_config=device_config, device_settings=device_settings or [], arm=arm,
            speed_m_s=speed, policy=HOLD, sentence=_DEFAULT_SENTENCE, seconds=seconds, seed=seed,
        )
    )  # fmt: skip


def record(
    out: Annotated[Path, typer.Argument(help="The LeRobot data set that the episodes are added to.")],
    instruction: Annotated[str, typer.Argument(help="What is shown, in English.")],
    robot: RobotName = "panda",
    driver: Driver = None,
    driver_config: DriverConfig = None,
    settings: Settings = None,
    wiring: WiringFile = None,
    device: With = "keyboard",
    device_config: WithConfig = None,
    device_settings: WithSettings = None,
    arm: Arm = "",
    speed: Speed = 0.1,
    policy: Annotated[
        str,
        typer.Option(
            help="Who has the body until a person takes over: hold (nobody), the name or folder of an "
            "artifact, or ws://host:port."
        ),
    ] = HOLD,
    episodes: Annotated[int, typer.Option(help="How many to record.", min=1)] = 10,
    seconds: Annotated[float, typer.Option(help="Of an episode at most.", min=0.1, callback=finite)] = 60.0,
    record_px: Annotated[
        int | None,
        typer.Option(help="Side of the recorded pictures. Default: as the cameras give them.", min=16),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated scenes and the policy's noise.", min=0)] = 0,
) -> None:
    """Record episodes by hand, or a policy's with a person who takes over where it fails (DAgger).

    The device says how an episode ended: success, failure, or that it is to be forgotten. Which steps were a
    person's stands in the column `intervention`; training learns from those alone.
    """
    _sit(
        _Told(
            robot=robot, driver=driver, driver_config=driver_config, settings=settings or [], wiring=wiring,
            device=device, device_config=device_config, device_settings=device_settings or [], arm=arm,
            speed_m_s=speed, policy=policy, sentence=instruction, seconds=seconds, seed=seed, out=out,
            record_px=record_px, episodes=episodes,
        )
    )  # fmt: skip


def _sit(told: _Told) -> None:
    """All episodes of one sitting; the robot stays connected between them."""
    from kinema.card.load import load_card
    from kinema.runtime.clock import RealClock
    from kinema.schema import check_instruction

    card, clock = load_card(told.robot), RealClock()
    check_instruction(told.sentence)
    require_driver(told.driver, told.driver_config, told.settings, told.wiring)
    with Stopping() as stopping, ExitStack() as closing:
        policy = closing.enter_context(_policy(told.policy, card))
        bodies = closing.enter_context(_bodies(told, card, clock))
        body = next(bodies)
        operator = operator_of(
            card, body.wiring, told.device, told.device_config, told.device_settings, side=told.arm,
            speed_m_s=told.speed_m_s, engaged=told.policy == HOLD,
        )  # fmt: skip
        closing.callback(operator.device.close)
        size = picture_size(told.record_px, body.robot, body.wiring)
        recorder = closing.enter_context(recording(told.out, card, size, by_person=True))
        print(operator.device.help)
        for number in range(told.episodes):
            if number:
                if not _ready(operator, clock, stopping, number, told):
                    break
                body = next(bodies)
            if _episode(told, card, body, clock, policy, operator, recorder, number, stopping) == "end":
                break
            if stopping.asked:
                break
    if stopping.asked:
        raise typer.Exit(stopping.exit_code)


def _episode(
    told: _Told, card: EmbodimentCard, body: Body, clock: Clock, policy: Policy, operator: Operator,
    recorder: EpisodeRecorder | None, number: int, stopping: Stopping,
) -> str | None:  # fmt: skip
    """One episode; what the person said of its end."""
    from kinema.runtime.inference import ThreadedInference
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.strategy import strategy
    from kinema.runtime.watchdog import Mode

    operator.begin()
    policy.reset(told.seed + number)
    knows = getattr(body.robot, "success", None)
    steps = {"all": 0, "by a person": 0}

    def count(step: Step) -> None:
        steps["all"] += 1
        steps["by a person"] += step.by_person
        if recorder is not None:
            recorder(step)

    def done() -> bool:
        solved = recorder is not None and knows is not None and knows()
        return bool(stopping.asked or operator.ending or solved)

    inference = ThreadedInference(policy)
    how = strategy("in_painting", card)
    loop = ControlLoop(body, inference, clock, how, recorder=telling(policy, count), operator=operator)
    try:
        with stopping.gently("stopping: the robot holds; once more breaks off"):
            mode = loop.run(told.sentence, max_steps=round(told.seconds * card.control_hz), done=done)
    finally:
        inference.close()
        ended = {"success": True, "failure": False}.get(operator.ending or "", knows() if knows else None)
        if recorder is not None:
            with stopping.gently("writing what was recorded; once more gives it up"):
                if operator.ending == "discard":
                    recorder.discard()
                    print(f"episode {number + 1} is forgotten")
                else:
                    finish(recorder, told.sentence, ended)
    print(f"episode {number + 1}: {steps['all']} steps, {steps['by a person']} by a person")
    if mode == Mode.STOPPED:
        print(f"the robot was stopped: {loop.reason}")
    return operator.ending


def _ready(operator: Operator, clock: Clock, stopping: Stopping, number: int, told: _Told) -> bool:
    """Wait until the person says that the scene stands again; in simulation it does already."""
    if told.driver is None:
        return True
    print(f"set the scene for episode {number + 1}; success begins it, end ends the sitting")
    with stopping.gently("ending"):
        while not stopping.asked:
            said = operator.device.read(clock.now_s()).said
            if "success" in said:
                return True
            if "end" in said:
                return False
            clock.sleep_until(clock.now_s() + _POLL_S)
    return False


@contextmanager
def _bodies(told: _Told, card: EmbodimentCard, clock: Clock) -> Iterator[Iterator[Body]]:
    """The body of every episode: one robot for all of them, or a simulated scene for each."""
    from kinema.runtime.robot import Body
    from kinema.runtime.wiring import wiring_for

    with ExitStack() as stack:
        if told.driver is not None:
            robot = connecting(card, told.driver, told.driver_config, told.settings)
            wires = wiring_for(card, robot, told_wiring(told.wiring, card))
            body = stack.enter_context(Body(card, robot, wires))
            yield iter([body] * told.episodes)
            return

        def scenes() -> Generator[Body, None, None]:
            for number in range(told.episodes):
                robot = simulated(told.sentence, card, told.seed + number, clock)
                try:
                    with Body(card, robot) as body:
                        yield body
                finally:
                    robot.world.close()

        made = scenes()
        stack.callback(made.close)
        yield made


def _policy(word: str, card: EmbodimentCard) -> AbstractContextManager[Any]:
    """Who has the body until a person takes over. Raises KinemaError for one that does not know it."""
    from kinema.commands.policies import artifact_folder, bodies_of, is_address
    from kinema.schema import KinemaError

    if word == HOLD or is_address(word):
        return connected(word, card, timeout_s=1.0)
    folder = artifact_folder(word, (card.name,))
    if card.name not in bodies_of(folder):
        raise KinemaError(f"{folder} knows {', '.join(bodies_of(folder))}, not {card.name}")
    from kinema.model.policy.act import LocalPolicy

    return nullcontext(LocalPolicy(folder))
