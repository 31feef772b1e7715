"""The doctor names what is missing and the line that gets it."""

from __future__ import annotations

import importlib.metadata

import pytest

from kinema import cli, doctor
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


def test_a_renderer_that_fails_gets_the_packages_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    finding = next(f for f in doctor.examine() if f.what == "rendering")
    assert finding.level is Level.MISSING
    assert "apt-get install -y libegl1" in finding.remedy


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
