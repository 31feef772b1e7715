"""What an action costs: a strict table by model and body, exact to a thousand-millionth.

    currency: EUR
    per_action:
      nano: {"*": 0.0001, aloha: 0.0002}
      "*": {"*": 0}

A body is looked up under its model first, then under the model's "*", and then in the same way under the
model "*". The last of these must exist, so that no action is ever without a price.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from kinema.card.strict_model import read_model
from kinema.card.strict_yaml import StrictYamlError
from kinema.schema import KinemaError

NANO = 10**9
ANY = "*"
MAX_PRICE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PriceTable:
    """Prices in thousand-millionths of the currency, by model and then by body."""

    currency: str = "EUR"
    nano_per_action: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: {ANY: {ANY: 0}})

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Z]{3}", self.currency):
            raise KinemaError(f"currency: {self.currency!r} is not three capital letters (EUR, USD, ...)")
        if ANY not in self.nano_per_action.get(ANY, {}):
            raise KinemaError('per_action: the row "*": {"*": price} is missing: what all the others cost')
        for model, row in self.nano_per_action.items():
            for body, nano in row.items():
                if not 0 <= nano <= MAX_PRICE * NANO:
                    raise KinemaError(
                        f"per_action.{model}.{body}: {amount(nano)} is not in 0 to {MAX_PRICE} an action"
                    )

    def price_nano(self, model: str, body: str) -> int:
        """What one action of this model on this body costs."""
        rows = (self.nano_per_action.get(model, {}), self.nano_per_action[ANY])
        return next(row[name] for row in rows for name in (body, ANY) if name in row)


FREE = PriceTable()


def _nano(price: object) -> int:
    """A number, or a decimal number in quotes, in thousand-millionths; nothing is rounded away."""
    if isinstance(price, bool) or not isinstance(price, int | float | str):
        raise ValueError(f"{price!r} is not a number")
    try:
        exact = Decimal(repr(price) if isinstance(price, float) else price)
    except InvalidOperation:
        raise ValueError(f"{price!r} is not a number") from None
    if not exact.is_finite() or not 0 <= exact <= MAX_PRICE:
        raise ValueError(f"{price!r} is not in 0 to {MAX_PRICE} an action")
    nano = exact * NANO
    if nano != nano.to_integral_value():
        raise ValueError(f"{price!r} has more than nine decimals")
    return int(nano)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    currency: str
    per_action: dict[str, dict[str, Annotated[int, BeforeValidator(_nano)]]]


def load_prices(path: str | Path) -> PriceTable:
    """The table in this YAML or JSON file. Raises KinemaError naming file, key and value."""
    try:
        told = read_model(_File, Path(path), "price table")
        return PriceTable(currency=told.currency, nano_per_action=told.per_action)
    except StrictYamlError as error:
        raise KinemaError(str(error)) from None
    except KinemaError as error:
        raise KinemaError(f"{path}: {error}") from None


def amount(nano: int) -> str:
    """Thousand-millionths as a plain decimal number: 1500000000 is "1.5"."""
    text = f"{Decimal(nano) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
