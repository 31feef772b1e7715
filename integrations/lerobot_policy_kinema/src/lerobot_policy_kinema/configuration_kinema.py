"""What lerobot reads of a kinema policy: the `config.json` of the folder that `lerobot-kinema` writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from lerobot.configs.policies import PreTrainedConfig

from kinema.runtime.strategy import REPLAN_STEPS
from kinema.schema import KinemaError

REAL, STEPS = "real", "steps"
TRAINED_ELSEWHERE = "lerobot does not train kinema's policies; `kinema train` does"


@PreTrainedConfig.register_subclass("kinema")
@dataclass
class KinemaConfig(PreTrainedConfig):
    """A body, what lerobot calls its numbers, and how the policy is asked. All but the first three are yours.

    card:                 the body, one of the artifact's
    state_names:          the robot's keys in the order of lerobot's `observation.state`
    action_feature_names: the robot's keys in the order of lerobot's `action`
    clock:                `real`: a robot, which moves on while the policy thinks; every action is the one
                          that is due when lerobot asks. `steps`: a simulation that waits; every call is one
                          control step of the card
    strategy, replan_steps: how answers take over, and after how many control steps the policy is asked anew
    seed:                 of the first episode's noise; each `reset` takes the next
    server, timeout_s:    a kinema server in place of the folder's weights, and how long it may take; `hold`
                          for a policy that does nothing
    """

    card: str = ""
    state_names: list[str] = field(default_factory=list)
    action_feature_names: list[str] = field(default_factory=list)
    clock: str = REAL
    strategy: str = "in_painting"
    replan_steps: int = REPLAN_STEPS
    seed: int = 0
    server: str | None = None
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clock not in (REAL, STEPS):
            raise KinemaError(f"--policy.clock={self.clock}: choices: {REAL}, {STEPS}")

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None

    def validate_features(self) -> None:
        """Names and counts are compared when the policy is made (`KinemaPolicy`)."""

    def get_optimizer_preset(self) -> NoReturn:
        raise NotImplementedError(TRAINED_ELSEWHERE)

    def get_scheduler_preset(self) -> NoReturn:
        raise NotImplementedError(TRAINED_ELSEWHERE)
