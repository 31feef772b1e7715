"""What two sides say of the same body: compared before the first step."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from kinema.schema import KinemaError


def check_same(benchmark: str, ours: Any, theirs: Any) -> None:
    """Both are dataclasses of one kind. Raises KinemaError that names everything they do not agree on."""
    pairs = [(field.name, getattr(ours, field.name), getattr(theirs, field.name)) for field in fields(ours)]
    if different := [
        f"{name} is {there} there and {here} here" for name, here, there in pairs if here != there
    ]:
        raise KinemaError(f"{benchmark}'s conventions are not those of its card: {'; '.join(different)}")
