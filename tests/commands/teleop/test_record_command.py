"""`kinema record` and `kinema replay` as a person has them: typed keys, a simulated robot, a data set."""

from __future__ import annotations

import os
import pty
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("mujoco")

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.teleop.replay import Replay
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.metadata import INTERVENTION
from kinema.data.source import from_dataset
from kinema.schema import KinemaError, Observation

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a terminal of Linux")
SENTENCE = "put the red block in the blue bowl"


class Typist:
    """Somebody at the terminal that the program was started in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._person, program = pty.openpty()
        self._stdin = os.fdopen(program, "r")
        monkeypatch.setattr(sys, "stdin", self._stdin)

    def types(self, *keys: tuple[float, str]) -> None:
        """Each of these after so many seconds, once keys are listened to."""

        def work() -> None:
            while termios.tcgetattr(self._stdin)[3] & termios.ECHO:
                time.sleep(0.02)
            for wait_s, key in keys:
                time.sleep(wait_s)
                os.write(self._person, key.encode())

        Thread(target=work, daemon=True).start()

    def close(self) -> None:
        self._stdin.close()
        os.close(self._person)


@pytest.fixture
def typist(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typist]:
    one = Typist(monkeypatch)
    yield one
    one.close()


def test_what_is_typed_is_recorded_replayed_and_learnt_from(
    typist: Typist, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    up = [(0.1, "r")] * 25
    typist.types(*up, (0.2, "b"), (1.0, " "), (0.3, "\r"))
    assert cli.exit_code(["record", str(out), SENTENCE, "--episodes", "1", "--seconds", "20"]) == 0
    printed = capsys.readouterr().out
    assert "a success" in printed
    dataset = Dataset.open(out)
    assert dataset.metadata.features[INTERVENTION] == {
        "dtype": "bool", "shape": [1], "names": ["by_person"],
    }  # fmt: skip
    by_person = np.asarray(dataset.column(INTERVENTION)).reshape(-1) > 0
    assert by_person[:5].all()  # with nobody else there, the body is theirs from the beginning
    assert 5 <= (~by_person).sum() < len(by_person) / 2
    z = dataset.state[:, [c.name for c in load_card("panda").states].index("z")]
    assert z.max() > z[0] + 0.03
    source = from_dataset(Index.open(out), load_card("panda"), image_size=32, cache=tmp_path / "cache")
    starts = source.starts[np.arange(len(source.starts))]
    assert by_person[starts].all()
    assert len(starts) == by_person.sum()
    before_handing_back = np.array([np.flatnonzero(~by_person)[0] - 2])
    _, real = source.windows(before_handing_back, 6)
    assert real[0].tolist()[:4] == [True, True, False, False]
    (out / "kinema.yaml").write_text("learn_from: all\n")
    whole = from_dataset(Index.open(out), load_card("panda"), image_size=32, cache=tmp_path / "cache2")
    assert len(whole.starts) == len(by_person)
    assert cli.exit_code(["replay", str(out)]) == 0
    said = capsys.readouterr().out
    assert "furthest from what was recorded" in said


def test_what_is_to_be_forgotten_is_and_the_sitting_can_end(
    typist: Typist, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typist.types((2.0, "w"), (0.3, "\x7f"), (2.0, "w"), (0.3, "\x1b"))
    out = tmp_path / "set"
    assert cli.exit_code(["record", str(out), SENTENCE, "--episodes", "5", "--seconds", "20"]) == 0
    assert "episode 1 is forgotten" in capsys.readouterr().out
    assert Dataset.open(out).num_episodes == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["record", "OUT", SENTENCE, "--with", "mouse"], "choices: keyboard, gamepad"),
        (["record", "OUT", SENTENCE, "--with", "gamepad:/dev/input/none"], "no gamepad at /dev/input/none"),
        (["record", "OUT", SENTENCE, "--policy", "nano_simpler"], "knows widowx_simpler, not panda"),
        (["record", "OUT", SENTENCE, "--arm", "left"], "panda has no left arm"),
        (["record", "OUT", SENTENCE, "--wiring", "w.yaml"], "--driver"),
        (["record", "OUT", SENTENCE, "--with-set", "id=x"], "settings of lerobot:TYPE"),
        (["replay", "nowhere"], "nowhere"),
        (["replay", "nowhere", "--wiring", "w.yaml"], "--driver"),
        (["calibrate", "my_robots:Arm"], "what is calibrated here is lerobot's"),
        (["calibrate", "lerobot:so101_leader"], "needs the package lerobot"),
    ],
    ids=lambda value: " ".join(value[:1] + value[3:]) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_moves_nothing(
    arguments: list[str], says: str, typist: Typist, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.exit_code([str(out) if word == "OUT" else word for word in arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_replay_waits_until_the_body_is_where_it_begins_and_then_keeps_time() -> None:
    card = load_card("panda")
    actions = np.tile(np.array([0.45, 0.0, 0.3, 0, 0, 0, 1.0]), (20, 1))
    actions[:, 1] = np.linspace(0.0, 0.19, 20)
    replay = Replay(card, actions)

    def asked(y: float, time_s: float) -> np.ndarray:
        state = np.zeros(len(card.states), np.float32)
        state[:3] = 0.45, y, 0.3
        seen = Observation(images={}, state=state, instruction=SENTENCE, time_s=time_s)
        return replay.infer(seen, "panda").values

    np.testing.assert_array_equal(asked(0.2, 0.0), np.tile(actions[0], (card.chunk, 1)))
    assert replay.began_s is None
    np.testing.assert_array_equal(asked(0.0, 3.0), actions[: card.chunk])
    np.testing.assert_array_equal(asked(0.1, 3.5)[0], actions[5])
    assert not replay.is_over(4.9)
    assert replay.is_over(5.2)


def test_a_set_in_which_no_person_acted_teaches_nothing_unless_told_so(
    tmp_path: Path, typist: Typist, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kinema.commands.data.recorder import EpisodeRecorder
    from kinema.runtime.record import Step
    from kinema.runtime.watchdog import Mode

    card = load_card("panda")
    with EpisodeRecorder(tmp_path, card, image_size=16, by_person=True) as recorder:
        for i in range(20):
            state = np.array([0.45, 0, 0.3, 0, 0, 0, 1.0], np.float32)
            picture = np.full((16, 16, 3), i, np.uint8)
            images = dict.fromkeys(card.camera_names, picture)
            seen = Observation(images=images, state=state, instruction=SENTENCE, time_s=i / card.control_hz)
            recorder(
                Step(
                    time_s=seen.time_s, observation=seen, asked=state.astype(float), sent=state.astype(float),
                    mode=Mode.RUNNING, verdict=None, latency_s=0.0, age_s=0.1, by_person=False,
                )
            )  # fmt: skip
        recorder.finish(SENTENCE, None)
    with pytest.raises(KinemaError, match="a person had the body at none of the steps"):
        from_dataset(Index.open(tmp_path), card, image_size=16, cache=tmp_path / "cache")
