"""Sentences of an episode."""

from __future__ import annotations


def generate_episode_descriptions(
    task: str, episodes: list[dict[str, str]], most: int, seed: int
) -> list[dict[str, list[str]]]:
    named = episodes[0]["{A}"]
    return [
        {"seen": [f"seen {task} {named}"], "unseen": [f"{task} {named} {word}" for word in ("so", "thus")]}
    ]
