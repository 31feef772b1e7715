"""The policy as lerobot calls it: batches in, actions out, in the robot's own numbers.

Axes: B bodies, T steps of a chunk, D actions, S states.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from packaging.requirements import Requirement
from torch import Tensor

from kinema.card.card import EmbodimentCard
from kinema.commands.serve.client import connected
from kinema.model.stored import read_card
from kinema.runtime.robot import Body
from kinema.runtime.strategy import strategy
from kinema.runtime.wiring import wiring_for
from kinema.runtime.wiring_file import read_wiring
from kinema.schema import KinemaError, Policy
from lerobot_policy_kinema.configuration_kinema import REAL, STEPS, TRAINED_ELSEWHERE, KinemaConfig
from lerobot_policy_kinema.session import BatchRobot, Session

ARTIFACT, WIRING = "artifact", "wiring.yaml"  # beside config.json


class KinemaPolicy(PreTrainedPolicy):
    """A kinema policy in a folder that `lerobot-kinema` wrote, or on a server.

    folder:       where it lies; the configuration's `pretrained_path` where None
    dataset_meta: of the data set that lerobot will write; its names are then lerobot's order

    Raises KinemaError when names, counts or cameras do not fit the body's card.
    """

    config_class = KinemaConfig
    name = "kinema"

    def __init__(
        self, config: KinemaConfig, *, folder: Path | None = None, dataset_meta: Any = None, **_: Any
    ) -> None:
        super().__init__(config)
        if folder is None and config.pretrained_path is None:
            raise KinemaError(
                f"--policy.path names the folder that lerobot-kinema wrote; {TRAINED_ELSEWHERE}"
            )
        self._folder = Path(folder or config.pretrained_path)
        self._card = read_card(self._folder / ARTIFACT / "cards" / f"{config.card}.json", "folder")
        self._states, self._actions = _names(config, dataset_meta)
        _check_rate(config, self._card, dataset_meta)
        self._told = read_wiring(self._folder / WIRING, self._card)
        self._chunks = self._body()  # whatever does not fit is found here
        _check_width(config, self._actions)
        self._strategy = strategy(config.strategy, self._card, config.replan_steps)
        self._policy = _policy(config, self._folder, self._card)
        self._sessions: list[Session] = []
        self._episode = -1
        self.reset()

    @classmethod
    def from_pretrained(
        cls, pretrained_name_or_path: str | Path, *, config: PreTrainedConfig | None = None,
        revision: str | None = None, **kwargs: Any,
    ) -> KinemaPolicy:  # fmt: skip
        """The policy in a folder, or in a repository of the Hub that holds one."""
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(str(pretrained_name_or_path), revision=revision))
        config = config or PreTrainedConfig.from_pretrained(folder)
        return cls(config, folder=folder, **kwargs).eval()  # type: ignore[arg-type, return-value]

    def reset(self) -> None:
        """Begin an episode: the next observation is where its bodies stand."""
        self._episode += 1
        self._policy.reset(self.config.seed + self._episode)
        for session in self._sessions:
            session.forget()

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """The guarded action of each body, float32 (B, D). Raises KinemaError as `Session.act`."""
        rows, tasks = self._rows(batch), _tasks(batch)
        config = self.config
        if config.clock == REAL and len(rows) > 1:
            raise KinemaError(
                f"a real clock is for one body, lerobot runs {len(rows)}; for a simulation: "
                f"--policy.clock={STEPS}"
            )
        if len(self._sessions) != len(rows):
            self._sessions = [Session(self._body(), self._policy, self._strategy, config.clock) for _ in rows]
        acted = [s.act(seen, task) for s, seen, task in zip(self._sessions, rows, tasks)]
        return torch.from_numpy(np.stack(acted))

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """The policy's own answers, float32 (B, T, D). They have not passed the guard."""
        chunks = []
        robot = self._chunks.robot
        assert isinstance(robot, BatchRobot)
        for seen, task in zip(self._rows(batch), _tasks(batch)):
            robot.seen = seen
            answer = self._policy.infer(self._chunks.observe(task, 0.0), self._card.name)
            played = []
            for action in answer.values:
                self._chunks.send(action)
                played.append(robot.action)
            chunks.append(np.stack(played))
        return torch.from_numpy(np.stack(chunks))

    def forward(self, batch: dict[str, Tensor]) -> NoReturn:
        raise NotImplementedError(TRAINED_ELSEWHERE)

    def get_optim_params(self) -> NoReturn:
        raise NotImplementedError(TRAINED_ELSEWHERE)

    def _body(self) -> Body:
        shapes = {
            key.removeprefix(f"{OBS_IMAGES}."): (*feature.shape[1:], 3)
            for key, feature in self.config.image_features.items()
        }
        robot = BatchRobot("lerobot", self._states, self._actions, shapes)
        return Body(self._card, robot, wiring_for(self._card, robot, self._told))

    def _rows(self, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The readings (B) in a batch: numbers by the robot's keys, uint8 pictures (H, W, 3)."""
        cameras = {key: f"{OBS_IMAGES}.{key}" for key in self._chunks.wiring.cameras.values()}
        if lacking := [key for key in (OBS_STATE, *cameras.values()) if key not in batch]:
            raise KinemaError(
                f"lerobot hands over no {', '.join(lacking)}; it has {sorted(map(str, batch))}; "
                "--rename_map gives things other names"
            )
        state = batch[OBS_STATE].detach().cpu().numpy()
        if state.ndim != 2 or state.shape[1] != len(self._states):
            raise KinemaError(
                f"{OBS_STATE} has shape {state.shape}; {self._card.name} was wired to "
                f"(B, {len(self._states)}): {', '.join(self._states)}"
            )
        pictures = {key: _pictures(batch[name], name) for key, name in cameras.items()}
        return [
            dict(zip(self._states, map(float, numbers))) | {key: shown[i] for key, shown in pictures.items()}
            for i, numbers in enumerate(state)
        ]


def _policy(config: KinemaConfig, folder: Path, card: EmbodimentCard) -> Policy:
    if config.server is not None:
        policy = connected(config.server, card, timeout_s=config.timeout_s)
        return policy.__enter__()  # closed with the process
    try:
        _check_transformers()
        from kinema.model.policy.act import LocalPolicy
        from kinema.model.policy.loading import Loading
    except ImportError as error:
        raise KinemaError(
            f"the network cannot run in this process ({error}): pip install 'kinema[train]', or ask a server "
            "(`kinema serve` in an environment of its own): --policy.server=ws://127.0.0.1:8000"
        ) from None
    return LocalPolicy(folder / ARTIFACT, loading=Loading(device=config.device or "cpu"), threads=None)


def _check_transformers() -> None:
    """lerobot's extras bring releases in which the network's classes take other arguments."""
    for needed in map(Requirement, requires("kinema") or ()):
        if needed.name == "transformers" and not needed.specifier.contains(version("transformers")):
            raise ImportError(f"transformers is {version('transformers')}, kinema needs {needed.specifier}")


def _names(config: KinemaConfig, dataset_meta: Any) -> tuple[list[str], list[str]]:
    """The robot's keys in lerobot's order: as the data set says that is written, else as the folder says."""
    names = {OBS_STATE: config.state_names, ACTION: config.action_feature_names}
    for key in names if dataset_meta is not None else ():
        told = dataset_meta.features.get(key, {}).get("names")
        if isinstance(told, list | tuple):
            names[key] = list(told)
    return names[OBS_STATE], names[ACTION]


def _check_rate(config: KinemaConfig, card: EmbodimentCard, dataset_meta: Any) -> None:
    fps = getattr(dataset_meta, "fps", card.control_hz)
    if config.clock == STEPS and fps != card.control_hz:
        raise KinemaError(
            f"{card.name} is controlled {card.control_hz:g} times a second, lerobot runs at {fps:g}: "
            f"--dataset.fps={card.control_hz:g}, or --policy.clock={REAL}"
        )


def _check_width(config: KinemaConfig, actions: list[str]) -> None:
    """lerobot puts the action of the environment or data set in place of the folder's."""
    feature = config.action_feature
    if feature is not None and tuple(feature.shape) != (len(actions),):
        raise KinemaError(
            f"lerobot wants an action of shape {tuple(feature.shape)}; {config.card} was wired to "
            f"{len(actions)}: {', '.join(actions)}"
        )


def _tasks(batch: Mapping[str, Any]) -> list[str]:
    """One sentence for each body."""
    told, rows = batch.get("task", ""), len(batch[OBS_STATE])
    tasks = [told] * rows if isinstance(told, str) else list(told)
    if len(tasks) != rows or not all(tasks):
        raise KinemaError(
            f"a sentence is needed for each of {rows} bodies, lerobot says {tasks}: --task, "
            "--dataset.single_task, or an environment with `task_description`"
        )
    return tasks


def _pictures(shown: Tensor, name: str) -> np.ndarray:
    """uint8 (B, H, W, 3) of lerobot's float (B, 3, H, W) in [0, 1]; to the byte what the camera gave."""
    if shown.ndim != 4 or shown.shape[1] != 3:
        raise KinemaError(f"{name} has shape {tuple(shown.shape)}; it must be (B, 3, height, width)")
    if shown.dtype != torch.uint8:
        low, high = float(shown.min()), float(shown.max())
        if not (low >= 0.0 and high <= 1.0):
            raise KinemaError(f"{name} must lie within 0 and 1; it has {low:.3g} to {high:.3g}")
        shown = (shown * 255).round().to(torch.uint8)
    return shown.permute(0, 2, 3, 1).contiguous().cpu().numpy()
