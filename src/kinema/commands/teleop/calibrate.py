"""`kinema calibrate`: lerobot's own calibration of a robot or of an arm that is led."""

from __future__ import annotations

from typing import Annotated

import typer

from kinema.commands.driver import LEROBOT, DriverConfig, Settings, settings_of
from kinema.commands.terminal import examples
from kinema.schema import KinemaError

EXAMPLES = examples(
    "kinema calibrate lerobot:so101_follower --driver-config arm.yaml",
    "kinema calibrate lerobot:so101_leader --leader --driver-config leader.yaml",
)


def calibrate(
    driver: Annotated[str, typer.Argument(help="lerobot:TYPE; other drivers bring what they need.")],
    driver_config: DriverConfig = None,
    settings: Settings = None,
    leader: Annotated[bool, typer.Option("--leader", help="An arm that is led, none that follows.")] = False,
) -> None:
    """Find the ends of a lerobot arm's joints, with the motors off and a hand on the arm.

    lerobot asks what it needs and writes its calibration file, which every run here reads.
    """
    from kinema.runtime.lerobot_robots import made

    package, _, kind = driver.partition(":")
    if package != LEROBOT or not kind:
        raise KinemaError(f"{driver!r}: what is calibrated here is lerobot's, {LEROBOT}:TYPE")
    device = made("teleoperator" if leader else "robot", kind, settings_of(driver_config, settings or ()))
    device.connect(calibrate=False)
    try:
        device.calibrate()
    finally:
        device.disconnect()
    print(f"calibrated: {getattr(device, 'calibration_fpath', driver)}")
