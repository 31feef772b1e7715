"""kinema's simulated tabletop as lerobot's users would meet it: a robot in degrees, and an environment.

lerobot imports this package because of its name, as it does with any plugin.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.robots import Robot, RobotConfig

from kinema.card.load import load_card
from kinema.runtime.clock import RealClock, SimulatedClock
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.simulated_robot import SimulatedRobot

SENTENCE = "put the red block in the blue bowl"
PICTURE = (96, 96, 3)
CAMERAS = {"front": "overview", "wrist": "hand"}  # the robot's names by the card's


@RobotConfig.register_subclass("tabletop")
@dataclass
class TabletopConfig(RobotConfig):
    sentence: str = SENTENCE
    seed: int = 3
    log: str = ""  # where to write what was sent, one line of numbers a command
    deaf: bool = False  # whether commands are taken and not carried out
    waits: bool = False  # whether each command moves it on by a control period, in place of the clock
    commands: int = 0  # above 0: after so many, or when the goal holds, it presses Ctrl-C


class Tabletop(Robot):
    """A UR5e that counts in degrees and its gripper in per cent, and that moves on whoever thinks.

    Or one that waits for its commands, so that what a test shows does not depend on how fast a machine is.
    """

    config_class = TabletopConfig
    name = "tabletop"

    def __init__(self, config: TabletopConfig) -> None:
        super().__init__(config)
        self.config, self.cameras = config, {}
        self._card = load_card("ur5e")
        self._names = [channel.name for channel in self._card.actions]
        self._scale = np.array([100.0 if c.unit == "fraction" else 180 / np.pi for c in self._card.actions])
        self._inner: SimulatedRobot | None = None
        self._sent: list[str] = []

    @property
    def _numbers(self) -> dict[str, type]:
        return {f"{name}.pos": float for name in self._names}

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self._numbers, **dict.fromkeys(CAMERAS.values(), PICTURE)}

    @property
    def action_features(self) -> dict[str, Any]:
        return self._numbers

    @property
    def is_connected(self) -> bool:
        return self._inner is not None

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        request = parse_instruction(self.config.sentence)
        world = TabletopEnv(card=self._card, family=request.family)
        world.reset(self.config.seed, request)
        self._clock = SimulatedClock() if self.config.waits else RealClock()
        self._inner = SimulatedRobot(world, self._clock.now_s)
        self._inner.connect()

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        seen = self._inner.get_observation()
        numbers = {k: seen[k] * scale for k, scale in zip(self._numbers, self._scale)}
        return {**numbers, **{theirs: seen[own] for own, theirs in CAMERAS.items()}}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self._sent.append(" ".join(f"{action[key]:.6g}" for key in self._numbers))
        if not self.config.deaf:
            self._inner.send_action({k: action[k] / s for k, s in zip(self._numbers, self._scale)})
        if self.config.waits:
            self._clock.sleep_until(self._clock.now_s() + 1 / self._card.control_hz)
        most = self.config.commands
        if most and (len(self._sent) >= most or self._inner.success()):
            os.kill(os.getpid(), signal.SIGINT)
        return action

    def disconnect(self) -> None:
        print(f"tabletop: {'success' if self._inner.success() else 'failure'}")
        if self.config.log:
            with open(self.config.log, "w") as file:
                file.write("\n".join(self._sent) + "\n")
        self._inner.world.close()
        self._inner = None


@EnvConfig.register_subclass("tabletop")
@dataclass
class TabletopEnvConfig(EnvConfig):
    task: str | None = "pick_place"
    fps: int = 10
    body: str = "panda"
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        card = load_card(self.body)
        shapes = {"agent_pos": (len(card.states),)}
        self.features = {"action": PolicyFeature(type=FeatureType.ACTION, shape=(len(card.actions),))}
        self.features |= {k: PolicyFeature(type=FeatureType.STATE, shape=s) for k, s in shapes.items()}
        self.features_map = {"action": "action", "agent_pos": "observation.state"}
        for name in card.camera_names:
            self.features[f"pixels/{name}"] = PolicyFeature(type=FeatureType.VISUAL, shape=PICTURE)
            self.features_map[f"pixels/{name}"] = f"observation.images.{name}"

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {"body": self.body, "family": self.task}

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> Any:
        return {self.type: {0: gym.vector.SyncVectorEnv(
            [lambda: TabletopGym(**self.gym_kwargs) for _ in range(n_envs)],
            autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
        )}}  # fmt: skip


class TabletopGym(gym.Env):
    """Numbers and pictures are the card's."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's own way)

    def __init__(self, body: str, family: str) -> None:
        self.card = load_card(body)
        self.world = TabletopEnv(card=self.card, family=family)
        self.task, self.render_mode = family, "rgb_array"
        self._max_episode_steps, self._made = self.world.max_steps, 0
        box = gym.spaces.Box
        pictures = {name: box(0, 255, PICTURE, np.uint8) for name in self.card.camera_names}
        self.observation_space = gym.spaces.Dict({
            "pixels": gym.spaces.Dict(pictures),
            "agent_pos": box(-np.inf, np.inf, (len(self.card.states),), np.float32),
        })  # fmt: skip
        self.action_space = box(-np.inf, np.inf, (len(self.card.actions),), np.float32)

    @property
    def task_description(self) -> str:
        return self.world.instruction

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.world.reset(0 if seed is None else seed)
        self._made = 0
        return self._seen(), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.world.step(action.astype(np.float64))
        self._made += 1
        success, over = self.world.success(), self._made >= self._max_episode_steps
        return self._seen(), float(success), success, over, {"is_success": success}

    def render(self) -> np.ndarray:
        return self.world.observe().images[self.card.camera_names[0]]

    def close(self) -> None:
        self.world.close()

    def _seen(self) -> dict[str, Any]:
        seen = self.world.observe()
        return {"pixels": dict(seen.images), "agent_pos": seen.state}
