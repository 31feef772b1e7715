"""Set a trained gate's limits anew, on chunks of today's worlds, without training it again.

python scripts/calibrate_gate.py src/kinema/artifacts/gate data/hazards out/gate

The chunks are those of `kinema data make hazards` in `calibration` below the data folder; what the gate
promises stays as it was (`recipes/perception.py`), and its provenance says which chunks the limits rest on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from kinema.bench.provenance import source_commit
from kinema.data.hazards import read_bodies
from kinema.model.gate import artifact as gate_artifact
from kinema.model.gate.samples import samples_of
from kinema.model.gate.scores import Promise, calibrated
from kinema.model.stored import replacing


def main(gate_folder: Path, data: Path, out: Path) -> None:
    found = gate_artifact.load(gate_folder)
    about = {k: v for k, v in found.provenance.items() if k != "calibration"}
    kept = samples_of(read_bodies(data / "calibration"), found.model.config)
    gate = calibrated(found.model, kept, Promise(), {**about, "calibrated_by": source_commit()})
    example = kept[0].batch(np.arange(1))
    with replacing(out) as fresh:
        gate_artifact.save(fresh, gate, example.scenes, example.path)
    for name, threshold in gate_artifact.load(out).thresholds.items():
        before = found.thresholds[name].limit
        print(f"{name}: limit {before:.4f} -> {threshold.limit:.4f} ({threshold.chunks} harmful chunks)")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
