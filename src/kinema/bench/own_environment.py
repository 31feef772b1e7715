"""The Python environment of a benchmark that cannot share ours: where it is, and the mend where it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.bench.simulator import SimulatorError, SimulatorProcess
from kinema.schema import KinemaError
from kinema.versions import source_digest


@dataclass(frozen=True, kw_only=True)
class OwnEnvironment:
    """What lives there answers `about(...)` with its `versions` and the `source` digest of kinema beside it.

    benchmark: its name in a sentence
    variable:  the environment variable that names the folder
    folder:    where it is without
    script:    what makes it
    target:    as `SimulatorProcess` has it
    """

    benchmark: str
    variable: str
    folder: str
    script: str
    target: str

    def python(self) -> Path:
        """Its interpreter. Raises KinemaError where there is none."""
        python = Path(os.environ.get(self.variable) or self.folder) / "bin" / "python"
        if not python.is_file():
            raise KinemaError(f"{self.benchmark}'s own environment is missing: no {python}; {self._mend}")
        return python

    @contextmanager
    def asked(self, **about: Any) -> Iterator[tuple[SimulatorProcess, dict[str, Any]]]:
        """A process for a few questions, and what it answers to `about`.

        Raises KinemaError, one line with the mend, for whatever fails there and for another kinema's source.
        """
        simulator = SimulatorProcess(self.python(), self.target)
        try:
            told = simulator.call("about", **about)
            if told["source"] != source_digest():
                raise KinemaError(f"{self.benchmark}'s environment holds another version of kinema's source")
            yield simulator, told
        except (SimulatorError, KinemaError) as error:
            raise KinemaError(f"{error}; {self._mend}") from None
        finally:
            simulator.close()

    @property
    def _mend(self) -> str:
        return f"make it with: {self.script} (or name its folder in {self.variable})"
