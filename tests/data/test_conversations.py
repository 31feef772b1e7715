"""LLaVA's JSON: what is written comes back, what others wrote is read, what is broken is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinema.data import conversations
from kinema.data.conversations import (
    Conversation,
    Turn,
    open_picture,
    read_conversations,
    write_conversations,
)
from kinema.schema import KinemaError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg"):
        Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / name)
    return tmp_path


def _turns(*values: str) -> list[dict]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


def _file(folder: Path, *entries: object) -> Path:
    path = folder / "some.json"
    path.write_text(json.dumps(list(entries)))
    return path


def test_what_is_written_comes_back(folder: Path) -> None:
    written = [
        Conversation(id="0", pictures=(folder / "a.png",), turns=(Turn(question="what?", answer="a mug"),)),
        Conversation(
            id="1", pictures=(folder / "a.png", folder / "b.jpg"),
            label={"kind": "point", "box": [0, 0, 1, 1]},
            turns=(Turn(question="which?", answer="b"), Turn(question="and\nthen?", answer="“ä”")),
        ),
        Conversation(id="2", pictures=(), turns=(Turn(question="two and two?", answer="4"),)),
    ]  # fmt: skip
    write_conversations(folder / "questions.json", written)
    assert read_conversations(folder / "questions.json") == written


def test_entries_as_others_write_them(folder: Path) -> None:
    """LLaVA-Instruct's own form, a system's part, other names for who speaks, and no `<image>` at all."""
    path = _file(
        folder,
        {"id": "000000033471", "image": "a.png", "conversations": _turns("What is it?\n<image>", "A bus.")},
        {"image": "a.png", "conversations": [
            {"from": "system", "value": "You are kind."}, {"from": "user", "value": "What?"},
            {"from": "assistant", "value": "That."}]},
        {"id": 7, "conversations": _turns("Hello", "Hello.")},
    )  # fmt: skip
    first, second, third = read_conversations(path)
    assert first.turns == (Turn(question="What is it?", answer="A bus."),)
    assert (second.id, second.turns[0].answer, len(second.pictures)) == ("1", "That.", 1)
    assert (third.id, third.pictures) == ("7", ())


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (3, "entry 1: it is a JSON int"),
        ({"image": "none.png", "conversations": _turns("a", "b")}, "no picture 'none.png'"),
        ({"image": "../a.png", "conversations": _turns("a", "b")}, "lies outside"),
        ({"image": "/etc/hostname", "conversations": _turns("a", "b")}, "lies outside"),
        ({"image": [3], "conversations": _turns("a", "b")}, "name of a file"),
        ({"image": ["a.png"] * 9, "conversations": _turns("a", "b")}, "9 pictures"),
        ({"conversations": _turns("<image> a", "b")}, "shows 1 pictures"),
        ({"conversations": _turns("a")}, "pairs"),
        ({"conversations": []}, "pairs"),
        ({}, "list of objects"),
        ({"conversations": _turns("a", " ")}, "is empty"),
        ({"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}, "from 'human'"),
        ({"conversations": [{"from": "human", "value": 3}, {"from": "gpt", "value": "b"}]}, "must be text"),
    ],
)
def test_a_bad_entry_is_named(entry: object, says: str, folder: Path) -> None:
    path = _file(folder, {"conversations": _turns("a", "b")}, entry)
    with pytest.raises(KinemaError, match="entry 1") as error:
        read_conversations(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"\xff\xfe[]", b'{"a": 1}', b"[]", b"null", b"3"]
)
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(KinemaError, match=r"broken\.json"):
        read_conversations(path)


def test_a_link_does_not_lead_out_of_the_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(elsewhere)
    (folder / "link.png").symlink_to(elsewhere)
    with pytest.raises(KinemaError, match="lies outside"):
        read_conversations(_file(folder, {"image": "link.png", "conversations": _turns("a", "b")}))


def test_a_pictures_size_is_read_before_its_pixels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_picture(folder / "b.jpg").shape == (20, 30, 3)
    monkeypatch.setattr(conversations, "MOST_PIXELS", 599)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("pixels were read"))
    with pytest.raises(KinemaError, match="30 x 20 pixels"):
        open_picture(folder / "a.png")


@pytest.mark.parametrize("cut", [0, 8, 40, 70])
def test_half_a_picture_is_named(cut: int, folder: Path) -> None:
    (folder / "half.png").write_bytes((folder / "a.png").read_bytes()[:cut])
    with pytest.raises(KinemaError, match=r"half\.png"):
        open_picture(folder / "half.png")
