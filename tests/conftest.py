"""Settings that must stand before MuJoCo and the numeric libraries are imported, and for all laws."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo's own default needs a screen
# The tests run in one process per core; so small pictures are drawn sooner without threads too (Mesa's
# software OpenGL), and are the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "0")

# `nohup make test`: what ignores a signal passes that on, and the tests send it.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import hypothesis
import pytest

# A busy machine is no fault of the code, and the same code gives the same verdict every time.
hypothesis.settings.register_profile("kinema", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=400)
hypothesis.settings.load_profile("kinema")

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def run_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Runs every fenced bash and python block of a guide, in order, in an empty folder."""

    def run(guide: Path) -> None:
        monkeypatch.chdir(tmp_path)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        names: dict[str, object] = {}
        blocks = BLOCK.findall(guide.read_text())
        assert {language for language, _ in blocks} == {"bash", "python"}
        for language, code in blocks:
            if language == "python":
                exec(compile(code, str(guide), "exec"), names)
            else:
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", code],
                    env={**os.environ, "PATH": path},
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, done.stdout + done.stderr

    return run
