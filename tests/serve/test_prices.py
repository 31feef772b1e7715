"""The price table is strict, exact and never without a price."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.schema import KinemaError
from kinema.serve.prices import FREE, NANO, PriceTable, amount, load_prices

TABLE = """
currency: EUR
per_action:
  nano: {"*": 0.0001, aloha: "0.000000001"}
  "*": {"*": 2, ur5e: 0.5}
"""


def _load(tmp_path: Path, text: str) -> PriceTable:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    return load_prices(path)


def test_the_nearest_row_gives_the_price(tmp_path: Path) -> None:
    table = _load(tmp_path, TABLE)
    assert table.price_nano("nano", "aloha") == 1
    assert table.price_nano("nano", "ur5e") == 100_000  # the model's own "*" before the others' ur5e
    assert table.price_nano("other", "ur5e") == NANO // 2
    assert table.price_nano("other", "panda") == 2 * NANO
    assert FREE.price_nano("any", "body") == 0


def test_json_reads_as_yaml(tmp_path: Path) -> None:
    tree = {"currency": "EUR", "per_action": {"*": {"*": 0.1}}}
    assert _load(tmp_path, json.dumps(tree)).price_nano("m", "b") == NANO // 10


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("currency: EUR", "per_action: missing key"),
        ("currency: EUR\nper_actions: {}", "unknown key; did you mean 'per_action'"),
        ("currency: euro\nper_action: {'*': {'*': 1}}", "three capital letters"),
        ("currency: EUR\nper_action: {nano: {'*': 1}}", "is missing"),
        ("currency: EUR\nper_action: {'*': {'*': -1}}", "per_action.*.*: -1 is not in 0"),
        ("currency: EUR\nper_action: {'*': {'*': true}}", "True is not a number"),
        ("currency: EUR\nper_action: {'*': {'*': free}}", "'free' is not a number"),
        ("currency: EUR\nper_action: {'*': {'*': 'NaN'}}", "is not in 0"),
        ("currency: EUR\nper_action: {'*': {'*': .inf}}", "not a finite number"),
        ("currency: EUR\nper_action: {'*': {'*': 1e-10}}", "more than nine decimals"),
        ("currency: EUR\nper_action: {'*': 1}", "per_action.*: Input should be an object (got 1)"),
        ("currency: EUR\nper_action: {'*': {'*': 1}, '*': {'*': 0}}", "given twice"),
        ("- 1", "a price table is a mapping"),
    ],
)
def test_a_wrong_table_names_file_key_and_value(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(KinemaError, match=r"prices\.yaml: ") as caught:
        _load(tmp_path, text)
    assert told in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(KinemaError, match="cannot be read"):
        load_prices(tmp_path / "none.yaml")


@given(st.integers(0, 10**18))
def test_an_amount_is_exact(nano: int) -> None:
    assert Decimal(amount(nano)) * NANO == nano
    assert "E" not in amount(nano)
