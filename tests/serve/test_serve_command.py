"""`kinema serve`, `kinema client` and `kinema bench serve`, as a user types them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import PANDA, observation, running

from kinema.cli import exit_code
from kinema.commands.serve.bench_serve import LoadReport, server
from kinema.commands.serve.hostile import ATTACKS
from kinema.commands.serve.load import Outcome
from kinema.commands.serve.served import served
from kinema.model.policy.made_up import observation as made_up
from kinema.runtime.client import RemotePolicy
from kinema.serve.app import make_app

SENTENCE = "put the red block in the blue bowl"
NO_TORCH = """
import sys
for name in ("torch", "transformers", "fastapi", "uvicorn", "sqlalchemy", "pyarrow", "av"):
    sys.modules[name] = None
from kinema.cli import main
main()
"""


@contextmanager
def serving(artifact: str, folder: Path) -> Iterator[str]:
    with server(artifact, folder) as running:
        yield f"ws://{running.host}"


def test_the_shipped_policy_answers_the_same_over_the_network() -> None:
    pytest.importorskip("torch")
    found = served("nano")
    local: Any = found.policy
    with (
        running(make_app(found)) as running_server,
        RemotePolicy(running_server.ws, timeout_s=60.0) as remote,
    ):
        assert remote.hello()["model"] == "nano"
        for policy in (local, remote):
            policy.reset(3)
        for seed in range(2):
            seen = observation(PANDA, px=96, seed=seed, instruction=SENTENCE)
            here, there = local.infer(seen, "panda"), remote.infer(seen, "panda")
            np.testing.assert_allclose(there.values, here.values, atol=1e-6)
            np.testing.assert_allclose(there.times_s, here.times_s)
        committed = remote.infer(seen, "panda", here)  # the answer begins with what is already decided
        assert committed.values.shape == here.values.shape


@pytest.mark.slow
def test_a_robot_is_driven_from_a_server_without_torch(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    with serving("hold", tmp_path) as url:
        done = subprocess.run(
            [sys.executable, "-c", NO_TORCH, "client", SENTENCE, "--server", url, "--seconds", "2"],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    asked, answered = map(int, re.search(r"(\d+) questions, (\d+) answers", done.stdout).groups())  # type: ignore[union-attr]
    assert asked >= answered >= 1
    assert f"failure: {SENTENCE}" in done.stdout  # the hold policy does nothing


def test_a_robot_without_a_server_is_not_moved(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["client", SENTENCE, "--server", "ws://127.0.0.1:9"]) == 2
    assert "lost" in capsys.readouterr().err


def test_a_body_that_is_not_served_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = tmp_path / "my_arm.yaml"
    text = (Path(__file__).parents[2] / "src/kinema/card/robots/panda.yaml").read_text()
    card.write_text(text.replace("name: panda", "name: my_arm", 1))
    with serving("hold", tmp_path) as url:
        assert exit_code(["client", SENTENCE, "--server", url, "--robot", str(card)]) == 2
    assert "does not serve my_arm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "--insecure-beyond-localhost"),
        (["--tls-cert", "nowhere.pem"], "--tls-key"),
        (["--tls-cert", "nowhere.pem", "--tls-key", "nowhere.key"], "no file"),
        (["--tls-cert", __file__, "--tls-key", __file__], "test_serve_command.py are no certificate"),
        (["--database", "mysql://x"], "sqlite"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("KINEMA_HOME", str(tmp_path))
    assert exit_code(["serve", "hold", "--port", "0", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_without_keys_no_database_is_needed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("this is no folder")
    with (
        server("hold", tmp_path, home=home, kept=False) as found,
        RemotePolicy(f"ws://{found.host}", timeout_s=30.0) as policy,
    ):
        assert policy.infer(observation(PANDA, px=16), "panda").card == "panda"
    assert home.read_text() == "this is no folder"


def test_what_cannot_begin_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KINEMA_HOME", str(tmp_path))
    (tmp_path / "usage").write_text("where the journal should be")
    assert exit_code(["serve", "hold", "--port", "0", "--keys"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "cannot begin" in captured.err
    assert "kinema serves" not in captured.out  # which is said when it listens


def test_a_port_in_use_is_told_before_the_policy_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    monkeypatch.setenv("KINEMA_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert exit_code(["serve", "no_such_policy", "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bench_measures_overhead_and_load(capsys: pytest.CaptureFixture[str]) -> None:
    """Short and with a policy that does nothing; the numbers that count are measured by hand."""
    code = exit_code(["bench", "serve", "hold", "--rounds", "20", "--clients", "8", "--seconds", "2"])
    text = capsys.readouterr().out
    assert code in (0, 1)
    assert re.search(r"overhead \(bar: 3 ms\) +\d", text)
    assert re.search(r"neither in time, wrong, connections lost +0, 0, 0", text)
    rows, answers = map(int, re.search(r"usage rows for answers +(\d+) for (\d+)", text).groups())  # type: ignore[union-attr]
    assert rows == answers > 0
    assert "server alive" in text


def whole(**change: object) -> LoadReport:
    found = {"rows_written": 2, "alive": True, "memory_mb": [100.0] * 8, "outcome": Outcome()} | change
    report = LoadReport(**found)  # type: ignore[arg-type]
    report.outcome.asked, report.outcome.answered_s = 3, [0.1, 0.1]
    report.outcome.refused_s = [0.1]
    return report


def test_the_load_is_only_good_when_nothing_went_wrong() -> None:
    assert whole().good
    for fault in ("late", "wrong", "lost", "asked"):
        report = whole()
        setattr(report.outcome, fault, getattr(report.outcome, fault) + 1)
        assert not report.good
    assert not whole(alive=False).good
    assert not whole(rows_written=1).good
    assert not whole(memory_mb=[100.0 + 2 * i for i in range(8)]).good


def test_what_is_made_up_fits_the_card() -> None:
    seen = made_up(PANDA, 32)
    assert set(seen.images) == set(PANDA.camera_names)
    assert seen.state.shape == (len(PANDA.states),)


@pytest.mark.slow
def test_a_hostile_client_of_any_kind_costs_a_robot_no_answer(capsys):
    """How long the answers take is for a quiet machine to say: `kinema bench hostile`."""
    exit_code(["bench", "hostile", "hold", "--seconds", "1"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == len(ATTACKS)  # each with what was lost alone, before and after, and beside it
    assert {row[-1] for row in rows} == {"0"}
