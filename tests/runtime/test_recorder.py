"""What is recorded is what was asked and sent, frame by frame."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws import examples

pytest.importorskip("av")

from toy_body import Drifting, Rig

from kinema.card.load import load_card
from kinema.commands.data.recorder import (
    LONGEST_PAUSE_S,
    STEP,
    STEP_CHANNELS,
    SUCCESS,
    VERDICT,
    EpisodeRecorder,
    shown_steps,
)
from kinema.commands.data.spool import Spool
from kinema.data.lerobot import Dataset
from kinema.runtime.record import Step
from kinema.runtime.watchdog import Mode
from kinema.schema import KinemaError, Observation, Verdict

CALM = Verdict(allowed=True, risk={"collision": 0.25}, limit={"collision": 0.5}, horizon_s=1.0)
REFUSED = Verdict(
    allowed=False, risk={"collision": 0.9}, limit={"collision": 0.5}, horizon_s=1.0, reason="hand"
)


def test_the_episode_holds_what_was_asked_sent_judged_and_how_late(tmp_path: Path) -> None:
    rig = Rig(Drifting(speed_m_s=2.0, verdict=lambda n: REFUSED if n == 2 else CALM), latency_s=0.1)
    with EpisodeRecorder(tmp_path, load_card("panda"), image_size=16, hazards=["collision"]) as recorder:
        kept = rig.log

        def both(step) -> None:  # type: ignore[no-untyped-def]
            kept(step)
            recorder(step)

        rig.loop._recorder = both
        rig.run(14)
        recorder.finish("move", success=True)
        with pytest.raises(KinemaError, match="nothing was sent"):
            recorder.finish("move", success=True)
    columns = read_columns(tmp_path)
    steps = [step for step in kept.steps if step.sent is not None]
    sent = np.stack([step.sent for step in steps])
    asked = np.stack([step.sent if step.asked is None else step.asked for step in steps])
    np.testing.assert_array_equal(columns["action.executed"], sent.astype(np.float32))
    np.testing.assert_array_equal(columns["action"], asked.astype(np.float32))
    assert not np.array_equal(columns["action"], columns["action.executed"]), (
        "2 m/s is too fast for the guard"
    )
    fresh, changed = columns[STEP][:, 0], columns[STEP][:, 1]
    np.testing.assert_array_equal(fresh, [step.mode == "running" for step in steps])
    assert changed.any()
    latency_s = columns[STEP][:, 3]
    np.testing.assert_allclose(latency_s[fresh == 1], 0.1, atol=1e-6)
    given = columns[VERDICT][:, 0] == 1
    np.testing.assert_allclose(columns[VERDICT][given], np.tile([1, 1, 1, 0.25], (given.sum(), 1)))


def test_readings_that_are_not_finite_do_not_stop_a_recording(tmp_path: Path) -> None:
    rig = Rig()
    with EpisodeRecorder(tmp_path, load_card("panda"), image_size=16) as recorder:
        rig.loop._recorder = recorder
        rig.loop.begin("move")
        for k in range(8):
            if k == 3:
                rig.robot.state = dict.fromkeys(rig.robot.state, float("nan"))
            rig.loop.step()
            rig.loop.wait()
        recorder.finish("move", success=False)
    columns = read_columns(tmp_path)
    assert np.isfinite(columns["observation.state"]).all()
    assert columns[STEP][:, 2].min() == 0.0


def read_columns(root: Path) -> dict[str, np.ndarray]:
    data = Dataset.open(root)
    assert data.num_episodes == 1
    return {
        name: data.column(name) for name in ("action", "action.executed", "observation.state", STEP, VERDICT)
    }


class Counted(np.ndarray):
    """A picture that counts how many of its kind are alive."""

    alive = most = 0

    def __array_finalize__(self, other: object) -> None:
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self) -> None:
        Counted.alive -= 1


def step(
    time_s: float, *, state: float = 0.0, picture: np.ndarray | None = None, card: str = "panda"
) -> Step:
    body = load_card(card)
    pictures = {n: np.zeros((16, 16, 3), np.uint8) if picture is None else picture for n in body.camera_names}
    seen = Observation(
        images=pictures, state=np.full(len(body.states), state, np.float32), instruction="", time_s=time_s
    )
    sent = np.full(len(body.actions), state)
    return Step(
        time_s=time_s, observation=seen, asked=None, sent=sent, mode=Mode.RUNNING, verdict=None,
        latency_s=None, age_s=None,
    )  # fmt: skip


def test_a_long_episode_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path, load_card("panda"), image_size=(24, 32)) as recorder:
        Counted.alive = Counted.most = 0
        for k in range(60):
            picture = np.full((24, 32, 3), k, np.uint8).view(Counted)
            recorder(step(0.1 * k, picture=picture))
            del picture
        assert Counted.most <= 8, "pictures of earlier steps are not kept in memory"
        assert recorder.finish("move", success=None).frames == 60
    frames = Dataset.open(tmp_path)
    assert frames.num_frames == 60
    assert not (tmp_path / ".kinema" / "spool").exists()


def test_frames_are_the_steps_pictures(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path, load_card("panda"), image_size=16) as recorder:
        for episode in range(2):  # the second begins anew
            for k in range(12):
                level = 20 * k if episode else 10 * k
                recorder(step(0.1 * k, state=k / 100, picture=np.full((16, 16, 3), level, np.uint8)))
            recorder.finish("move", success=None)
    data = Dataset.open(tmp_path)
    for episode, gain in enumerate((10, 20)):
        window = data.frames("front", 12 * episode + np.arange(12))
        np.testing.assert_allclose(window.mean((1, 2, 3)), gain * np.arange(12), atol=3)


@given(
    hz=st.sampled_from([5.0, 10.0, 30.0]),
    waits=st.lists(st.floats(0.0, 3.0), max_size=40),
)
def test_every_frame_shows_the_step_that_was_newest_then(hz: float, waits: list[float]) -> None:
    times_s = np.concatenate([[0.0], np.cumsum(waits)])
    shown = shown_steps(times_s, hz)
    assert shown[0] <= len(times_s) - 1
    assert shown[-1] == len(times_s) - 1, "the last step is kept"
    assert (np.diff(shown) >= 0).all()
    frames_s = np.arange(len(shown)) / hz
    assert (times_s[shown] <= frames_s + 0.5 / hz + 1e-9).all(), "nothing is shown before it was"
    following = np.minimum(shown + 1, len(times_s) - 1)
    late = (times_s[following] < frames_s - 0.5 / hz - 1e-9) & (following > shown)
    assert not late.any(), "and nothing older than the newest"
    assert abs(frames_s[-1] - times_s[-1]) <= 0.5 / hz + 1e-9, "as long as it was"


@given(jitter=st.lists(st.floats(-0.04, 0.04), min_size=1, max_size=40))
def test_a_body_that_keeps_its_rate_gives_a_frame_a_step(jitter: list[float]) -> None:
    times_s = 0.1 * np.arange(len(jitter) + 1) + np.array([0.0, *jitter])
    np.testing.assert_array_equal(shown_steps(times_s, 10.0), np.arange(len(times_s)))


def test_a_slow_body_is_not_stamped_fast_and_a_leap_is_not_filled(tmp_path: Path) -> None:
    with EpisodeRecorder(tmp_path, load_card("so101"), image_size=16) as recorder:
        for k in range(12):
            recorder(step(5.0 + 0.25 * k, state=k / 100, card="so101"))
        kept = recorder.finish("stand still", success=None)
    assert kept.steps == 12
    assert abs(kept.frames - 28.5) <= 0.5, "2.75 s at ten frames a second"
    assert kept.measured_hz == pytest.approx(4.0)
    data = Dataset.open(tmp_path)
    columns = data.column(STEP)
    time_s, repeated = columns[:, STEP_CHANNELS.index("time_s")], columns[:, STEP_CHANNELS.index("repeated")]
    stamped_s = np.arange(len(time_s)) / data.fps
    assert (np.abs(time_s - stamped_s) <= 0.25 + 0.05).all()
    assert len(time_s) - repeated.sum() == 12
    # speed by the stamps is the speed that was
    state = data.column("observation.state")[:, 0]
    assert (state[-1] - state[0]) / stamped_s[-1] == pytest.approx(0.04, rel=0.05)
    assert len(shown_steps(np.array([0.0, 1e9]), 10.0)) == 10 * LONGEST_PAUSE_S + 1


ODD = st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf])


@pytest.mark.filterwarnings("error")
@examples(10)
@given(st.lists(st.tuples(ODD, ODD, ODD, ODD, ODD), min_size=1, max_size=4))
def test_nothing_that_is_not_finite_costs_the_episode(
    tmp_path_factory: pytest.TempPathFactory, odd: list[tuple[float, ...]]
) -> None:
    root = tmp_path_factory.mktemp("odd")
    with EpisodeRecorder(root, load_card("panda"), image_size=16, hazards=["collision"]) as recorder:
        for k, (time_s, state, asked, sent, risk) in enumerate(odd):
            plain = step(0.1 * k + time_s, state=state)
            verdict = Verdict(
                allowed=True, risk={"collision": risk}, limit={"collision": 1.0}, horizon_s=risk
            )
            recorder(
                replace(
                    plain, asked=np.full(7, asked), sent=np.full(7, sent), verdict=verdict, latency_s=risk
                )
            )
        assert recorder.finish("move", success=None).steps == len(odd)
    assert Dataset.open(root).num_episodes == 1


def test_a_full_disk_ends_the_recording_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EpisodeRecorder(tmp_path, load_card("panda"), image_size=16) as recorder:
        for k in range(5):
            recorder(step(0.1 * k))

        def full(self: Spool, pictures: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Spool, "add", full)
        recorder(step(0.5))
        recorder(step(0.6))
        assert recorder.fault == "recording ended after 5 steps: No space left on device"
        monkeypatch.undo()
        assert recorder.finish("move", success=None).steps == 5
        assert not recorder.fault


KILLED = """
import sys, os, signal
from pathlib import Path
sys.path[:0] = [sys.argv[2], str(Path(sys.argv[2]).parent)]
from test_recorder import step
from kinema.card.load import load_card
from kinema.commands.data.recorder import EpisodeRecorder
with EpisodeRecorder(Path(sys.argv[1]), load_card("panda"), image_size=16) as recorder:
    for episode in range(2):
        for k in range(10):
            recorder(step(0.1 * k))
            if episode and k == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        recorder.finish("move", success=None)
"""


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_what_a_killed_recording_loses_is_said_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, steps: int
) -> None:
    shapes, picture = {"front": (8, 6, 3)}, np.zeros((8, 6, 3), np.uint8)
    killed = Spool(tmp_path / "spool", shapes)
    for _ in range(steps):
        killed.add({"front": picture})
    for file in killed._files.values():
        file.flush()
    again = Spool(tmp_path / "spool", shapes)
    assert len(again) == 0
    assert ("is lost" in caplog.text) == (steps > 0)
    again.add({"front": picture})
    again.close()
    caplog.clear()
    Spool(tmp_path / "spool", shapes)  # after one that ended, nothing is said
    assert not caplog.text


def test_a_killed_recording_leaves_what_was_written_whole(tmp_path: Path) -> None:
    root = tmp_path / "set"
    here = str(Path(__file__).parent)
    from subprocess import run

    done = run([sys.executable, "-c", KILLED, str(root), here], capture_output=True, text=True, timeout=120)
    assert done.returncode == -9, done.stderr
    assert Dataset.open(root).num_episodes == 1
    with EpisodeRecorder(root, load_card("panda"), image_size=16, resume=True) as recorder:
        for k in range(3):
            recorder(step(0.1 * k))
        recorder.finish("move", success=True)
    data = Dataset.open(root)
    assert data.num_episodes == 2
    assert data.column(SUCCESS)[-1].tolist() == [1.0, 1.0]
    assert [path.name for path in (root / ".kinema").iterdir() if path.name == "spool"] == []
