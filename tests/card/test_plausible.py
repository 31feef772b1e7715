"""Mistakes that people make in a card are found where they are, and no card ends a check in a traceback."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kinema.card import load
from kinema.card.check import check_card
from kinema.card.load import load_card
from kinema.commands.robots.card_check import MORE_CHECKS
from laws import examples

Tree = dict[str, Any]
MINE: Tree = {**load_card("panda").model_dump(mode="json"), "name": "mine"}


def faults(tree: Tree, folder: Path) -> dict[str, str]:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    return {row.name: row.detail for row in check_card(path, MORE_CHECKS).rows if not row.ok}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_own", {})


def link(tree: Tree, name: str) -> Tree:
    return next(link for link in tree["arms"][0]["links"] if link["name"] == name)


def joint(**changes: Any) -> Callable[[Tree], None]:
    return lambda tree: link(tree, "link2")["joint"].update(changes)


def fingers(tree: Tree, axis: list[float]) -> None:
    for sign, name in ((1, "left_finger"), (-1, "right_finger")):
        link(tree, name)["joint"]["axis"] = [sign * value for value in axis]


def swap_jaws(tree: Tree) -> None:
    gripper = tree["arms"][0]["gripper"]
    gripper["closed"], gripper["open"] = gripper["open"], gripper["closed"]


def jaws_in_mm(tree: Tree) -> None:
    for name in ("left_finger", "right_finger"):
        link(tree, name)["joint"].update(range=[0, 40], home=40)
    tree["arms"][0]["gripper"]["open"] = [40, 40]


def turn(tree: Tree) -> None:
    w, x, y, z = tree["cameras"][0]["quat_wxyz"]
    tree["cameras"][0]["quat_wxyz"] = [w, x, -y, -z]


def far(tree: Tree) -> None:
    tree["workspace_m"] = [[0.15, 2.42], [-0.9, 0.9], [0.0, 1.4]]
    tree["tabletop"] = {}


MISTAKES: list[tuple[str, str, Callable[[Tree], None]]] = [
    ("numbers", "in degrees", joint(range=[-150, 150], home=0.3)),
    ("numbers", "in degrees/s", joint(velocity=180)),
    ("numbers", "in N mm", joint(effort=50_000)),
    ("numbers", "in grams", lambda tree: link(tree, "link2").update(mass_kg=646.9)),
    ("numbers", "in millimetres", jaws_in_mm),
    ("gripper", "tool's y axis", lambda tree: fingers(tree, [1, 0, 0])),
    ("gripper", "swap closed and open", swap_jaws),
    ("gripper", "max_width_m 0.8", lambda tree: tree["arms"][0]["gripper"].update(max_width_m=0.8)),
    ("views", "looks away", turn),
    ("workspace", "goes beyond", lambda tree: tree["actions"][2].update(range=[-0.2, 2.0])),
    ("tabletop", "out of reach", far),
    ("tabletop", "within 5 ... 100", lambda tree: tree.update(control_hz=1000)),
    ("tabletop", "choices: pick_place", lambda tree: tree.update(tabletop={"families": ["juggle"]})),
    ("name", "the name of a shipped card", lambda tree: tree.update(name="so101")),
    ("channels", "needs", lambda tree: tree["actions"][0].update(slot="right.ee.X")),
    ("cameras", "must be one of", lambda tree: tree["cameras"][1].update(mount="hand")),
]


@pytest.mark.parametrize(("row", "message", "mistake"), MISTAKES)
def test_a_mistake_is_found_in_its_row(
    row: str, message: str, mistake: Callable[[Tree], None], tmp_path: Path
) -> None:
    tree = copy.deepcopy(MINE)
    mistake(tree)
    assert message in faults(tree, tmp_path)[row]


def test_without_a_mistake_there_is_no_fault(tmp_path: Path) -> None:
    assert faults(MINE, tmp_path) == {}


def test_jaws_too_narrow_for_the_blocks_are_told_of(tmp_path: Path) -> None:
    tree = copy.deepcopy(MINE)
    for name in ("left_finger", "right_finger"):
        link(tree, name)["joint"].update(range=[0, 0.008], home=0.008)
    tree["arms"][0]["gripper"].update(open=[0.008, 0.008], max_width_m=0.016)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tree))
    rows = {row.name: row.detail for row in check_card(path, MORE_CHECKS).rows}
    assert "do not fit between jaws of 16 mm" in rows["tabletop"]


@examples(12)
@given(
    where=st.sampled_from(["cameras", "actions", "workspace_m", "tabletop", "hold", "arms"]),
    what=st.sampled_from([[], None, {}, [{}], "x", 3]),
)
def test_no_card_ends_in_a_traceback(where: str, what: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = copy.deepcopy(MINE)
    tree[where] = what
    faults(tree, tmp_path_factory.mktemp("cards"))
