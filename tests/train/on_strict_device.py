"""Trains every stage on the strict device and says, a JSON line each, what became of it: "" or the fault."""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import strict_device
import torch
from every_stage import LR, STAGES, stage_loop

from kinema.model.device import device_of
from kinema.schema import KinemaError


def trains(name: str, device: str, out: Path) -> None:
    """Trains, resumes, learns what it learns on the CPU, and goes on there."""
    here = stage_loop(name, out / "cpu", "cpu")
    here.run()
    there = stage_loop(name, out / "strict", device)
    assert {type(p.data) for p in there.model.parameters()} == {strict_device.StrictTensor}
    there.run(until=1)
    again = stage_loop(name, out / "strict", device)
    again.resume()
    again.run()
    assert again.step == 2
    learnt = again.model.state_dict()
    for key, wanted in here.model.state_dict().items():
        found = strict_device.held(learnt[key])
        off = (found - wanted).abs().double() - 1e-3 * wanted.abs().double()
        # a step is as long whatever the gradient: where that is nothing but rounding, its sign is chance
        assert off.max() < 2 * LR, f"{key} differs by {off.max():.2g}"
        assert (off > 2e-5).double().mean() < 1e-3, f"{key}: {int((off > 2e-5).sum())} numbers differ"
    back = stage_loop(name, out / "strict", "cpu", steps=3)
    back.resume()
    back.run()
    assert {p.device.type for p in back.model.parameters()} == {"cpu"}


def steps(name: str, device: str, out: Path) -> None:
    """One step, whose end is saved."""
    there = stage_loop(name, out / "step", device, steps=1)
    there.run()
    assert {type(p.data) for p in there.model.parameters()} == {strict_device.StrictTensor}


def trains_in_bf16(name: str, device: str, out: Path) -> None:
    """Autocast on another device than the CPU leaves no types that do not fit each other."""
    loop = stage_loop(name, out / "bf16", device, "bf16", steps=1)
    loop.run()
    assert loop.precision == "bf16"


def refuses(name: str, device: str, out: Path) -> None:
    """The device refuses what a GPU refuses, so that what passes here means something."""
    here, there = torch.ones(3), torch.ones(3).to(device)
    for mixed in (
        lambda: here + there,
        lambda: torch.stack([there.sum(), here.sum()]),  # a number in a list of tensors is refused too
        lambda: there @ here,
        lambda: there.index_select(0, torch.tensor([0])),
        lambda: torch._foreach_lerp_([there], [here], 0.5),
    ):
        _raises(RuntimeError, "same device", mixed)
    assert (there * here.sum()).device.type == device  # a number beside a tensor is not
    with torch.autocast(device, torch.bfloat16):
        assert (there[None] @ there[:, None]).dtype == torch.bfloat16


def is_a_choice(name: str, device: str, out: Path) -> None:
    """What torch sees is what may be asked for."""
    assert device_of(device).type == device
    assert device_of(f"{device}:0").index == 0
    _raises(KinemaError, f"sees: cpu, {device}, {device}:0", lambda: device_of(f"{device}:1"))


def _raises(kind: type[Exception], says: str, work: Callable[[], object]) -> None:
    with pytest.raises(kind, match=re.escape(says)):
        work()


def main() -> None:
    """The checks that are named, below the folder that is given."""
    out = Path(sys.argv[1])
    for_all, for_stages = (refuses, is_a_choice), (steps, trains, trains_in_bf16)
    work = [(check, "") for check in for_all if check.__name__ in sys.argv[2:]]
    work += [(check, name) for check in for_stages if check.__name__ in sys.argv[2:] for name in STAGES]
    with strict_device.strict_device() as device:
        for check, name in work:
            try:
                check(name, device, out / name)
                fault = ""
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                at = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "kinema" in f.filename][-3:]
                fault = f"{type(error).__name__} at {at}: {str(error)[:600]}"
            print(json.dumps([check.__name__, name, fault]), flush=True)


if __name__ == "__main__":
    main()
