"""A root with a body's folder is complete."""

from __future__ import annotations

from pathlib import Path


def validate_root(path: str) -> dict[str, str]:
    root = Path(path).resolve()
    if not (root / "assets/embodiments/aloha-agilex").is_dir():
        raise ValueError("RoboTwin asset snapshot is incomplete; missing directories: ...")
    return {"root": str(root), "repository": "somebody/toys", "revision": "1"}
