"""A pydantic model from strict YAML; an error names the file, the key's path, the value and the choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from kinema.card.strict_yaml import StrictYamlError, key_path, meant, read_bytes, read_mapping

M = TypeVar("M", bound=BaseModel)
_TOLD = 10  # faults, of one file


def read_model(kind: type[M], path: Path, what: str) -> M:
    """`parse_model` of a file. Raises StrictYamlError."""
    return parse_model(kind, read_bytes(path), str(path), what)


def parse_model(kind: type[M], data: bytes, where: str, what: str) -> M:
    """The model in YAML bytes; `where` names the source and `what` the thing. Raises StrictYamlError."""
    tree = read_mapping(data, what, where)
    try:
        # Through JSON: pydantic's strict mode then takes lists for tuples but never a string for a number.
        return kind.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        told = (_explained(kind, problem, what) for problem in error.errors()[:_TOLD])
        raise StrictYamlError("\n".join(f"{where}: {each}" for each in told)) from None


def _explained(kind: type[BaseModel], problem: Any, what: str) -> str:
    path, value = problem["loc"], problem["input"]
    place = key_path(path) or what
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; {meant(str(path[-1]), _model_at(kind, path[:-1]).model_fields)}"
    if problem["type"] == "missing":
        return f"{place}: missing key"
    shown = "" if isinstance(value, dict | list) else f" (got {value!r})"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}{shown}"


def _model_at(kind: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel]:
    """Whose keys stand there. A part of the path that is no field is a number or a name in a map."""
    for part in path:
        if part in kind.model_fields:
            kind = _model_in(kind.model_fields[str(part)].annotation) or kind
    return kind


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
