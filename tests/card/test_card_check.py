from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kinema.card.card import EmbodimentCard
from kinema.card.check import check_card
from kinema.card.load import card_names, load_card


def write(tmp_path: Path, card: dict[str, Any]) -> Path:
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


@pytest.mark.parametrize("name", card_names())
def test_every_shipped_card_passes(name: str) -> None:
    report = check_card(name)
    assert report.ok, [row for row in report.rows if not row.ok]
    assert report.card == load_card(name)


@pytest.mark.parametrize("name", card_names())
def test_every_section_of_a_shipped_card_names_its_source(name: str) -> None:
    card = load_card(name)
    arms = [part.source for arm in card.arms for part in (arm, arm.tool, arm.gripper or arm.hand)]
    assert all(len(source) > 20 for source in [card.source, card.hold.source, *arms])


@pytest.mark.parametrize("name", card_names())
def test_an_arm_is_drawn_with_few_shapes(name: str) -> None:
    for arm in load_card(name).arms:
        assert 8 <= sum(len(link.geoms) for link in arm.links) <= 16


def fail(card: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    return {row.name: row.detail for row in check_card(write(tmp_path, card)).rows if not row.ok}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("limits", "joint2: home 2.5 is outside"),
        ("home", "rad away from tool.home_quat_wxyz"),
        ("cameras", "mount 'right:nose' must be one of"),
        ("channels", "control 'ee_pose' of this body needs"),
    ],
)
def test_a_fault_fails_its_row(row: str, message: str, tmp_path: Path) -> None:
    card = load_card("panda").model_dump(mode="json")
    if row == "limits":
        card["arms"][0]["links"][2]["joint"]["home"] = 2.5
    elif row == "home":
        card["arms"][0]["links"][7]["joint"]["home"] = 0.5
    elif row == "cameras":
        card["cameras"][1]["mount"] = "right:nose"
    else:
        card["actions"].reverse()
    assert message in fail(card, tmp_path)[row]


def test_a_joint_channel_beyond_its_joint_fails(tmp_path: Path) -> None:
    card = load_card("so101").model_dump(mode="json")
    card["actions"][0]["range"] = [-3.0, 3.0]
    assert "action shoulder_pan: [-3.0, 3.0] exceeds" in fail(card, tmp_path)["channels"]


def test_a_card_that_cannot_be_read_is_one_failed_row(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text("name: x\n")
    report = check_card(path)
    assert report.card is None
    assert [row.name for row in report.rows] == ["read"]
    assert "missing key" in report.rows[0].detail


def test_more_checks_can_be_added() -> None:
    def broken(card: EmbodimentCard) -> str:
        raise ValueError(f"{card.name} does not compile")

    report = check_card("panda", more=[("simulation", broken)])
    assert not report.ok
    assert report.rows[-1].detail == "panda does not compile"
