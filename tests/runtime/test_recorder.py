"""What is recorded is what was asked and sent, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from toy_body import Drifting, Rig

from kinema.card.load import load_card
from kinema.commands.recorder import STEP, VERDICT, EpisodeRecorder
from kinema.data.lerobot import Dataset
from kinema.schema import KinemaError, Verdict

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
