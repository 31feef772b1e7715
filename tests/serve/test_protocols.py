"""docs/protocols.md is true: its tables are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from kinema.card.load import card_names, load_card
from kinema.runtime import messages
from kinema.serve.openpi_keys import PROMPT, STATE, image_keys
from kinema.serve.refusal import STATUS

TEXT = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()


def test_every_code_and_its_status() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| ([0-9]+) \|", TEXT, re.MULTILINE)
    assert {code: int(status) for code, status in rows} == {code: s for code, (s, _) in STATUS.items()}


def test_every_key_of_openpi() -> None:
    section = TEXT.split("## openpi's websocket")[1]
    told = set(re.findall(r"`([^`\n]+)`", section))
    for card in map(load_card, card_names()):
        for name, choices in image_keys(card).items():
            own = {f"observation/images/{name}", f"images/{name}", name}
            assert own == set(choices[:3])
            assert set(choices[3:]) <= told
    assert {key for group in STATE for key in group} | {PROMPT} <= told


def test_every_type_of_message() -> None:
    rows = re.findall(r"^\| (client|server) \| `([a-z]+)` \|", TEXT, re.MULTILINE)
    assert messages.__doc__
    assert set(rows) == set(re.findall(r"^    (client|server) +([a-z]+) ", messages.__doc__, re.MULTILINE))
    assert f"`protocol` ({messages.PROTOCOL})" in TEXT
