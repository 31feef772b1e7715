"""Numbers that others published, each with its source and with what its protocol does otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from kinema.card.strict_model import read_model

FILE = "published.yaml"  # in the folder of the runs
Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Words = Annotated[str, Field(min_length=1)]


class Published(BaseModel):
    """One row. Words say what no number can: "not stated" where the source is silent.

    benchmark: the section it stands in, as `Run.benchmark`
    rates:     by group; mean: of the groups, as the source gives it
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: Words
    model: Words
    parameters: Words
    data: Words
    compute: Words
    protocol: Words
    source: Words
    rates: dict[str, Rate] = {}
    mean: Rate


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    published: tuple[Published, ...]


def read_published(folder: Path) -> tuple[Published, ...]:
    """The rows of the folder's file, in their order; none without one. Raises StrictYamlError for a fault."""
    file = folder / FILE
    return read_model(_File, file, "list of published numbers").published if file.exists() else ()
