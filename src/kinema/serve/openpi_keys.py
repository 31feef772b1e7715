"""Where an observation in openpi's style keeps what a card needs: a declared table, one row for each part.

openpi's observations are flat maps whose keys differ from robot to robot. A card here names its cameras and
channels; for every camera, by the tag that says what it looks at, and for the state, the keys below are
tried in this order and the first that is there is taken. `state` may be split into several vectors, which
are joined in the order given. The joined state must be what the card declares, in its units: mapping keys
is not converting units.

    what                    keys
    camera NAME             observation/images/NAME, images/NAME, NAME
    first camera tagged ego observation/image, observation/exterior_image_1_left, images/cam_high, image
    cam_right_wrist         observation/wrist_image, observation/wrist_image_left, images/cam_right_wrist
    cam_left_wrist          images/cam_left_wrist
    state                   observation/state, state,
                            observation/joint_position + observation/gripper_position
    instruction             prompt

`images/NAME` also stands for a map `images` that has NAME in it. Pictures are uint8 or float in [0, 1],
(H, W, 3) or (3, H, W), as openpi's own servers take them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import Observation
from kinema.serve.limits import Limits, pictures
from kinema.serve.question import checked_observation, numbers
from kinema.serve.refusal import Refusal

_BY_TAG = {
    "ego": ("observation/image", "observation/exterior_image_1_left", "images/cam_high", "image"),
    "cam_right_wrist": (
        "observation/wrist_image",
        "observation/wrist_image_left",
        "images/cam_right_wrist",
    ),
    "cam_left_wrist": ("images/cam_left_wrist",),
}
_STATE = (
    ("observation/state",),
    ("state",),
    ("observation/joint_position", "observation/gripper_position"),
)


@dataclass(frozen=True, kw_only=True)
class OpenpiKeys:
    """images: keys by camera, in the order they are tried. state: groups of keys that are joined."""

    images: Mapping[str, tuple[str, ...]]
    state: tuple[tuple[str, ...], ...] = _STATE
    prompt: str = "prompt"


def keys_of(card: EmbodimentCard) -> OpenpiKeys:
    """The table for one card. A tag names one camera only: the first that carries it."""
    images, taken = {}, set()
    for camera in card.cameras:
        own = (f"observation/images/{camera.name}", f"images/{camera.name}", camera.name)
        images[camera.name] = own + (() if camera.tag in taken else _BY_TAG[camera.tag])
        taken.add(camera.tag)
    return OpenpiKeys(images=images)


def observation_of(
    message: Mapping[str, Any], card: EmbodimentCard, limits: Limits, *, time_s: float
) -> Observation:
    """The observation in an openpi message. Raises Refusal naming the part and the keys that were tried."""
    keys = keys_of(card)
    found = {}
    for name, choices in keys.images.items():
        value = next((v for v in (_look_up(message, key) for key in choices) if v is not None), None)
        if value is None:
            raise _missing(f"camera {name!r} of {card.name}", choices, message)
        found[name] = _as_uint8_hwc(value)
    return checked_observation(
        images=pictures(found, card.camera_names, limits),
        state=_state(message, keys, card),
        instruction=message.get(keys.prompt),
        time_s=time_s,
        card=card,
        limits=limits,
    )


def _look_up(message: Mapping[str, Any], key: str) -> Any:
    """`a/b` itself, or b in the map a. Strings and numbers under a camera's bare name are not pictures."""
    if key in message:
        return message[key]
    outer, _, inner = key.partition("/")
    nested = message.get(outer)
    return _look_up(nested, inner) if inner and isinstance(nested, dict) else None


def _state(message: Mapping[str, Any], keys: OpenpiKeys, card: EmbodimentCard) -> np.ndarray:
    for group in keys.state:
        parts = [_look_up(message, key) for key in group]
        if all(part is not None for part in parts):
            return np.concatenate([numbers(part, key).ravel() for part, key in zip(parts, group)])
    raise _missing(f"the state of {card.name}", [" + ".join(group) for group in keys.state], message)


def _as_uint8_hwc(value: Any) -> Any:
    """openpi's pictures in our form; anything else is left for the limits to refuse."""
    if not isinstance(value, np.ndarray) or value.ndim != 3:
        return value
    if value.dtype.kind == "f":
        if not ((value >= 0) & (value <= 1)).all():
            raise Refusal("bad_request", "pictures of floats must lie in [0, 1]")
        value = np.rint(255 * value).astype(np.uint8)
    if value.shape[0] == 3 and value.shape[2] != 3:
        value = value.transpose(1, 2, 0)
    return value


def _missing(what: str, tried: Any, message: Mapping[str, Any]) -> Refusal:
    got = sorted(str(key)[:40] for key in list(message)[:20])
    return Refusal("bad_request", f"{what} is missing; tried the keys {', '.join(tried)}; got {got}")
