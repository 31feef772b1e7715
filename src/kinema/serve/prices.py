"""What an action costs: a strict table by model and body, exact to a thousand-millionth.

    currency: EUR
    per_action:
      nano: {"*": 0.0001, aloha: 0.0002}
      "*": {"*": 0}

A body is looked up under its model first, then under the model's "*", then under the model "*". The last
of these must exist, so that no action is ever without a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from kinema.schema import KinemaError

NANO = 10**9
ANY = "*"


@dataclass(frozen=True, kw_only=True)
class PriceTable:
    """Prices in thousand-millionths of the currency, by model and then by body."""

    currency: str = "EUR"
    nano_per_action: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: {ANY: {ANY: 0}})

    def price_nano(self, model: str, body: str) -> int:
        """What one action of this model on this body costs."""
        for row in (self.nano_per_action.get(model, {}), self.nano_per_action[ANY]):
            for name in (body, ANY):
                if name in row:
                    return row[name]
        raise KinemaError(f"no price for model {model!r} and body {body!r}")


FREE = PriceTable()


def load_prices(path: str | Path) -> PriceTable:
    """The table in this YAML or JSON file. Raises KinemaError naming file, key and value."""
    raise NotImplementedError


def amount(nano: int) -> str:
    """Thousand-millionths as a plain decimal number: 1500000000 is "1.5"."""
    text = f"{Decimal(nano) / NANO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
