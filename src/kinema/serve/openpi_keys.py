"""Where an observation in openpi's style keeps what a card needs: a declared table, one row for each part.

openpi's observations are flat maps whose keys differ from robot to robot. A card here names its cameras and
channels; for every camera, by the tag that says what it looks at, and for the state, the keys below are
tried in this order and the first that is there is taken (for people: `docs/protocols.md`). The state may be
split into several vectors, which are joined in the order given. The joined state must be what the card
declares, in its units: mapping keys is not converting units.

`images/NAME` also stands for a map `images` that has NAME in it. Pictures are uint8 or float in [0, 1],
(H, W, 3) or (3, H, W), as openpi's own servers take them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.messages import Observed
from kinema.runtime.wire import WireError, array_hook
from kinema.schema import Observation
from kinema.serve.limits import Limits
from kinema.serve.question import checked_observation, numbers
from kinema.serve.refusal import Refusal
from kinema.serve.service import Served

_BY_TAG = {
    "ego": ("observation/image", "observation/exterior_image_1_left", "images/cam_high", "image", "base_rgb"),
    "cam_right_wrist": (
        "observation/wrist_image",
        "observation/wrist_image_left",
        "images/cam_right_wrist",
        "wrist_rgb",
    ),
    "cam_left_wrist": ("images/cam_left_wrist",),
}
PROMPT = "prompt"
STATE = (  # groups of keys that are joined
    ("observation/state",),
    ("state",),
    ("observation/joint_position", "observation/gripper_position"),
    ("joints", "gripper"),
)
# What openpi's own examples send, by a key of each, and what to do where a card wants other things.
_KNOWN = (
    (
        "observation/joint_position",
        "these are DROID's keys: 7 joint angles [rad] and a gripper from 0 open to 1 closed. Serve a card "
        "that is driven by joints, or send `observation/state` with the values above",
    ),
    (
        "observation/state",
        "LIBERO's state has 8 values (tool place, axis-angle, two finger places) and its actions are steps. "
        "Send tool place, rotation vector in the card's frame and one opening, and expect poses",
    ),
    (
        "images/cam_high",
        "ALOHA's simulation sends `images/cam_high` alone; render `images/cam_left_wrist` and "
        "`images/cam_right_wrist` too",
    ),
    (
        "joints",
        "these are the keys of openpi's UR5 example: base_rgb, wrist_rgb, joints [rad], gripper; "
        "ask for /?card=ur5e",
    ),
)


def image_keys(card: EmbodimentCard) -> dict[str, tuple[str, ...]]:
    """By camera, in the order they are tried. A tag names one camera only: the first that carries it."""
    images, taken = {}, set()
    for camera in card.cameras:
        own = (f"observation/images/{camera.name}", f"images/{camera.name}", camera.name)
        images[camera.name] = own + (() if camera.tag in taken else _BY_TAG[camera.tag])
        taken.add(camera.tag)
    return images


def observation_of(
    message: Mapping[str, Any], card: EmbodimentCard, served: Served, limits: Limits, *, time_s: float
) -> Observation:
    """The observation in an openpi message. Raises Refusal naming the part and the keys that were tried.

    Where the keys are those of one of openpi's own examples, it also says what that has to send.
    """
    try:
        return _observation_of(message, card, served, limits, time_s)
    except Refusal as refusal:
        hint = next((hint for key, hint in _KNOWN if _look_up(message, key) is not None), None)
        if hint is None or refusal.code != "bad_request" or not str(refusal).startswith(("state", "camera")):
            raise
        raise Refusal(refusal.code, f"{refusal} ({hint})") from None


def _observation_of(
    message: Mapping[str, Any], card: EmbodimentCard, served: Served, limits: Limits, time_s: float
) -> Observation:
    found = {}
    for name, choices in image_keys(card).items():
        value = next((v for v in (_look_up(message, key) for key in choices) if v is not None), None)
        if value is None:
            raise _missing(f"camera {name!r} of {card.name}", choices, message)
        found[name] = _as_uint8_hwc(value)
    prompt: Any = message.get(PROMPT)
    seen = Observed(images=found, state=_state(message, card), instruction=prompt, time_s=time_s)
    return checked_observation(seen, card, served, limits)


def is_slow(message: Mapping[str, Any]) -> bool:
    """Whether reading this message will take a while: a picture is not uint8, or must be decoded."""
    return any(
        isinstance(value, bytes)
        or (isinstance(value, np.ndarray) and value.ndim == 3 and value.dtype != np.uint8)
        for values in (message, message.get("images"))
        if isinstance(values, Mapping)
        for value in values.values()
    )


def _look_up(message: Mapping[str, Any], key: str) -> Any:
    """`a/b` itself, or b in the map a. Strings and numbers under a camera's bare name are not pictures."""
    if key in message:
        return message[key]
    outer, _, inner = key.partition("/")
    nested = message.get(outer)
    return _look_up(nested, inner) if inner and isinstance(nested, dict) else None


def _state(message: Mapping[str, Any], card: EmbodimentCard) -> np.ndarray:
    by_joints = card.control == "joint_position"
    # The angles of joints are no pose of a tool.
    groups = [group for group in STATE if by_joints or "joint" not in group[0]]
    for group in groups:
        parts = [_look_up(message, key) for key in group]
        if all(part is not None for part in parts):
            return np.concatenate([_vector(part, key) for part, key in zip(parts, group)])
    raise _missing(f"state of {card.name}", [" + ".join(group) for group in groups], message)


def _vector(found: Any, key: str) -> np.ndarray:
    """(n,) of an array, a list of numbers or one number."""
    try:
        found = array_hook(np.ndarray, [found] if type(found) in (int, float) else found)
    except (ValueError, WireError) as error:
        raise Refusal("bad_request", f"state: {key} {error}") from None
    return numbers(found, f"state: {key}").ravel()


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
