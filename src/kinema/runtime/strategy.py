"""When a policy is asked and how its answer takes over: the ways to live with its latency.

synchronous:  the body waits for every answer and then plays its first steps; the baseline.
blend:        the body moves on while the policy thinks; the answer is faded in.
in_painting:  the policy is also told what will be played before it can answer, and its answer begins with
              that (real-time chunking: Black et al. 2025, arXiv 2506.07339).

The last two stand still to look before a hand opens or closes (`runtime/hands.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from kinema.card.card import EmbodimentCard
from kinema.runtime.buffer import Blend, Continue, Splice, StartAnew
from kinema.schema import KinemaError

STRATEGIES = ("synchronous", "blend", "in_painting")
REPLAN_STEPS = 4  # of the nano policy: contact wants a look every 0.4 s
BLEND_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """replan_steps: control steps between two questions. `waits`: asks only at the end of what it plays;
    if not, it stands still before a hand opens or closes. `paints`: tells the policy what is committed.
    """

    name: str
    replan_steps: int
    splice: Splice
    waits: bool
    paints: bool


def strategy(name: str, card: EmbodimentCard, replan_steps: int = REPLAN_STEPS) -> Strategy:
    """One of STRATEGIES for a body. Raises KinemaError naming the choices."""
    if not 1 <= replan_steps <= card.chunk:
        raise KinemaError(
            f"replan_steps must be in 1 ... {card.chunk} (the chunk of {card.name}); got {replan_steps}"
        )
    fade = Blend(BLEND_STEPS / card.control_hz)
    splices: dict[str, tuple[Splice, bool, bool]] = {
        "synchronous": (StartAnew(replan_steps), True, False),
        "blend": (fade, False, False),
        "in_painting": (Continue(BLEND_STEPS / card.control_hz), False, True),
    }
    if name not in splices:
        raise KinemaError(f"unknown strategy {name!r}; choices: {', '.join(STRATEGIES)}")
    splice, waits, paints = splices[name]
    return Strategy(name=name, replan_steps=replan_steps, splice=splice, waits=waits, paints=paints)


class LatencyEstimate:
    """How long the next answer may take: the longest of the last ones, since late is worse than early.

    Never more than `longest_s`: an answer that loaded or compiled something says little about the next.
    """

    def __init__(self, longest_s: float, remembered: int = 5) -> None:
        self.longest_s = longest_s
        self._seen: deque[float] = deque(maxlen=remembered)

    def add(self, latency_s: float) -> None:
        self._seen.append(min(latency_s, self.longest_s))

    @property
    def seconds(self) -> float:
        return max(self._seen, default=0.0)
