"""Bring the cards that the shipped artifacts carry up to those of the package, where only keys were added.

    python scripts/refresh_artifact_cards.py

A key whose value changed is refused: the weights were trained on the old one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import kinema
from kinema.card.load import load_card


def changed(old: Any, new: Any, path: str = "") -> list[str]:
    """Where a value of `old` is another one in `new`; keys that only `new` has are no change."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [place for key in old for place in changed(old[key], new.get(key), f"{path}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [place for i, pair in enumerate(zip(old, new)) for place in changed(*pair, f"{path}[{i}]")]
    return [] if old == new else [path]


for file in sorted((Path(kinema.__file__).parent / "artifacts").glob("*/cards/*.json")):
    text = load_card(file.stem).model_dump_json(indent=1)
    if places := changed(json.loads(file.read_text()), json.loads(text)):
        sys.exit(f"{file}: the package's card has other values at {', '.join(places)}")
    file.write_text(text)
