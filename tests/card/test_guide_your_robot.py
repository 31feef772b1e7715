"""docs/your-robot.md is true: its blocks run in order, in one folder and one Python session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "your-robot.md"


def test_every_block_of_the_guide_runs(run_guide: Callable[[Path], None]) -> None:
    pytest.importorskip("mujoco")  # `kinema robots check` compiles the body
    run_guide(GUIDE)
