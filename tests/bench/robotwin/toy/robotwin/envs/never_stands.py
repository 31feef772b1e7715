"""No scene of it can be built."""

from __future__ import annotations

from typing import Any


class never_stands:  # noqa: N801 - the package's way to name a task
    def setup_demo(self, **settings: Any) -> None:
        raise RuntimeError("no renderer")

    def close_env(self) -> None: ...
