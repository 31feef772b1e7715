"""The doctor names what is missing and the line that gets it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kinema import cli, doctor
from kinema.bench.gl import prefer_egl
from kinema.commands import rendering
from kinema.doctor import Level


def test_every_extra_of_the_package_is_examined() -> None:
    extras = set(importlib.metadata.metadata("kinema").get_all("Provides-Extra") or [])
    assert extras - {"all", "dev"} == set(doctor.EXTRAS)
    assert all(doctor.requirements(extra) for extra in doctor.EXTRAS)


def test_a_missing_package_comes_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.version

    def version(name: str) -> str:
        if name == "mujoco":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    finding = next(f for f in doctor.examine() if f.what == "tabletop")
    assert finding.level is Level.MISSING
    assert "mujoco is not installed" in finding.detail
    assert "pip install" in finding.remedy
    assert ".[tabletop]" in finding.remedy


def test_a_wrong_version_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "3.2.0" if name == "mujoco" else found(name)
    )
    finding = next(f for f in doctor.examine() if f.what == "tabletop")
    assert finding.level is Level.MISSING
    assert "mujoco is 3.2.0, wanted ==3.3.0" in finding.detail


def test_a_wrong_setting_is_named_before_a_package_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    """For real: MuJoCo refuses the word, and with EGL it draws."""
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    finding = doctor.rendering()
    assert finding.level is Level.MISSING
    assert "MUJOCO_GL is 'nonsense'" in finding.detail
    assert finding.remedy.startswith("export MUJOCO_GL=egl")
    assert "apt-get" not in finding.remedy


def draws_with(monkeypatch: pytest.MonkeyPatch, on: str, works: Callable[[dict[str, str]], bool]) -> None:
    """A machine of this platform on which drawing works with such variables."""

    def run(command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        code = 0 if works(env) else 1
        return subprocess.CompletedProcess(command, code, "drew", "Traceback\nRuntimeError: no such thing\n")

    monkeypatch.setattr(doctor.sys, "platform", on)
    monkeypatch.setattr(doctor.subprocess, "run", run)
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)


@pytest.mark.parametrize("asked", ["glx", "osmesa", "glfw", "nonsense", "", "off", "EGL "])
@pytest.mark.parametrize("driver", [True, False])
def test_on_linux_the_setting_is_mended_first(
    asked: str, driver: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws_with(monkeypatch, "linux", lambda env: driver and env["MUJOCO_GL"] == "egl")
    monkeypatch.setenv("MUJOCO_GL", asked)
    finding = doctor.rendering()
    assert f"RuntimeError: no such thing (MUJOCO_GL is {asked!r})" == finding.detail
    setting = "export MUJOCO_GL=egl"
    assert finding.remedy == (setting if driver else f"{doctor.GL_LINE} && {setting}")


def test_with_the_right_setting_the_packages_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    draws_with(monkeypatch, "linux", lambda env: False)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert doctor.rendering().remedy == doctor.GL_LINE


def test_a_setting_of_pyopengl_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    draws_with(monkeypatch, "linux", lambda env: "PYOPENGL_PLATFORM" not in env)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("PYOPENGL_PLATFORM", "osmesa")
    assert doctor.rendering().remedy == "unset PYOPENGL_PLATFORM"


def test_on_a_mac_nobody_is_sent_to_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    draws_with(monkeypatch, "darwin", lambda env: "MUJOCO_GL" not in env)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert doctor.rendering().remedy == "unset MUJOCO_GL"
    monkeypatch.delenv("MUJOCO_GL")
    assert doctor.rendering().level is Level.GOOD
    draws_with(monkeypatch, "darwin", lambda env: False)
    assert doctor.rendering().remedy == "run it in a session with a screen"


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_nothing_asks_for_egl_away_from_linux(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(sys, "platform", system.lower())
    monkeypatch.setattr(platform, "system", lambda: system)
    prefer_egl()
    assert cli.exit_code(["--help"]) == 0
    assert "MUJOCO_GL" not in os.environ
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    prefer_egl()
    assert os.environ["MUJOCO_GL"] == "egl"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "put the red block in the blue bowl"],
        *(["eval", name] for name in ("tabletop", "metaworld", "latency", "safety", "world", "scene2robot")),
        ["data", "make", "tabletop"],
        ["dream"],
    ],
    ids=" ".join,
)
def test_what_cannot_draw_says_so_in_one_line_before_it_begins(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUJOCO_GL", "glx")
    missing = doctor.Finding(what="rendering", level=Level.MISSING, detail="broken", remedy="mend it")
    monkeypatch.setattr(rendering, "_found", lambda setting: missing)
    arguments = [*arguments, "--out", "made"] if arguments[0] in ("data", "dream") else arguments
    assert cli.exit_code(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("kinema: the simulator cannot draw here: broken; to mend it: mend it")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_an_import_that_fails_on_opengl_is_one_line_in_every_command() -> None:
    """For real, in a command that looks for no screen of its own."""
    code = "from kinema.cli import main; main(['bench', 'world', '--robots', 'panda'])"
    environment = {**os.environ, "MUJOCO_GL": "osmesa"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        pytest.skip("this machine has OSMesa")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "MUJOCO_GL is 'osmesa'" in done.stderr
    assert "export MUJOCO_GL=egl" in done.stderr


def test_exit_code_says_whether_all_is_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = doctor.Finding(what="a", level=Level.GOOD, detail="fine")
    bad = doctor.Finding(what="b", level=Level.MISSING, detail="gone", remedy="get b")
    monkeypatch.setattr(doctor, "examine", lambda: iter([good]))
    assert cli.exit_code(["doctor"]) == 0
    monkeypatch.setattr(doctor, "examine", lambda: iter([good, bad]))
    assert cli.exit_code(["doctor"]) == 1
    assert "to get it: get b" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="the script is for Debian and Ubuntu")
def test_the_set_up_says_in_a_line_that_there_is_no_fitting_python(tmp_path: Path) -> None:
    """With nothing but a Python 3.14, for which there is no mujoco 3.3.0."""
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (tmp_path / name).write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.14.0"\n[ "$1" = -V ]\n')
        (tmp_path / name).chmod(0o755)
    script = Path(__file__).parents[1] / "scripts" / "setup.sh"
    done = subprocess.run(
        ["/bin/bash", str(script), str(tmp_path / "venv")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no Python 3.11, 3.12 or 3.13 found" in done.stderr
    assert "Python 3.14.0" in done.stderr
