"""`kinema run`."""

from __future__ import annotations

from kinema.commands.terminal import examples

EXAMPLES = examples('kinema run "put the red block in the blue bowl"')


def run() -> None:
    """Run."""
