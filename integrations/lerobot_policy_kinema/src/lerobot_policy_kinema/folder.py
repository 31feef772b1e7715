"""The folder that `--policy.path` names: an artifact, and what lerobot and the wiring need beside it.

config.json               `KinemaConfig`: body, names, features
policy_preprocessor.json  lerobot's pipelines
policy_postprocessor.json
wiring.yaml               scale and offset of every number, resolved; a wiring file as any other
artifact/                 as `kinema train` wrote it
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from kinema.card.card import EmbodimentCard
from kinema.commands.policies import bodies_of
from kinema.model.stored import read_card, read_json
from kinema.runtime.robot import Robot
from kinema.runtime.wiring import Plan, Wire, Wiring, card_units, declared_units, wiring_for
from kinema.runtime.wiring_file import read_wiring
from kinema.schema import KinemaError
from lerobot_policy_kinema.configuration_kinema import REAL, STEPS, KinemaConfig
from lerobot_policy_kinema.modeling_kinema import ARTIFACT, WIRING
from lerobot_policy_kinema.processor_kinema import make_kinema_pre_post_processors
from lerobot_policy_kinema.session import BatchRobot

HANDED_OVER = (".pos", ".vel")  # the keys that lerobot-rollout makes `observation.state` and `action` of


def card_of(artifact: Path, name: str | None) -> EmbodimentCard:
    """The card of one of an artifact's bodies; of its only one where no name is given. Raises KinemaError."""
    bodies = bodies_of(artifact)
    if name is None and len(bodies) == 1:
        name = bodies[0]
    if name not in bodies:
        told = f"{artifact} was not trained on {name!r}; " if name else f"{artifact} knows several bodies; "
        raise KinemaError(f"{told}--robot takes one of {', '.join(bodies)}")
    return read_card(artifact / "cards" / f"{name}.json", "artifact")


def write(
    artifact: Path, out: Path, card: EmbodimentCard, *, robot: Robot | None = None, told: Plan | None = None
) -> None:
    """Write the folder for a robot of lerobot's, or for an environment that speaks the card's language.

    robot: whose keys, order, units and pictures they are. None: an environment whose `observation.state` and
           `action` are the card's channels in the card's order and units, and whose pictures bear its names
    told:  what a wiring file says besides

    Raises KinemaError when `out` exists already, or robot and card do not fit.
    """
    if out.exists():
        raise KinemaError(f"{out} exists already; name another folder")
    side = int(read_json(artifact / "config.json", "artifact")["policy"]["image_size"])
    batch = _of_card(card, side) if robot is None else _of_robot(robot)
    wiring = replace(wiring_for(card, batch, told), torques={})  # lerobot hands no torques to a policy
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
        folder = Path(beside) / out.name
        shutil.copytree(artifact, folder / ARTIFACT)
        (folder / WIRING).write_text(_wiring_text(card, wiring))
        _check_same(card, batch, wiring, folder / WIRING)
        clock = STEPS if robot is None else REAL
        (folder / "config.json").write_text(json.dumps(_config(card, batch, wiring, clock), indent=1) + "\n")
        for pipeline in make_kinema_pre_post_processors(KinemaConfig(device="cpu")):
            pipeline.save_pretrained(folder)
        folder.rename(out)


def _of_robot(robot: Robot) -> BatchRobot:
    seen = robot.observation_features
    sizes = {key: tuple(shape) for key, shape in seen.items() if isinstance(shape, tuple | list)}
    if unknown := [key for key, shape in sizes.items() if not all(isinstance(n, int) for n in shape)]:
        raise KinemaError(
            f"robot {robot.name!r} does not say how large {', '.join(unknown)} is; say width and height in "
            "its configuration"
        )
    return BatchRobot(
        robot.name,
        [key for key in seen if key not in sizes and key.endswith(HANDED_OVER)],
        [key for key in robot.action_features if key.endswith(HANDED_OVER)],
        sizes,  # type: ignore[arg-type]
        declared_units(robot),
    )


def _of_card(card: EmbodimentCard, side: int) -> BatchRobot:
    states, actions = ([f"{c.name}.pos" for c in channels] for channels in (card.states, card.actions))
    pictures = dict.fromkeys(card.camera_names, (side, side, 3))
    return BatchRobot(f"{card.name} as its card says", states, actions, pictures, card_units(card))


def _config(card: EmbodimentCard, robot: BatchRobot, wiring: Wiring, clock: str) -> dict[str, Any]:
    shapes = {f"{OBS_IMAGES}.{key}": robot.pictures[key] for key in wiring.cameras.values()}
    return {
        "type": "kinema",
        "card": card.name,
        "clock": clock,
        "strategy": "in_painting" if clock == REAL else "synchronous",
        "state_names": list(robot.states),
        "action_feature_names": list(robot.actions),
        "input_features": {
            OBS_STATE: {"type": "STATE", "shape": [len(robot.states)]},
            **{key: {"type": "VISUAL", "shape": [3, *shape[:2]]} for key, shape in shapes.items()},
        },
        "output_features": {ACTION: {"type": "ACTION", "shape": [len(robot.actions)]}},
    }


def _wiring_text(card: EmbodimentCard, wiring: Wiring) -> str:
    channels = {**wiring.actions, **wiring.states}
    parts: dict[str, Any] = {
        "channels": _lines(channels),
        "actions": _lines({n: wire for n, wire in wiring.actions.items() if wire != channels[n]}),
        "cameras": dict(wiring.cameras),
        "also": {wire.key: name for name, wires in wiring.also.items() for wire in wires},
        "fixed": dict(wiring.fixed),
    }
    tree = {"version": 1, "card": card.name, **{key: part for key, part in parts.items() if part}}
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def _lines(wires: Mapping[str, Wire]) -> dict[str, dict[str, Any]]:
    return {n: {"key": w.key, "scale": float(w.scale), "offset": float(w.offset)} for n, w in wires.items()}


def _check_same(card: EmbodimentCard, robot: BatchRobot, wiring: Wiring, path: Path) -> None:
    """What was written is read as what was meant, without the robot's units."""
    bare = BatchRobot(robot.name, robot.states, robot.actions, robot.pictures)
    if wiring_for(card, bare, read_wiring(path, card)) != wiring:
        raise KinemaError(
            f"{robot.name!r}: its wiring cannot be written as one scale and offset by channel: a key under "
            "`also` has another unit than the channel that it follows"
        )
