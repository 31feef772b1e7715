"""A policy behind openpi's websocket protocol: openpi's own servers (pi0, pi0.5), others that speak it, ours.

On connecting the server sends a map of metadata. A question is a flat map with pictures, state and prompt,
its answer a map with `actions` (T, D) in the body's native values, one row for each of its control steps; an
error is a text, after which the server closes. The protocol has no word for a new episode: a new connection
is one. It has no place for the noise either, so the same seed may give other actions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.runtime.client import KEY_VARIABLE, ServerError, opened
from kinema.runtime.wire import WireError, pack, unpack
from kinema.schema import ActionChunk, KinemaError, Observation

_BY_TAG = {
    "ego": "observation/image",
    "cam_right_wrist": "observation/wrist_image",
    "cam_left_wrist": "observation/left_wrist_image",
}


def observation_keys(card: EmbodimentCard) -> dict[str, str]:
    """The key of each camera: what openpi's LIBERO policies call it by its tag; a second one of a tag by its
    own name, `observation/images/NAME`."""
    keys: dict[str, str] = {}
    for camera in card.cameras:
        key = _BY_TAG[camera.tag]
        keys[camera.name] = f"observation/images/{camera.name}" if key in keys.values() else key
    return keys


class OpenpiPolicy:
    """Asks an openpi server for chunks, one question at a time.

    url:       ws://host:port or wss://host:port; what stands after `?` is kept, and the body's name and its
               rate are added (`card`, `hz`), which our own server heeds and openpi's ignores
    api_key:   for servers that want one; default: what $KINEMA_API_KEY holds, so that no result names it
    timeout_s: how long connecting and an answer may take; the first answer of a large network takes long
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout_s: float = 120.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise KinemaError(f"no address of an openpi server: {url!r}; write ws://host:8000")
        self._parts, self._timeout_s = parts, timeout_s
        key = api_key or os.environ.get(KEY_VARIABLE)
        self._headers = {"Authorization": f"Api-Key {key}"} if key else {}
        self._connection: ClientConnection | None = None
        self._card: EmbodimentCard | None = None
        self._metadata: Mapping[str, Any] = {}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Who acted, as far as its server says; weights behind an address cannot be hashed."""
        told = {str(key): value for key, value in self._metadata.items() if type(value) in (str, int, float)}
        return {"policy": f"openpi server at {urlunsplit(self._parts)}", "metadata": told}

    def reset(self, seed: int) -> None:
        """Begin an episode: on a new connection. The seed is not heard by the server."""
        self.close()

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        """One chunk, a row for each control step of the body. Raises ServerError for anything else."""
        if self._card is None or self._card.name != card_name:
            self.close()
            self._card = load_card(card_name)
        card = self._card
        images = {key: observation.images[name] for name, key in observation_keys(card).items()}
        question = {**images, "observation/state": self.state(observation), "prompt": observation.instruction}
        try:
            values = self.native(_actions(self._answer(pack(question), card), card))
        except (TimeoutError, OSError, WebSocketException, WireError) as error:
            self.close()
            raise ServerError("lost", f"{self._address(card)}: {str(error) or 'no answer in time'}") from None
        times_s = observation.time_s + (1 + np.arange(len(values))) / card.control_hz
        return ActionChunk(values=values, times_s=times_s, card=card.name)

    def state(self, observation: Observation) -> np.ndarray:
        """What the server is told as the state: the card's, unless a body's servers expect another."""
        return observation.state

    def native(self, values: np.ndarray) -> np.ndarray:
        """The body's actions (T, D) for those of the server (T, D): the same, unless it speaks otherwise."""
        return values

    def close(self) -> None:
        """End the connection; the next question opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _answer(self, question: bytes, card: EmbodimentCard) -> Mapping[str, Any]:
        if self._connection is None:
            self._connection = opened(self._address(card), self._headers, self._timeout_s, self._timeout_s)
            self._metadata = _map_of(self._connection.recv(self._timeout_s))
        self._connection.send(question)
        return _map_of(self._connection.recv(self._timeout_s))

    def _address(self, card: EmbodimentCard) -> str:
        query = {"card": card.name, "hz": f"{card.control_hz:g}", **dict(parse_qsl(self._parts.query))}
        return urlunsplit(self._parts._replace(query=urlencode(query), path=self._parts.path or "/"))


def _map_of(message: str | bytes) -> Mapping[str, Any]:
    """What the server sent. Raises WireError with the last line of what it says when it failed."""
    if isinstance(message, str):
        raise WireError(f"it says: {(message.strip().splitlines() or [''])[-1][:300]}")
    found = unpack(message)
    if not isinstance(found, dict):
        raise WireError(f"it sent a {type(found).__name__} instead of a map")
    return found


def _actions(answer: Mapping[str, Any], card: EmbodimentCard) -> np.ndarray:
    """(T, D) float64 of an answer. Raises WireError for what this body cannot play."""
    found, wanted = answer.get("actions"), len(card.actions)
    if not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) == 0:
        raise WireError(f"it sent no `actions` of (rows, {wanted}); keys: {sorted(map(str, answer))[:10]}")
    if found.shape[1] != wanted:
        names = ", ".join(channel.name for channel in card.actions)
        raise WireError(f"its actions have {found.shape[1]} values, {card.name} takes {wanted}: {names}")
    values = found.astype(np.float64)
    if not np.isfinite(values).all():
        raise WireError("its actions are not finite")
    return values
