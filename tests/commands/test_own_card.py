"""A card outside the package works in every command under its own name; all is written inside --out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kinema import cli
from kinema.card import load
from kinema.card.load import CardError, know, load_card, own_cards, read_card
from kinema.commands import closed_loop
from kinema.commands.policies import bodies_in
from kinema.pool import pool
from kinema.schema import KinemaError, Result
from kinema.worlds import families_for
from kinema.worlds.tabletop.check import main as check_worlds
from kinema.worlds.tabletop.scene import work_area

SHIPPED = Path(load.__file__).parent / "robots"
FILE = "../cards/my_arm.yaml"  # as typed: neither a name nor below the current folder


@pytest.fixture
def own_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Panda under another name, with a work area of its own; the current folder is beside it."""
    text = (SHIPPED / "panda.yaml").read_text()
    text = text.replace("name: panda\n", "name: my_arm\n", 1).replace(
        "robot_tag: Franka Panda", "robot_tag: My Arm"
    )
    text = text.replace("center_m: [0.48, 0.0]", "center_m: [0.46, 0.01]")
    (tmp_path / "cards").mkdir()
    path = tmp_path / "cards" / "my_arm.yaml"
    path.write_text(text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(load, "_own", {})
    monkeypatch.setattr(closed_loop, "FILM_PX", 32)
    yield path
    assert path.read_text() == text
    assert {p.name for p in tmp_path.iterdir()} == {"cards", "here"}
    assert list(path.parent.iterdir()) == [path]


def kinema(*words: str) -> str:
    """What a command prints; it must succeed."""
    result = CliRunner().invoke(cli.app, list(words))
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def test_it_is_checked_and_shown(own_card: Path) -> None:
    assert "FAULT" not in kinema("robots", "check", FILE)
    assert kinema("robots", "show", FILE).startswith("my_arm: My Arm")


def test_data_are_made_under_its_name_inside_out(own_card: Path) -> None:
    kinema(
        "data", "make", "tabletop", "--robots", FILE, "--families", "button", "--episodes", "1",
        "--image-size", "32", "--workers", "1", "--out", "made",
    )  # fmt: skip
    assert [p.name for p in Path("made").iterdir() if p.is_dir()] == ["my_arm"]
    assert "my_arm" in kinema("data", "verify", "made/my_arm")


@pytest.mark.parametrize(("benchmark", "task"), [("tabletop", "button"), ("latency", "button/blend/0ms")])
def test_it_is_judged_under_its_name(own_card: Path, benchmark: str, task: str) -> None:
    said = kinema(
        "eval", benchmark, "--policy", "hold", "--robots", FILE, "--episodes", "1", "--workers", "1",
        "--seed", "3", "--out", "judged", "--tasks", f"my_arm/{task}",
    )  # fmt: skip
    assert "my_arm" in said
    assert "yaml" not in said
    results = Path("judged/results.json").read_text()
    assert "my_arm.yaml" not in results


def test_its_expert_acts_in_a_run(own_card: Path) -> None:
    session = closed_loop.prepare(
        "press the red button", robot=FILE, scene="seen", seed=0, policy_name="expert"
    )
    played = closed_loop.play(session, replan_steps=1)
    assert played.trace.outcome.result == Result.SUCCESS
    assert played.trace.card.name == "my_arm"


def test_its_claim_can_be_tried(own_card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_worlds(["--robot", FILE, "--family", "button", "--episodes", "2"]) == 0
    assert "my_arm" in capsys.readouterr().out


def test_no_command_reads_it_again_for_every_step(own_card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_card(FILE)
    monkeypatch.setattr(load, "read_bytes", lambda path: pytest.fail(f"{path} was read again"))
    assert load_card("my_arm").name == "my_arm"
    assert own_cards() == (load_card("my_arm"),)


def test_a_renamed_copy_has_the_same_scenes(own_card: Path) -> None:
    card = read_card(own_card)
    assert work_area(card).center == (0.46, 0.01)
    assert families_for(card) == families_for("panda")
    for name in ("aloha", "so101", "widowx", "iiwa14"):
        shipped = load_card(name)
        copy = shipped.model_copy(update={"name": "copy"})
        assert work_area(copy) == work_area(shipped)
        assert families_for(copy) == families_for(shipped)


def test_a_shipped_name_is_for_the_shipped_card(own_card: Path) -> None:
    other = own_card.read_text().replace("name: my_arm", "name: so101")
    path = Path("so101.yaml")
    path.write_text(other)
    with pytest.raises(CardError, match="the name of a shipped card"):
        load_card(path)
    path.write_text((SHIPPED / "so101.yaml").read_text())
    assert load_card(path) == load_card("so101")  # the same card is no other


def test_two_files_of_one_name_are_refused(own_card: Path) -> None:
    Path("other.yaml").write_text(own_card.read_text().replace("[0.46, 0.01]", "[0.47, 0.0]"))
    with pytest.raises(KinemaError, match="two cards are called 'my_arm'"):
        bodies_in(f"{FILE},other.yaml")
    assert bodies_in(f"{FILE},{own_card},panda") == ("my_arm", "panda")


def test_a_folder_of_cards_makes_their_names_known(own_card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CardError, match="unknown robot 'my_arm'"):
        load_card("my_arm")
    monkeypatch.setenv(load.FOLDERS, str(own_card.parent))
    assert load_card("my_arm") == read_card(own_card)


def test_worker_processes_are_told(own_card: Path) -> None:
    know(read_card(own_card))
    settings = pool.own_cards()
    assert [card.name for card in settings] == ["my_arm"]
