"""Where the artifacts lie that come with the package."""

from importlib.resources import files
from pathlib import Path

ARTIFACTS = Path(str(files("kinema") / "artifacts"))
