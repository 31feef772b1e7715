"""`kinema train nano` holds episodes of one's own set out; `kinema eval openloop` judges on those alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.eval.openloop import learnt_from
from kinema.data.lerobot_write import Writer
from kinema.data.remote import PLACE
from kinema.data.source import held_out
from kinema.model.policy import presets
from kinema.schema import KinemaError

PANDA = load_card("panda")
EPISODES = 11


def record(root: Path, episodes: int) -> Path:
    rng = np.random.default_rng(0)
    low, high = np.array([channel.range for channel in PANDA.actions], np.float32).T
    with Writer(root, card=PANDA, image_size=32) as writer:
        for number in range(episodes):
            state = rng.uniform(low, high, (6, len(low))).astype(np.float32)
            writer.add_episode(
                images={c: np.full((6, 32, 32, 3), 20 * number, np.uint8) for c in PANDA.camera_names},
                state=state, action=state, task="pick up the red block",
            )  # fmt: skip
    return root


def test_the_rule_looks_at_no_data() -> None:
    assert held_out(31, 10).tolist() == [9, 19, 29]
    assert held_out(9, 10).tolist() == []
    assert held_out(31, 0).tolist() == []


def test_own_data_are_learnt_from_and_judged_on_what_was_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "nano", presets.tiny)  # the same way, of a tenth of the size
    data, run, out = record(tmp_path / "mine", EPISODES), tmp_path / "run", tmp_path / "out"
    pytest.importorskip("fsspec").filesystem("memory").put(f"{data}/", "/sets/mine/", recursive=True)
    monkeypatch.setenv(PLACE, str(tmp_path / "kept"))
    told = [
        "--data",
        "memory://sets/mine",
        "--card",
        "panda",
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--tracker",
        "",
    ]
    assert cli.exit_code(["train", "nano", *told, "--out", str(run)]) == 0
    assert re.search(r"mine-\w+: episodes 9 are held out", capsys.readouterr().out)
    artifact = run / "artifact"
    judge = ["eval", "openloop", "--policy", str(artifact), "--out", str(out), "--data"]
    assert cli.exit_code([*judge, str(data)]) == 0
    assert "episodes 9 of" in capsys.readouterr().out
    found = json.loads((out / "openloop.json").read_text())
    assert found["episodes"] == [9]
    assert set(found["by_channel"]) == {channel.name for channel in PANDA.actions}
    for errors in found["by_unit"].values():
        assert errors["policy"]["mean"] > 0
    assert cli.exit_code(judge[:-1]) == 2
    assert "--data SET" in capsys.readouterr().err


def test_a_set_is_known_by_its_frames_whatever_it_is_called_by_now() -> None:
    learnt = [{"source": "mine", "card": "panda", "steps": 66, "held_out": [9]}]

    def index(name: str, frames: int) -> Any:
        return SimpleNamespace(root=Path(name), num_frames=frames)

    assert learnt_from(learnt, index("elsewhere", 66)) == learnt[0]
    assert learnt_from(learnt, index("theirs", 60)) is None
    with pytest.raises(KinemaError, match=r"which of its episodes were held out cannot be told"):
        learnt_from(learnt, index("mine", 72))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--data SET"),
        (["--data", "x", "--backbone", "y"], "has its own network"),
    ],
)
def test_what_nano_is_not_told(words: list[str], said: str, tmp_path: Path, capsys) -> None:
    assert cli.exit_code(["train", "nano", *words, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
