"""Where a number comes from: versions, seeds, settings, command, machine, time."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kinema.bench.benchmark import Benchmark
from kinema.bench.settings import RunSettings
from kinema.digest import weights_digest
from kinema.versions import package_versions


def describe_run(
    benchmark: Benchmark,
    settings: RunSettings,
    identity: Mapping[str, Any],
    *,
    policy: Mapping[str, Any],
    workers: int,
) -> dict[str, Any]:
    """Everything needed to repeat the run that begins now. identity: `settings.identity()`, once taken."""
    return {
        "versions": package_versions(),
        "commit": source_commit(),
        "seed": settings.seed,
        "seed_rule": settings.seed_rule,
        "seeds": "blake2b(seed:task) mod 990000 + episode index: below 1000000, where demonstrations begin",
        "episodes_per_task": settings.episodes,
        "first_episode": settings.first,
        "replan_steps": settings.replan_steps,
        "weights": {
            role: {"sha256": weights_digest(files), "files": files}
            for role, files in identity["made_by"].items()
        },
        "policy": {**asdict(settings.policy), **policy},
        "benchmark": {**asdict(settings.benchmark), **benchmark.provenance()},
        "command": command_line(sys.argv) if sys.argv[0].endswith("kinema") else "python API",
        "workers": workers,
        "machine": machine(),
        "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def command_line(arguments: Sequence[str]) -> str:
    """What was typed, without this machine's folders: of an absolute path its last part."""
    return shlex.join(["kinema", *(Path(a).name if Path(a).is_absolute() else a for a in arguments[1:])])


def sitting_warnings(sittings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What changed between the sittings of one run besides what must not: sentences for the reader."""
    told = []
    for key, what in (("commit", "commit"), ("versions", "set of versions")):
        found = [sitting.get(key) for sitting in sittings]
        different = [one for i, one in enumerate(found) if one not in found[:i]]
        if len(different) > 1:
            told.append(f"played with more than one {what}: {'; '.join(map(str, different))}")
    if any(str(sitting.get("commit")).endswith("+changes") for sitting in sittings):
        told.append("played from a checkout with changes that no commit holds")
    return told


def source_commit() -> str | None:
    """The checkout's commit, with "+changes" when source files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", str(here.parent))
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(where: Path, *arguments: str) -> str:
    command = ["git", "-C", str(where), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine() -> dict[str, Any]:
    """Processor, cores and system, without names that identify the machine."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else ""
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "gl": os.environ.get("MUJOCO_GL", ""),
    }
