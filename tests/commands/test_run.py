"""`kinema run`: a sentence becomes a scene, a film, a recording and a report; what cannot be done is said."""

from __future__ import annotations

import signal
from pathlib import Path

import av
import numpy as np
import pytest

from kinema import cli
from kinema.commands import closed_loop
from kinema.commands.closed_loop import play, prepare
from kinema.schema import KinemaError, Result
from kinema.worlds.cameras import FILM, PLAIN
from kinema.worlds.tabletop.env import TabletopEnv
from refusals import one_line

SENTENCE = "put the red block in the blue bowl"


@pytest.fixture(scope="module", autouse=True)
def small_film() -> None:
    closed_loop.FILM_PX = 64


def test_one_command_leaves_film_recording_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert cli.exit_code(["run", SENTENCE, "--policy", "expert", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "success: the goal holds" in printed
    assert "Franka Panda" in printed
    page = (out / "report.html").read_text()
    assert SENTENCE in page
    assert "data:video/mp4;base64," in page
    assert (out / "run.rrd").stat().st_size > 10_000
    with av.open(str(out / "run.mp4")) as film:
        frames = list(film.decode(video=0))
    assert len(frames) > 10
    # what happened, a bar, and below it what the shipped world model imagined
    assert (frames[0].width, frames[0].height) == (2 * 64, 64 + 4 + 64)


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, again, other = (
        play(prepare(SENTENCE, robot="panda", scene="seen", seed=seed, policy_name="expert"), replan_steps=8)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.trace.actions, again.trace.actions)
    assert np.array_equal(first.frames["front"], again.frames["front"])
    assert not np.array_equal(first.frames["front"][0], other.frames["front"][0])
    assert first.trace.outcome.result is Result.SUCCESS
    assert len(first.frames["front"]) == len(first.trace.actions)


def test_film_effects_change_the_film_and_nothing_else(tmp_path: Path) -> None:
    told = ["run", "press the red button", "--robot", "sawyer", "--policy", "expert"]
    films = []
    for name, more in (("plain", []), ("film", ["--film-effects"])):
        assert cli.exit_code([*told, *more, "--out", str(tmp_path / name)]) == 0
        with av.open(str(tmp_path / name / "run.mp4")) as film:
            films.append(next(film.decode(video=0)).to_ndarray(format="rgb24"))
    plain, drawn = films
    assert drawn.shape == (64, 2 * 64, 3)  # without what the world model imagines
    assert np.abs(plain[:64].astype(int) - drawn).mean() > 1
    acted = [
        play(
            prepare(told[1], robot="sawyer", scene="seen", seed=0, policy_name="expert", effects=e),
            replan_steps=4,
        )
        for e in (PLAIN, FILM)
    ]
    assert np.array_equal(acted[0].trace.states, acted[1].trace.states)


def test_a_policy_that_does_nothing_fails_and_says_so() -> None:
    film = play(prepare(SENTENCE, robot="panda", scene="seen", seed=0, policy_name="hold"), replan_steps=16)
    assert film.trace.outcome.result is Result.FAILURE
    assert "does not hold after" in film.trace.outcome.cause


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_was_filmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    step, calls = TabletopEnv.step, []

    def stops(self: TabletopEnv, action: np.ndarray) -> None:
        calls.append(1)
        if len(calls) > 4:
            signal.raise_signal(number)
        step(self, action)

    monkeypatch.setattr(TabletopEnv, "step", stops)
    assert cli.exit_code(["run", SENTENCE, "--policy", "expert", "--out", str(tmp_path)]) == 128 + number
    assert "stopped with Ctrl-C" in capsys.readouterr().out
    with av.open(str(tmp_path / "run.mp4")) as film:
        assert len(list(film.decode(video=0))) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bake a cake"], "put the red block in the blue bowl"),
        ([""], "instruction"),
        ([SENTENCE, "--robot", "pnda"], "did you mean 'panda'"),
        ([SENTENCE, "--scene", "bakground"], "background"),
        ([SENTENCE, "--policy", "nowhere"], "choices"),
        ([SENTENCE, "--policy", "kinema.nothing:here"], "cannot import"),
        ([SENTENCE, "--seed", "-1"], "--seed"),
        ([SENTENCE, "--robot", "sawyer_metaworld", "--policy", "hold"], "sawyer_metaworld"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--policy" not in arguments:
        arguments = [*arguments, "--policy", "expert"]
    assert says in one_line(["run", *arguments], capsys)
    assert list(tmp_path.iterdir()) == []


def test_two_arms_are_chosen_for_what_needs_two(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "lift the tray with both arms"
    session = prepare(sentence, robot=None, scene="seen", seed=0, policy_name="hold")
    assert len(session.card.arms) == 2
    session.world.close()
    with pytest.raises(KinemaError, match=r"panda has not learnt 'lift_two_arms'; bodies that have: .*aloha"):
        prepare(sentence, robot="panda", scene="seen", seed=0, policy_name="hold")


def test_a_body_the_policy_never_saw_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_loop, "trained_bodies", lambda name, bodies: ("ur5e", "aloha"))
    with pytest.raises(KinemaError, match="was not trained on panda; it knows ur5e, aloha"):
        prepare(SENTENCE, robot="panda", scene="seen", seed=0, policy_name="hold")
