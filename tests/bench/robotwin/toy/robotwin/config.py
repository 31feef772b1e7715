"""As the real ones, but for the tasks."""

from __future__ import annotations

from typing import Any


def load_task_config(name: str) -> dict[str, Any]:
    demo = {"embodiment": ["aloha-agilex"], "camera": {"head_camera_type": "D435"}, "save_freq": 15}
    return {
        "_eval_step_limit": {"touch": 6, "never_stands": 6},
        "_embodiment_config": {"aloha-agilex": {"file_path": "./assets/embodiments/aloha-agilex/"}},
        "_camera_config": {"D435": {"fovy": 37, "w": 320, "h": 240}},
        "demo_clean": demo,
        "demo_randomized": demo,
    }[name]
