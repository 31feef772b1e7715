"""`kinema eval`: judge a policy on a benchmark."""

from __future__ import annotations

from kinema.commands.terminal import examples

EXAMPLES = examples("kinema eval tabletop --policy expert --episodes 1 --out out/expert")


def evaluate() -> None:
    """Judge a policy on a benchmark."""
