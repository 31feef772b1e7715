"""`kinema doctor`: what this machine lacks, and the line that gets it."""

from __future__ import annotations

import typer

from kinema.commands.terminal import examples

EXAMPLES = examples("kinema doctor")


def doctor() -> None:
    """Check Python, packages, rendering, memory, disk and devices; say how to get what is missing."""
    from kinema.doctor import Level, examine

    marks = {Level.GOOD: "ok", Level.NOTE: "note", Level.MISSING: "MISSING"}
    missing = 0
    for finding in examine():
        print(f"{marks[finding.level]:8}{finding.what:12}{finding.detail}")
        if finding.remedy:
            print(f"{'':8}{'':12}to get it: {finding.remedy}")
        missing += finding.level is Level.MISSING
    print("everything is here" if not missing else f"{missing} missing; the lines above say how to get them")
    if missing:
        raise typer.Exit(1)
