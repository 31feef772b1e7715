"""An episode that was played to learn from: its decisions, and how it ended.

One safetensors file each. Nothing is read of it but tensors and the few words of its header.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kinema.model.policy.decisions import Decisions, Seen, together
from kinema.schema import KinemaError

SUFFIX = ".rollout.safetensors"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """most: how many chunks an episode of this task can have"""

    task: str
    decisions: Decisions
    success: bool
    most: int

    def __post_init__(self) -> None:
        if not 0 < len(self.decisions) <= self.most:
            raise KinemaError(
                f"a rollout of {self.task} has {len(self.decisions)} chunks of at most {self.most}"
            )

    def save(self, path: Path) -> None:
        seen = {f"seen.{f.name}": getattr(self.decisions.seen, f.name) for f in fields(Seen)}
        own = {f.name: getattr(self.decisions, f.name) for f in fields(Decisions) if f.name != "seen"}
        about = {"task": self.task, "success": self.success, "most": self.most}
        save_file(
            {name: tensor.contiguous() for name, tensor in (seen | own).items()}, path,
            {"rollout": json.dumps(about)},
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Rollout:
        """Raises KinemaError for a file that is no rollout."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["rollout"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            seen = Seen(**{f.name: tensors.pop(f"seen.{f.name}") for f in fields(Seen)})
            return cls(decisions=Decisions(seen=seen, **tensors), **about)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise KinemaError(f"{path} is no rollout: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """The decisions of many episodes, one after the other.

    last: bool (n,), the last of its episode; won: bool (n,), whether its episode succeeded
    to_go: float32 (n,), chunks after it in its episode, as a fraction of the most there can be
    step: float32 (n,), one chunk as that fraction
    """

    decisions: Decisions
    last: Tensor
    won: Tensor
    to_go: Tensor
    step: Tensor

    @classmethod
    def of(cls, rollouts: Sequence[Rollout]) -> Chunks:
        counts = [len(rollout.decisions) for rollout in rollouts]
        return cls(
            decisions=together([rollout.decisions for rollout in rollouts]),
            last=torch.cat([torch.arange(n) == n - 1 for n in counts]),
            won=torch.cat([torch.full((n,), r.success) for n, r in zip(counts, rollouts)]),
            to_go=torch.cat(
                [torch.arange(n - 1, -1, -1, dtype=torch.float32) / r.most for n, r in zip(counts, rollouts)]
            ),
            step=torch.cat([torch.full((n,), 1 / r.most) for n, r in zip(counts, rollouts)]),
        )

    def __len__(self) -> int:
        return len(self.last)
