"""Reading the files of an artifact: each fault is named, and none leaves a trace of a library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kinema.schema import KinemaError


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises KinemaError: `what` is incomplete, or the file is damaged."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise KinemaError(f"{what} is incomplete: no {path}") from None
    except SafetensorError as error:
        raise KinemaError(f"{path} is damaged: {error}") from None


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object of a JSON file. Raises KinemaError: `what` is incomplete, or the file is damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise KinemaError(f"{what} is incomplete: no {path}") from None
    except json.JSONDecodeError as error:
        raise KinemaError(f"{path} is damaged: {error}") from None
