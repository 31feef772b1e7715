"""docs/your-data.md is true: its blocks run in order, in one folder and one Python session."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "your-data.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("mujoco", "torch", "rerun"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names: dict[str, object] = {}
    blocks = BLOCK.findall(GUIDE.read_text())
    assert {language for language, _ in blocks} == {"bash", "python"}
    for language, code in blocks:
        if language == "python":
            exec(compile(code, str(GUIDE), "exec"), names)
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", code],
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out/panda.html").stat().st_size > 10_000
    assert (tmp_path / "out/panda.rrd").stat().st_size > 1_000
    assert (tmp_path / "out/eval/results.json").is_file()
