"""Conversations about pictures in LLaVA's JSON: a list of entries with pictures and turns.

    [{"id": "0", "image": "pictures/0.png", "conversations": [
      {"from": "human", "value": "<image>\\nwhat is this?"}, {"from": "gpt", "value": "a mug"}]}]

As others write it: `image` may be a list, or missing where there is only text; `<image>` says where a picture
was shown, which here is always after the first question. What an entry has beside that is kept as its label.
A file may come from anywhere: nothing in it leads out of its folder, and a picture's size is read before its
pixels are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kinema.schema import KinemaError

MOST_PICTURES = 8  # of one entry: what a policy can look at
MOST_PIXELS, MOST_PICTURE_BYTES = 64_000_000, 64_000_000
MOST_JSON_BYTES = 4_000_000_000
IMAGE = "<image>"
_ASKS, _ANSWERS = ("human", "user"), ("gpt", "assistant")
_OWN = ("id", "image", "conversations")


@dataclass(frozen=True, kw_only=True)
class Turn:
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """pictures: files; label: whatever else its entry said."""

    id: str
    pictures: tuple[Path, ...]
    turns: tuple[Turn, ...]
    label: Mapping[str, Any] = field(default_factory=dict)


def read_conversations(path: Path, pictures: Path | None = None) -> list[Conversation]:
    """All entries of a file, whose pictures lie below `pictures` (default: the file's folder).

    Raises KinemaError naming the file, the entry and what is wrong with it.
    """
    if not path.is_file():
        raise KinemaError(f"no file of conversations at {path}")
    if (size := path.stat().st_size) > MOST_JSON_BYTES:
        raise KinemaError(f"{path} has {size / 1e9:.1f} GB; at most {MOST_JSON_BYTES / 1e9:g} are read")
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise KinemaError(f"{path} is no JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(entries, list):
        raise KinemaError(f"{path} holds a JSON {type(entries).__name__}; a list of conversations is wanted")
    if not entries:
        raise KinemaError(f"{path} holds no conversation")
    folder = (pictures or path.parent).resolve()
    found, files = [], dict[str, Path]()
    for number, entry in enumerate(entries):
        try:
            found.append(_read(entry, number, folder, files))
        except KinemaError as error:
            raise KinemaError(f"{path}, entry {number}: {error}") from None
    return found


def write_conversations(path: Path, conversations: Sequence[Conversation]) -> None:
    """Write a file whole or not at all; its pictures must lie below its folder."""
    entries = [_entry(one, path.parent) for one in conversations]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")
    partial.replace(path)


def open_picture(path: Path) -> np.ndarray:
    """A picture file as uint8 (H, W, 3). Raises KinemaError: none there, too large, or not to be read."""
    if not path.is_file():
        raise KinemaError(f"no picture at {path}")
    if (size := path.stat().st_size) > MOST_PICTURE_BYTES:
        raise KinemaError(f"{path} has {size / 1e6:.0f} MB; a picture may have {MOST_PICTURE_BYTES / 1e6:g}")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP", "GIF")) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise KinemaError(
                    f"{path} has {width} x {height} pixels; a picture may have {MOST_PIXELS / 1e6:g} million"
                )
            return np.asarray(image.convert("RGB"))
    except KinemaError:
        raise
    except Exception as error:  # decoders meet hostile bytes and answer with many kinds of error
        raise KinemaError(f"{path} is no picture that can be read ({type(error).__name__})") from None


def _read(entry: Any, number: int, folder: Path, files: dict[str, Path]) -> Conversation:
    if not isinstance(entry, dict):
        raise KinemaError(f"it is a JSON {type(entry).__name__}, not an object")
    told = entry.get("image") or []
    names = told if isinstance(told, list) else [told]
    if len(names) > MOST_PICTURES:
        raise KinemaError(f"it has {len(names)} pictures; at most {MOST_PICTURES} are looked at")
    for name in names:
        if not isinstance(name, str):
            raise KinemaError(f"`image` must be the name of a file, got {str(name)[:40]!r}")
        if name not in files:
            files[name] = _inside(folder, name)
    turns = _turns(entry.get("conversations"))
    shown = sum(turn.question.count(IMAGE) for turn in turns)
    if shown > len(names):
        raise KinemaError(f"it shows {shown} pictures ({IMAGE}) and names {len(names)} in `image`")
    bare = [
        Turn(question=turn.question.replace(IMAGE, "").strip(), answer=turn.answer.strip()) for turn in turns
    ]
    return Conversation(
        id=str(entry.get("id", number)), pictures=tuple(files[name] for name in names), turns=tuple(bare),
        label={key: value for key, value in entry.items() if key not in _OWN},
    )  # fmt: skip


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder):
        raise KinemaError(f"picture {name[:80]!r} lies outside of {folder}")
    if not path.is_file():
        raise KinemaError(f"no picture {name[:80]!r} below {folder}")
    return path


def _turns(told: Any) -> list[Turn]:
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise KinemaError("`conversations` must be a list of objects")
    if told and told[0].get("from") == "system":
        told = told[1:]  # how a chat is opened is the model's own
    if not told or len(told) % 2:
        raise KinemaError(f"`conversations` must be pairs of question and answer, got {len(told)} parts")
    turns = []
    for asked, answered in zip(told[::2], told[1::2]):
        for one, who in ((asked, _ASKS), (answered, _ANSWERS)):
            if one.get("from") not in who or not isinstance(one.get("value"), str):
                raise KinemaError(f"a part must be text (`value`) from {who[0]!r}, got {str(one)[:60]!r}")
        if not answered["value"].strip():
            raise KinemaError(f"the answer to {asked['value'][:40]!r} is empty")
        turns.append(Turn(question=asked["value"], answer=answered["value"]))
    return turns


def _entry(one: Conversation, folder: Path) -> dict[str, Any]:
    names = [path.relative_to(folder).as_posix() for path in one.pictures]
    parts = []
    for i, turn in enumerate(one.turns):
        shown = f"{IMAGE}\n" * len(names) if i == 0 else ""
        parts += [{"from": "human", "value": shown + turn.question}, {"from": "gpt", "value": turn.answer}]
    image = {"image": names[0] if len(names) == 1 else names} if names else {}
    return {"id": one.id, **image, "conversations": parts, **one.label}
