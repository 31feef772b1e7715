"""What two sides say of the same body: compared before the first step."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

from kinema.schema import KinemaError

_Said = TypeVar("_Said")


def check_same(whose: str, ours: _Said, theirs: _Said) -> None:
    """Both are dataclasses of one kind. Raises KinemaError that names everything they do not agree on.

    whose: the benchmark's name
    """
    pairs = [(field.name, getattr(ours, field.name), getattr(theirs, field.name)) for field in fields(ours)]  # type: ignore[arg-type]
    if different := [
        f"{name} is {there} there and {here} here" for name, here, there in pairs if here != there
    ]:
        raise KinemaError(f"{whose}'s conventions are not those of its card: {'; '.join(different)}")
