"""docs/serving.md is true: its blocks run in order, on ports that are free here, with a state of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "serving.md"
INSTALL = re.compile(r"```bash\npip install .*?```\n", re.DOTALL)  # this environment has what it has


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("KINEMA_DATABASE", "KINEMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KINEMA_HOME", str(tmp_path / "home"))
    text, installs = INSTALL.subn("", GUIDE.read_text())
    assert installs == 1
    path = tmp_path / "serving.md"
    for port in ("8000", "8443"):
        assert port in text
        with socket.create_server(("127.0.0.1", 0)) as free:
            text = text.replace(port, str(free.getsockname()[1]))
    path.write_text(text)
    yield path
    pid = tmp_path / "serve.pid"
    if pid.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.slow
def test_every_block_of_the_guide_runs(guide: Path, run_guide: Callable[[Path], None]) -> None:
    for package in ("mujoco", "torch", "openpi_client"):
        pytest.importorskip(package)
    for program in ("curl", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH")
    run_guide(guide)
