"""What one client may send and hold. Everything from outside is measured against these first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.schema import KinemaError

_TOLD = ("frame_bytes", "image_px", "images", "megapixels", "message_hz", "in_flight", "key_in_flight")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """frame_bytes:        one websocket message or request body
    image_px:           either side of a picture
    images, megapixels: pictures in one observation, and all their pixels together
    message_hz, burst:  messages of one connection per second, and how many at once; a megabyte counts as one
    in_flight:          unanswered questions of one connection
    idle_s:             a connection that says nothing for so long is closed; infinite: it is kept for as
                        long as it answers the websocket's own pings
    handshake_s:        time to finish asking for a connection, TLS included, and to send a request's body
    send_s:             time a client has to take an answer from its socket
    connections:        websockets open at the same time
    key_connections, key_in_flight: websockets and unanswered questions of one key
    address_connections: TCP connections of one address other than this machine's
    """

    frame_bytes: int = 8 * 2**20
    image_px: int = 2048
    images: int = 8
    megapixels: float = 4.0
    message_hz: float = 200.0
    burst: int = 50
    in_flight: int = 4
    idle_s: float = math.inf
    handshake_s: float = 10.0
    send_s: float = 10.0
    connections: int = 256
    key_connections: int = 32
    key_in_flight: int = 32
    address_connections: int = 128

    def __post_init__(self) -> None:
        low = [name for name, value in vars(self).items() if not value > 0]
        if low:
            raise KinemaError(f"limits must be above 0: {', '.join(low)}")

    def to_wire(self) -> dict[str, float | None]:
        """What a client is told when it connects. idle_s is None where silence has no limit."""
        told: dict[str, float | None] = {name: getattr(self, name) for name in _TOLD}
        idle_s = None if math.isinf(self.idle_s) else self.idle_s
        return told | {"idle_s": idle_s, "instruction_chars": MAX_INSTRUCTION_CHARS}
