"""`kinema train`: run a recipe."""

from __future__ import annotations

from kinema.commands.terminal import examples

EXAMPLES = examples("kinema train debug")


def train() -> None:
    """Run a recipe."""
