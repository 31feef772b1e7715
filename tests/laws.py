"""How many cases a law is tried on."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

_PROFILE = 40  # cases of a law that says nothing, in `make test`


def examples(count: int, **more: Any) -> settings:
    """`count` cases in `make test`, and as many more in `make test-slow` as for every other law."""
    return settings(max_examples=count * settings.default.max_examples // _PROFILE, **more)
