"""What all commands share: examples, the one-line error, tables, and the word after Ctrl-C."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import typer

from kinema.schema import KinemaError

RAY_HELP = (
    "Workers are on the nodes of a Ray cluster: `local`, or host:port of its first node. What they make does "
    "not depend on it."
)


def examples(*lines: str) -> str:
    """The foot of a command's help. Tests read the commands back from it and parse every one."""
    return "Example: " + "\n\n".join(lines)


def say_error(message: str) -> None:
    """One line on stderr, whatever line breaks the message came with."""
    parts = [part.strip() for part in str(message).splitlines() if part.strip()]
    line = "; ".join(parts).replace(":; ", ": ")
    print(f"kinema: {line}", file=sys.stderr)


def choose(what: str, value: str, choices: Sequence[str]) -> str:
    """`value` if it is one of the choices; otherwise a KinemaError that names the nearest ones."""
    if value in choices:
        return value
    near = get_close_matches(value, choices, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choices: {', '.join(choices)}"
    raise KinemaError(f"unknown {what} {value!r}; {hint}")


def finite(value: Any) -> Any:
    """What checks a numeric option (`typer.Option(callback=finite)`): neither nan nor infinite."""
    numbers = value if isinstance(value, Sequence) else [value]
    if any(number is not None and not math.isfinite(number) for number in numbers):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def positive(value: float | None) -> float | None:
    """As `finite`, and above 0."""
    return above_zero(finite(value))


def above_zero(value: float | None) -> float | None:
    """As `positive`, but infinity is a value: no limit."""
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{value} is not above 0.")
    return value


def words(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def pairs(option: str, text: str, value: str = "VALUE") -> dict[str, str]:
    """`a=b,c=d` as a mapping. value: what stands behind the sign, as errors call it. Raises KinemaError."""
    found: dict[str, str] = {}
    for part in words(text):
        name, _, given = map(str.strip, part.partition("="))
        if not name or not given:
            raise KinemaError(f"{option} {part!r}: write NAME={value}, several with commas")
        if name in found:
            raise KinemaError(f"{option} names {name!r} twice")
        found[name] = given
    return found


def given(ctx: typer.Context, option: str) -> bool:
    """Whether somebody wrote this option, whatever its value."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def refuse_unheeded(ctx: typer.Context, what: str, heeded: Mapping[str, Collection[str]]) -> None:
    """Raises KinemaError for an option that was given and says nothing to `what`.

    heeded: of all options that not everything heeds, which are heeded by what
    """
    for name in sorted({name for names in heeded.values() for name in names} - set(heeded[what])):
        if given(ctx, name):
            heeding = ", ".join(other for other, names in heeded.items() if name in names)
            raise KinemaError(
                f"--{name.replace('_', '-')} says nothing to {what}; leave it out (it is for {heeding})"
            )


def writable(folder: Path) -> Path:
    """The folder, as it was. Raises KinemaError when nothing can be written into it.

    It is not made: what is refused afterwards leaves nothing behind.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise KinemaError(
            f"nothing can be written into {folder} ({error.strerror}); choose another folder with --out"
        ) from None
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def saved_on_interrupt(saved: Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C say what was saved and how to go on; the exit code (130) is the command line's business."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nkinema: stopped. {saved()}", file=sys.stderr)
        raise


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Plain text columns, as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
