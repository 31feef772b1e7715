"""The seed of an evaluation whose numbers are published: a function of the weights that are judged.

Scenes that were looked at while choosing flatter what was chosen by them. So nobody chooses this seed: it is
the first 32 bits of a SHA-256 over this protocol's name and the digests of whatever is judged. Other weights
get other scenes, the same weights always the same ones, and everybody can compute it:

    printf 'kinema evaluation 1\\nDIGEST\\n' | sha256sum | head -c 8     (in base 16)

It is no shield against somebody who makes weights until one lot of scenes is easy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kinema.bench.benchmark import Factory
from kinema.bench.identity import judged_by
from kinema.schema import KinemaError

PROTOCOL = "kinema evaluation 1"
FRESH, DEVELOPMENT = "fresh", "dev"
DEVELOPMENT_SEED = 0  # every scene of this seed has been looked at
_HIGHEST = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A run's seed and the sentence that says where it comes from."""

    value: int
    rule: str


def seed_of(word: str, judged: Sequence[Factory]) -> Seed:
    """What `fresh`, `dev` or a number means for these policies. Raises KinemaError for other words."""
    if word == FRESH:
        digests = sorted(judged_by(one) for one in judged)
        rule = f"fresh: first 32 bits of SHA-256 over {PROTOCOL!r} and {', '.join(digests)}, a line each"
        return Seed(value=fresh_seed(digests), rule=rule)
    if word == DEVELOPMENT:
        return Seed(value=DEVELOPMENT_SEED, rule="for development: its scenes were looked at while choosing")
    if word.isascii() and word.isdecimal() and int(word) <= _HIGHEST:
        return Seed(value=int(word), rule="given")
    raise KinemaError(f"--seed is `{FRESH}`, `{DEVELOPMENT}` or a number from 0 on; got {word!r}")


def fresh_seed(digests: Sequence[str]) -> int:
    """The seed for what has these digests, whatever their order."""
    text = "".join(f"{line}\n" for line in (PROTOCOL, *sorted(digests)))
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
