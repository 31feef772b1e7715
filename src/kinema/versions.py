"""What can change a result besides settings and weights: the versions of packages."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("kinema", "mujoco", "metaworld", "gymnasium", "numpy", "torch", "transformers")


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a result; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
