"""`lerobot-kinema` as it is typed, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lerobot_policy_kinema import command
from lerobot_policy_kinema.folder import card_of, write

from kinema.card.load import load_card
from kinema.runtime.lerobot_robots import make
from kinema.runtime.wiring import Line, Plan
from kinema.runtime.wiring_file import read_wiring
from kinema.schema import KinemaError


def typed(monkeypatch: pytest.MonkeyPatch, *words: object) -> int | str | None:
    monkeypatch.setattr("sys.argv", ["lerobot-kinema", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    return ended.value.code


def test_the_command_writes_a_folder_for_a_robot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wiring: Path, for_robot: Path
) -> None:
    out = tmp_path / "new" / "folder"
    told = ["nano", out, "--robot", "ur5e", "--driver", "lerobot:tabletop", "--wiring", wiring]
    assert not typed(monkeypatch, *told)
    written = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert written == {path.name: path.read_bytes() for path in for_robot.iterdir() if path.is_file()}
    config = json.loads(written["config.json"])
    assert config["clock"] == "real"
    assert config["action_feature_names"] == [f"{c.name}.pos" for c in load_card("ur5e").actions]
    assert list(config["input_features"])[1:] == ["observation.images.overview", "observation.images.hand"]
    assert (out / "artifact" / "weights.safetensors").is_file()
    assert typed(monkeypatch, *told) == 2  # it is there already


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nano"], "knows several bodies; --robot takes one of aloha, panda, ur5e"),
        (["nano", "--robot", "so101"], "was not trained on 'so101'"),
        (["mano", "--robot", "panda"], "no policy 'mano'"),
        (["nano", "--robot", "panda", "--set", "port=1"], "name it with --driver"),
        (["nano", "--robot", "ur5e", "--driver", "lerobot:tabeltop"], "has no robot 'tabeltop'"),
        (["nano", "--robot", "ur5e", "--driver", "lerobot:tabletop"], "nobody says in which unit"),
        (["nano", "--robot", "panda", "--driver", "lerobot:tabletop"], "has none of ['x.pos', 'x']"),
    ],
)
def test_what_does_not_fit_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], message: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert typed(monkeypatch, words[0], out, *words[1:]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_the_robot_does_not_have(nano: Path, wiring: Path, tmp_path: Path) -> None:
    card = card_of(nano, "ur5e")
    plan = read_wiring(wiring, card)
    lacking = Plan(channels=plan.channels, cameras={"front": "overview", "wrist": "wrist"})
    with pytest.raises(KinemaError, match=r"lacks the cameras \['wrist'\] of ur5e"):
        write(nano, tmp_path / "out", card, robot=make("tabletop", {}), told=lacking)


def test_signs_and_zeros_of_the_wiring_stay(nano: Path, wiring: Path, tmp_path: Path) -> None:
    card = card_of(nano, "ur5e")
    plan = read_wiring(wiring, card)
    lines = {**plan.channels, "elbow": Line(unit="deg", reversed=True, zero=12.5)}
    write(
        nano, tmp_path / "out", card, robot=make("tabletop", {}),
        told=Plan(channels=lines, cameras=plan.cameras),
    )  # fmt: skip
    wire = read_wiring(tmp_path / "out" / "wiring.yaml", card).channels["elbow"].wire
    assert wire is not None
    assert wire.native(12.5) == pytest.approx(0.0)
    assert wire.native(13.5) == pytest.approx(-3.14159265 / 180)
