"""`kinema client`: drivers by name, every way out, and what is kept of a run. A policy is the server."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import signal
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from kinema.card.load import card_names, load_card
from kinema.cli import exit_code
from kinema.commands.data.recorder import SUCCESS
from kinema.commands.driver import make_driver
from kinema.commands.serve import client
from kinema.data.lerobot import Dataset
from kinema.runtime.client import RemotePolicy
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.inference import SimulatedInference
from kinema.runtime.policy import HoldPolicy
from kinema.runtime.record import Log
from kinema.runtime.robot import parts_of
from kinema.schema import ActionChunk, KinemaError, Observation, Verdict

SO101 = load_card("so101")
DRIVER = """
import json, signal
import numpy as np
from kinema.card.load import load_card

card = load_card("so101")
MIDDLE = {f"{c.name}.pos": sum(c.range) / 2 for c in card.states}


class Arm:
    name, is_connected, keep_torque = "arm", False, False
    units = {f"{c.name}.pos": c.unit for c in card.states}
    action_features = dict.fromkeys(MIDDLE, float)
    observation_features = action_features | {name: (24, 32, 3) for name in card.camera_names}

    def __init__(self, log, at=0, signal=0, fault="", units=True):
        self.log, self.at, self.signal, self.fault, self.reads = log, at, signal, fault, 0
        self.state = dict(MIDDLE)
        if not units:
            self.units = {}

    def say(self, **what):
        with open(self.log, "a") as file:
            file.write(json.dumps(what) + "\\n")

    def connect(self, calibrate=True):
        self.is_connected = True

    def get_observation(self):
        self.reads += 1
        if self.at and self.reads >= self.at:
            if self.signal and self.reads == self.at:
                signal.raise_signal(self.signal)
            if self.fault:
                raise eval(self.fault)
        pictures = {name: np.full((24, 32, 3), self.reads % 251, np.uint8) for name in card.camera_names}
        return self.state | pictures

    def send_action(self, action):
        self.say(sent=action)
        return action

    def disconnect(self):
        self.is_connected = False
        self.say(disconnected=True, keep_torque=self.keep_torque)
"""


class Near(HoldPolicy):
    """In the role of a policy on a server: it answers, and says how often an episode was begun."""

    url = "here"

    def __init__(self) -> None:
        super().__init__(SO101)
        self.resets: list[int] = []

    def reset(self, seed: int) -> None:
        self.resets.append(seed)

    def __enter__(self) -> Near:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> Near:
    policy = Near()
    monkeypatch.setattr(client, "connected", lambda *_, **__: policy)
    monkeypatch.setattr("kinema.runtime.clock.RealClock", SimulatedClock)
    return policy


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, which nobody named in PYTHONPATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


class Far(RemotePolicy):
    """The policy on a server, of which only the server is missing; its gate refuses three chunks."""

    def __init__(self) -> None:
        super().__init__("ws://nowhere:1")
        self.told: list[str | None] = []

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        self.told.append(self.mode)
        chunk = HoldPolicy(SO101).infer(observation, card_name)
        refused = Verdict(allowed=False, risk={}, limit={}, horizon_s=1.0, reason="it would fall")
        return replace(chunk, verdict=refused) if len(self.told) in (3, 4, 5) else chunk


NUMBERS = itertools.count()


def run(folder: Path, *more: str, **settings: Any) -> tuple[int, list[dict[str, Any]]]:
    """The command with the driver above as a file of the folder: its exit code and what the driver logged."""
    name, log = f"my_robots_{next(NUMBERS)}", folder / "log"
    (folder / f"{name}.py").write_text(DRIVER)
    log.unlink(missing_ok=True)
    told = [
        x
        for k, v in {"log": log, **settings}.items()
        for x in ("--set", f"{k}={json.dumps(str(v)) if isinstance(v, str) else v}")
    ]
    code = exit_code(["client", "stand still", "--robot", "so101", "--driver", f"{name}:Arm", *told, *more])
    return code, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_driver_of_the_current_folder_is_driven_and_an_episode_begun(folder: Path, near: Near) -> None:
    code, log = run(folder, "--seconds", "1", "--seed", "7")
    assert code == 0
    assert near.resets == [7]
    assert log[-1] == {"disconnected": True, "keep_torque": True}
    sent = np.array([list(each["sent"].values()) for each in log[:-1]])
    np.testing.assert_allclose(sent, [[sum(c.range) / 2 for c in SO101.states]] * len(sent), atol=1e-6)


@pytest.mark.parametrize("recorded", [False, True])
def test_the_server_is_told_with_every_question_how_the_body_stood(
    folder: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    far, log = Far(), Log()
    monkeypatch.setattr(
        "kinema.runtime.inference.ThreadedInference", lambda policy: SimulatedInference(policy, lambda _: 0.0)
    )
    (folder / "told_arm.py").write_text(DRIVER)
    arm = make_driver("told_arm:Arm", None, ["log=log"])
    client.drive(
        far, SO101, arm, SimulatedClock(), "stand still", "synchronous", 12.0, log if recorded else None
    )
    assert far.told[0] is None  # the first question is asked in the first step
    assert set(far.told[1:]) == {"running", "holding"}
    assert far.told.index("holding") > 2
    assert far.told[-1] == "running"
    assert bool(log.steps) == recorded
    assert client.telling(HoldPolicy(SO101), log) is log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_body_hold_and_keeps_the_recording(
    folder: Path, near: Near, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    code, log = run(folder, "--record", "set", "--success", at=7, signal=int(number))
    assert code == 128 + number
    assert signal.getsignal(number) is before
    assert log[-1] == {"disconnected": True, "keep_torque": True}
    hold = [sum(c.range) / 2 for c in SO101.states]
    np.testing.assert_allclose(list(log[-2]["sent"].values()), hold, atol=1e-6)
    said = capsys.readouterr()
    assert "stopping: the robot holds" in said.err
    assert "how it ended: unknown" in said.out
    data = Dataset.open(folder / "set")
    assert data.num_episodes == 1
    assert f"recorded {data.num_frames} steps as {data.num_frames} frames" in said.out
    assert data.num_frames >= 4
    assert not data.column(SUCCESS).any()


def test_a_second_signal_breaks_off_and_still_keeps_all(folder: Path, near: Near, monkeypatch: Any) -> None:
    def twice(self: Any, number: int, frame: Any, came: Any = client.Stopping._came) -> None:
        came(self, number, frame)
        came(self, number, frame)

    monkeypatch.setattr(client.Stopping, "_came", twice)
    code, log = run(folder, "--record", "set", at=7, signal=int(signal.SIGTERM))
    assert code == 143
    assert log[-1]["disconnected"]
    assert Dataset.open(folder / "set").num_episodes == 1


@pytest.mark.parametrize(
    "fault",
    ["ZeroDivisionError('a fault of the driver')", "ConnectionError('no status packet from the bus')"],
)
def test_a_fault_keeps_the_recording_and_lets_the_robot_go(
    folder: Path, near: Near, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, log = run(folder, "--record", "set", "--seconds", "5", at=9, fault=fault)
    assert code != 0
    assert log[-1] == {"disconnected": True, "keep_torque": True}
    assert Dataset.open(folder / "set").num_episodes == 1
    assert "recorded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "known", "success"), [([], 0, 0), (["--success"], 1, 1), (["--no-success"], 1, 0)]
)
def test_success_is_unknown_unless_somebody_said_it(
    folder: Path, near: Near, arguments: list[str], known: int, success: int
) -> None:
    assert run(folder, "--record", "set", "--seconds", "0.5", *arguments)[0] == 0
    data = Dataset.open(folder / "set")
    assert (data.column(SUCCESS) == [known, success]).all()
    assert data.success is None, "a column of failures would say what nobody knows"


def test_pictures_are_kept_as_the_camera_gives_them_or_as_asked(folder: Path, near: Near) -> None:
    assert run(folder, "--record", "own", "--seconds", "0.3")[0] == 0
    assert run(folder, "--record", "asked", "--record-px", "16", "--seconds", "0.3")[0] == 0
    shapes = [
        Dataset.open(folder / n).metadata.features["observation.images.front"]["shape"]
        for n in ("own", "asked")
    ]
    assert [list(shape) for shape in shapes] == [[24, 32, 3], [16, 16, 3]]


def test_units_come_from_the_driver_or_a_wiring_file(
    folder: Path, near: Near, capsys: pytest.CaptureFixture[str]
) -> None:
    code, log = run(folder, units=False)
    assert (code, log) == (2, [])
    error = capsys.readouterr().err
    assert "nobody says in which unit 'shoulder_pan.pos'" in error
    assert error.count("\n") == 1
    lines = "".join(f"  {c.name}: {{unit: {c.unit}}}\n" for c in SO101.states)
    (folder / "w.yaml").write_text(f"version: 1\ncard: so101\nchannels:\n{lines}")
    assert run(folder, "--wiring", "w.yaml", "--seconds", "0.3", units=False)[0] == 0


def test_robots_wiring_writes_a_first_file_that_must_be_settled(
    folder: Path, near: Near, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "my_arm.py").write_text(DRIVER)
    settings = ["--set", f"log={folder / 'log'}", "--set", "units=false"]
    command = ["robots", "wiring", "so101", "my_arm:Arm", *settings]
    assert exit_code([*command, "--out", "w.yaml"]) == 0
    assert "question marks to settle" in capsys.readouterr().out
    assert '"sent"' not in (folder / "log").read_text(), "nothing was moved"
    text = (folder / "w.yaml").read_text()
    assert (
        exit_code(
            [
                "client",
                "stand still",
                "--robot",
                "so101",
                "--driver",
                "my_arm:Arm",
                *settings,
                "--wiring",
                "w.yaml",
            ]
        )
        == 2
    )
    assert "is a guess" in capsys.readouterr().err
    assert exit_code([*command, "--out", "w.yaml"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert exit_code(command) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("instruction", ["", " ", "a\0b", "x" * 5000])
def test_an_instruction_that_could_not_be_recorded_moves_nothing(
    folder: Path, near: Near, instruction: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "arm_of_words.py").write_text(DRIVER)
    driver = ["--driver", "arm_of_words:Arm", "--set", f"log={folder / 'log'}"]
    assert exit_code(["client", instruction, "--robot", "so101", *driver, "--record", "set"]) == 2
    assert "instruction" in capsys.readouterr().err
    assert not (folder / "log").exists()


@pytest.mark.parametrize(
    "told", [["--driver-config", "arm.yaml"], ["--set", "port=a"], ["--wiring", "w.yaml"]]
)
def test_what_is_said_of_a_driver_that_nobody_named_is_refused(
    folder: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / told[1]).write_text("port: a\n")
    sentence = "put the red block in the blue bowl"
    assert exit_code(["client", sentence, "--server", "hold", *told]) == 2
    error = capsys.readouterr().err
    assert "name it with --driver" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_named(
    folder: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (folder / "mine.pem").write_text(content)
    assert exit_code(["client", "put the red block in the blue bowl", "--ca", "mine.pem"]) == 2
    error = capsys.readouterr().err
    assert "--ca mine.pem: " in error
    assert error.count("\n") == 1


def test_the_first_run_needs_no_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema.runtime.clock.RealClock", SimulatedClock)
    code, log = run(folder, "--server", "hold", "--seconds", "1")
    assert code == 0
    assert log[-1]["disconnected"]


def test_the_examples_name_bodies_that_a_shipped_policy_drives() -> None:
    trained = {path.stem for path in (files("kinema") / "artifacts/nano/cards").iterdir()}  # type: ignore[attr-defined]
    lines = [shlex.split(line) for line in re.findall(r"kinema client .*", client.EXAMPLES)]
    assert len(lines) >= 3
    for words in lines:
        robot = words[words.index("--robot") + 1] if "--robot" in words else "panda"
        assert robot in trained or words[words.index("--server") + 1] == "hold", words
        assert robot in card_names()


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("nowhere:make", [], "no driver 'nowhere:make'"),
        ("nowhere", [], "write module:callable"),
        ("math:pi", [], "nothing that makes a robot"),
        ("math:nothing", [], "no driver 'math:nothing'"),
        ("builtins:dict", [], "dict without name, observation_features"),
        ("mine:Arm", [], r"cannot be made with the settings \{\}: missing a required argument: 'log'"),
        ("mine:Arm", ["log=x", "colour=red"], "unexpected keyword argument 'colour'"),
        ("mine:Arm", ["log"], "write key=value"),
        ("mine:Arm", ["log=x", "log.a=1"], "nothing with parts"),
        ("mine:Arm", ["log=[1"], "--set 'log=\\[1'"),
        ("broken:make", [], "no driver 'broken:make'"),
    ],
)
def test_a_driver_that_cannot_be_made_is_said(
    folder: Path, name: str, settings: list[str], says: str
) -> None:
    (folder / "mine.py").write_text(DRIVER)
    (folder / "broken.py").write_text("def make(:\n")
    sys.modules.pop("mine", None)
    with pytest.raises(KinemaError, match=says):
        make_driver(name, None, settings)


def test_settings_of_a_file_and_of_the_line_are_put_together(folder: Path) -> None:
    (folder / "given.py").write_text(
        DRIVER + "\n\ndef make(**given):\n    arm = Arm('log')\n    arm.given = given\n    return arm\n"
    )
    (folder / "arm.yaml").write_text("port: /dev/ttyACM0\ncameras: {front: {type: opencv, fps: 30}}\n")
    settings = ["id=blue", "cameras.front.fps=15", "cameras.wrist.type=opencv", "use_degrees=true"]
    made: Any = make_driver("given:make", folder / "arm.yaml", settings)
    assert made.given == {
        "port": "/dev/ttyACM0",
        "id": "blue",
        "use_degrees": True,
        "cameras": {"front": {"type": "opencv", "fps": 15}, "wrist": {"type": "opencv"}},
    }
    assert parts_of(made) == [("", made)]


def test_lerobots_robots_need_lerobot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot", None)
    with pytest.raises(KinemaError, match=r"lerobot:so101_follower needs the package lerobot"):
        make_driver("lerobot:so101_follower", None, ["port=/dev/ttyACM0"])
