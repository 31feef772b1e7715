"""docs/your-data.md is true: its blocks run in order, in one folder and one Python session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "your-data.md"


@pytest.mark.slow
def test_every_block_of_the_guide_runs(tmp_path: Path, run_guide: Callable[[Path], None]) -> None:
    for package in ("mujoco", "torch", "rerun"):
        pytest.importorskip(package)
    run_guide(GUIDE)
    assert (tmp_path / "out/panda.html").stat().st_size > 10_000
    assert (tmp_path / "out/panda.rrd").stat().st_size > 1_000
    assert (tmp_path / "out/eval/results.json").is_file()
