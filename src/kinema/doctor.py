"""What this machine has and lacks: each finding names the thing and the line that gets it.

Rendering is tried for real, in a process of its own, because a broken OpenGL driver ends the process.
`python -m kinema.doctor --rendering` is that process; it is also what the set-up script asks.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

GL_LINE = "sudo apt-get update && sudo apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
EXTRAS = (
    "data", "tabletop", "gym", "metaworld", "aloha", "train", "lora", "quantise", "world", "view",
    "hdf5", "zarr", "ros", "rlds", "remote", "ray", "serve", "postgres",
)  # fmt: skip
MIN_DISK_GB = 5.0
MIN_MEMORY_GB = 6.0
_PATIENCE_S = 120


class Level(Enum):
    GOOD = "good"
    NOTE = "note"  # works without it
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Finding:
    what: str
    level: Level
    detail: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Every check, in the order in which a newcomer would mend them."""
    yield _python()
    yield from (_extra(extra) for extra in EXTRAS)
    yield _torch()
    yield rendering()
    yield _cpu()
    yield _memory()
    yield _disk()
    yield _gpu()


def requirements(extra: str) -> list[str]:
    """Distribution requirements ("name==version") of one extra of the installed package."""
    mark = re.compile(rf"""extra\s*==\s*["']{re.escape(extra)}["']""")
    lines = importlib.metadata.requires("kinema") or []
    return [line.split(";")[0].strip() for line in lines if mark.search(line)]


def _python() -> Finding:
    # Nothing to compare: an older Python can neither install nor import this package.
    return Finding(what="python", level=Level.GOOD, detail=f"{platform.python_version()} at {sys.executable}")


def _extra(extra: str) -> Finding:
    from packaging.requirements import Requirement

    faults, found = [], []
    for line in requirements(extra):
        wanted = Requirement(line)
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{wanted.name} is not installed")
            continue
        if wanted.specifier.contains(version.split("+")[0], prereleases=True):
            found.append(f"{wanted.name} {version}")
        else:
            faults.append(f"{wanted.name} is {version}, wanted {wanted.specifier}")
    if faults:
        return Finding(
            what=extra,
            level=Level.MISSING,
            detail="; ".join(faults),
            remedy=f"pip install torch==2.13.0 && pip install -e '.[{extra}]'"
            if extra == "train"
            else f"pip install -e '.[{extra}]'",
        )
    return Finding(what=extra, level=Level.GOOD, detail=", ".join(found))


def _torch() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding(
            what="torch",
            level=Level.MISSING,
            detail="not installed: `kinema run`, `eval` and `train` need it",
            remedy="pip install torch==2.13.0",
        )
    import torch

    return Finding(
        what="torch", level=Level.GOOD, detail=f"{torch.__version__}, {torch.get_num_threads()} threads"
    )


def rendering() -> Finding:
    """Whether a picture can be drawn; if not, the settings are looked at before a package is advised."""
    drew, detail = _drawn({})
    if drew:
        return Finding(what="rendering", level=Level.GOOD, detail=detail)
    asked = os.environ.get("MUJOCO_GL")
    detail += f" (MUJOCO_GL is {'not set' if asked is None else repr(asked)})"
    linux = sys.platform == "linux"
    usual = {"MUJOCO_GL": "egl" if linux else None, "PYOPENGL_PLATFORM": None}
    lines = [
        f"unset {name}" if value is None else f"export {name}={value}"
        for name, value in usual.items()
        if os.environ.get(name) != value
    ]
    if not lines or not _drawn(usual)[0]:
        lines = [GL_LINE if linux else "run it in a session with a screen", *lines]
    return Finding(what="rendering", level=Level.MISSING, detail=detail, remedy=" && ".join(lines))


def _drawn(settings: Mapping[str, str | None]) -> tuple[bool, str]:
    """Whether MuJoCo draws with these variables (None: not set) in place of ours, and what it says."""
    environment = {**os.environ, **settings}
    try:
        process = subprocess.run(
            [sys.executable, "-m", "kinema.doctor", "--rendering"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            env={name: value for name, value in environment.items() if value is not None},
        )
    except subprocess.TimeoutExpired:
        return False, f"no picture in {_PATIENCE_S} s"
    if process.returncode == 0:
        return True, process.stdout.strip()
    fault = re.search(r"^[\w.]*Error: .*$", process.stderr, re.MULTILINE)
    return False, fault.group() if fault else f"the renderer ended with code {process.returncode}"


def _cpu() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    detail = f"{cores} cores, OMP_NUM_THREADS {threads}"
    if cores < 2:
        return Finding(what="cpu", level=Level.NOTE, detail=f"{detail}; training wants two or more")
    return Finding(what="cpu", level=Level.GOOD, detail=detail)


def _memory() -> Finding:
    total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if total_gb < MIN_MEMORY_GB:
        detail = (
            f"{total_gb:.1f} GB; training the nano preset wants {MIN_MEMORY_GB:.0f} GB, acting wants 2 GB"
        )
        return Finding(what="memory", level=Level.NOTE, detail=detail)
    return Finding(what="memory", level=Level.GOOD, detail=f"{total_gb:.1f} GB")


def _disk() -> Finding:
    free_gb = shutil.disk_usage(os.getcwd()).free / 1e9
    if free_gb < MIN_DISK_GB:
        detail = f"{free_gb:.1f} GB free here; a data set and a training run want {MIN_DISK_GB:.0f} GB"
        return Finding(what="disk", level=Level.NOTE, detail=detail)
    return Finding(what="disk", level=Level.GOOD, detail=f"{free_gb:.1f} GB free here")


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return Finding(what="gpu", level=Level.GOOD, detail=torch.cuda.get_device_name(0))
    return Finding(what="gpu", level=Level.NOTE, detail="none; everything that is shipped runs without one")


def render_once() -> str:
    """Draw a red box with MuJoCo and look. Returns what was used; raises RuntimeError if it is not red."""
    import time

    import mujoco

    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><light pos="0 0 2"/><geom type="box" size=".3 .3 .3" rgba="1 0 0 1"/>'
        '<camera name="c" pos="0 0 2"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 64, 64) as renderer:
        renderer.update_scene(data, camera="c")
        start = time.perf_counter()
        picture = renderer.render()
        spent_ms = 1e3 * (time.perf_counter() - start)
    red, green, _ = (int(value) for value in picture[32, 32])
    if red < 2 * green + 20:
        raise RuntimeError(f"the middle of the test picture should be red, but is {picture[32, 32].tolist()}")
    backend = os.environ.get("MUJOCO_GL", "its default")
    return f"MuJoCo {mujoco.__version__} drew a test picture with {backend} in {spent_ms:.1f} ms"


if __name__ == "__main__":
    if sys.argv[1:] != ["--rendering"]:
        sys.exit("usage: python -m kinema.doctor --rendering")
    print(render_once())
