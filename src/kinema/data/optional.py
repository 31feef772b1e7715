"""Libraries that only some formats and places need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from kinema.schema import KinemaError


def library(name: str, extra: str, reads: str) -> ModuleType:
    """An optional library. Raises KinemaError with the line that installs it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise KinemaError(
            f"{reads} need {name.split('.')[0]} ({error}); install it with: pip install 'kinema[{extra}]'"
        ) from None
