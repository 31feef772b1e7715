"""What can change a result besides settings and weights: the versions of packages, and our own source."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("kinema", "mujoco", "metaworld", "gymnasium", "numpy", "torch", "transformers")
_SOURCE = (".py", ".yaml")


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a result; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def source_digest() -> str:
    """SHA-256 of this package's code and cards, as they are on this machine."""
    root, whole = Path(__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in _SOURCE and "artifacts" not in path.parts:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{digest}  {path.relative_to(root).as_posix()}\n".encode())
    return whole.hexdigest()


def differences(here: dict[str, str], there: dict[str, str]) -> list[str]:
    """What two machines have in different versions: `mujoco 3.3.0 and not 3.2.0`, there first."""
    names = sorted({*here, *there})
    return [
        f"{name} {there.get(name, 'not installed')} and not {here.get(name, 'not installed')}"
        for name in names
        if here.get(name) != there.get(name)
    ]
