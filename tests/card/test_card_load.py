"""Reading a card is strict, and an error says where and what."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.card import EmbodimentCard
from kinema.card.load import CardError, card_names, load_card, parse_card
from kinema.card.strict_yaml import MAX_BYTES
from laws import examples

PANDA: dict[str, Any] = load_card("panda").model_dump(mode="json")


def parse(tree: Any) -> Any:
    return parse_card(yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False).encode(), "test.yaml")


def mappings(tree: Any, path: str = "") -> list[str]:
    """Key paths of every mapping in the tree, "" for the card itself."""
    if isinstance(tree, dict):
        return [path] + [p for k, v in tree.items() for p in mappings(v, f"{path}.{k}")]
    if isinstance(tree, list):
        return [p for i, v in enumerate(tree) for p in mappings(v, f"{path}[{i}]")]
    return []


def at(tree: Any, path: str) -> Any:
    for part in path.replace("[", ".").replace("]", "").strip(".").split("."):
        if part:
            tree = tree[int(part)] if part.isdigit() else tree[part]
    return tree


def test_the_bodies_are_shipped() -> None:
    """Nineteen different bodies: four of them also in others' worlds, two only there."""
    small = ("aloha", "arx_l5", "piper", "so101", "viperx", "widowx", "yam")
    large = ("fr3", "iiwa14", "jaco", "kinova_gen3", "panda", "sawyer", "ur10e", "ur5e", "xarm7")
    others = ("aloha_agilex", "aloha_gym", "panda_libero", "sawyer_metaworld", "widowx_simpler")
    assert card_names() == tuple(sorted((*small, *large, "g1", "gr1", *others)))


@pytest.mark.parametrize("name", card_names())
def test_every_shipped_card_reads_and_survives_a_round_trip(name: str) -> None:
    """All but what draws it, which is no part of what a body is and is not dumped."""
    card = load_card(name)
    assert parse(card.model_dump(mode="json")) == undrawn(card)


def undrawn(card: EmbodimentCard) -> EmbodimentCard:
    arms = []
    for arm in card.arms:
        links = tuple(link.model_copy(update={"meshes": ()}) for link in arm.links)
        arms.append(arm.model_copy(update={"links": links, "mesh_folder": None}))
    return card.model_copy(update={"arms": tuple(arms)})


@given(where=st.sampled_from(mappings(PANDA)), key=st.text("abcdefgh_", min_size=1, max_size=12))
@examples(20)
def test_any_unknown_key_is_refused_with_its_path(where: str, key: str) -> None:
    tree = copy.deepcopy(PANDA)
    if key in at(tree, where) or (where.startswith(".") and key in ("joint", "home")):
        return
    at(tree, where)[key] = 1
    with pytest.raises(CardError) as caught:
        parse(tree)
    assert f"test.yaml: {f'{where}.{key}'.removeprefix('.')}: unknown key" in str(caught.value)


@given(where=st.sampled_from([p for p in mappings(PANDA) if p]))
@examples(15)
def test_a_mapping_replaced_by_text_is_refused_with_its_path(where: str) -> None:
    tree = copy.deepcopy(PANDA)
    parent, _, last = where.rpartition(".")
    if last.endswith("]"):
        at(tree, where.rpartition("[")[0])[int(last.rpartition("[")[2].rstrip("]"))] = "nonsense"
    else:
        at(tree, parent)[last] = "nonsense"
    with pytest.raises(CardError, match=r"test\.yaml"):
        parse(tree)


def test_a_misspelt_key_gets_a_suggestion() -> None:
    tree = copy.deepcopy(PANDA)
    tree["arms"][0]["links"][3]["mass_kgs"] = tree["arms"][0]["links"][3].pop("mass_kg")
    with pytest.raises(CardError) as caught:
        parse(tree)
    assert "arms[0].links[3].mass_kgs: unknown key; did you mean 'mass_kg'?" in str(caught.value)
    assert "arms[0].links[3].mass_kg: missing key" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "control",
            "ee_pos",
            "control: Input should be 'ee_pose', 'ee_delta', 'joint_position', 'metaworld', 'drive', "
            "'waypoints', 'hand' or 'wrist' (got 'ee_pos')",
        ),
        ("control_hz", "10", "control_hz: Input should be a valid number (got '10')"),
        ("control_hz", 0, "control_hz: Input should be greater than 0"),
        ("name", "Panda!", "name: String should match pattern"),
        ("version", 2, "version: Input should be 1"),
        ("arms[0].side", "left", "a single arm uses the right block"),
        ("arms[0].links[1].joint.range", [1.0, -1.0], "arms[0].links[1].joint.range: must be [low, high]"),
        ("arms[0].links[1].joint.axis", [0, 0, 2], "arms[0].links[1].joint.axis: must have length 1"),
        ("arms[0].links[2].quat_wxyz", [1, 1, 0, 0], "arms[0].links[2].quat_wxyz: must have length 1"),
        ("arms[0].links[2].parent", "link9", "parent 'link9' must be one of"),
        ("arms[0].links[2].name", "link1", "link name 'link1' is given twice"),
        ("arms[0].links[0].geoms[0].size_m", [0.1], "size_m of a capsule is 2 lengths"),
        ("arms[0].links[0].mass_kg", 0, "arms[0].links[0].mass_kg: Input should be greater than 0"),
        ("arms[0].gripper.fingers", ["thumb", "right_finger"], "['thumb'] are not joints of this arm"),
        ("arms[0].tool.link", "wrist", "tool link 'wrist' must be one of"),
        ("actions[6].open", 0.5, "actions[6]: open is an end of the range [0.0, 1.0], got 0.5"),
        ("actions[2].open", 1.0, "actions[2]: open belongs to a gripper or a hand, 'z' is 'right.ee.z'"),
        ("actions[1].name", "x", "action channel names must be unique; twice: ['x']"),
    ],
)
def test_a_wrong_value_is_named(path: str, value: Any, message: str) -> None:
    tree = copy.deepcopy(PANDA)
    parent, _, last = path.rpartition(".")
    at(tree, parent)[last] = value
    with pytest.raises(CardError) as caught:
        parse(tree)
    assert message in str(caught.value)
    assert str(caught.value).startswith("test.yaml: ")


def test_a_key_given_twice_is_refused_with_its_line() -> None:
    with pytest.raises(CardError, match=r"key 'name' is given twice.*line 3"):
        parse_card(b"version: 1\nname: a\nname: b\n", "test.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "a card is a mapping"),
        (b"- 1\n- 2\n", "a card is a mapping of keys to values; got list"),
        (b"version: [1\n", "test.yaml"),
        (b"1: 2\n", "key '1' must be text"),
        (b"version: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"version: !!timestamp 2020-01-01\n", "could not determine a constructor"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"version: .nan\n", "version: nan is not a finite number"),
        (b"version: .inf\n", "version: inf is not a finite number"),
        (b"a: &a {b: *a}\n", "levels once anchors are expanded"),
        (b"x: " + b"[" * 5000, "test.yaml"),
        (b"#" * (MAX_BYTES + 1), "a card has at most"),
    ],
)
def test_what_is_not_a_card_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(CardError) as caught:
        parse_card(text, "test.yaml")
    assert message in str(caught.value)


def test_a_bomb_of_anchors_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(CardError, match="once anchors are expanded"):
        parse_card("\n".join(lines).encode(), "test.yaml")


def test_a_number_with_an_exponent_is_a_number() -> None:
    text = yaml.safe_dump({**PANDA, "control_hz": 7}).replace("control_hz: 7", "control_hz: 1e1")
    assert parse_card(text.encode(), "test.yaml").control_hz == 10.0


def test_an_unknown_robot_gets_suggestions() -> None:
    with pytest.raises(
        CardError,
        match=r"unknown robot 'pandas': did you mean 'panda'.*choices: aloha, aloha_agilex, ",
    ):
        load_card("pandas")


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "my_robot.yaml"
    path.write_text(yaml.safe_dump({**PANDA, "name": "my_robot"}))
    assert load_card(path).name == "my_robot"
    assert load_card(str(path)).name == "my_robot"


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"nothing\.yaml: cannot be read: No such file"):
        load_card(tmp_path / "nothing.yaml")
