"""Where networks compute, and in which precision: asked for by name, checked before anything is built.

Precision is chosen from what the machine has, never from a timing: a resumed run must choose the same. bf16
without units for it is emulated, some twenty times slower than fp32 on a plain AVX2 processor.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

import torch

from kinema.schema import KinemaError

Precision = Literal["fp32", "bf16"]
AskedPrecision = Literal["auto", "fp32", "bf16"]


def device_of(name: str) -> torch.device:
    """The device of this name. Raises KinemaError naming the ones that are here."""
    here = ["cpu"]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if accelerator is not None else 0
    if accelerator is not None:
        here += [accelerator.type, *(f"{accelerator.type}:{i}" for i in range(count))]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise KinemaError(f"unknown device {name!r}; here: {', '.join(here)}") from None
    if name not in here and str(device) not in here:
        raise KinemaError(f"device {name!r} is not here; torch {torch.__version__} sees: {', '.join(here)}")
    return device


def precision_on(device: torch.device, asked: AskedPrecision = "auto") -> Precision:
    """The precision that is asked for; "auto": bf16 where the device has units for it, else fp32."""
    if asked != "auto":
        return asked
    return "bf16" if has_bf16_units(device) else "fp32"


def autocast(device: torch.device, asked: AskedPrecision = "auto") -> torch.autocast:
    """Where networks compute in that precision on that device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision_on(device, asked) == "bf16")


def has_bf16_units(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32 there, by what the device says of itself."""
    if device.type == "cpu":
        return _cpu_has_bf16_units()
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "xpu":
        return torch.xpu.is_bf16_supported(including_emulation=False)
    return False


def _cpu_has_bf16_units() -> bool:
    # torch may be told to use less than the processor has (ATEN_CPU_CAPABILITY)
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch does not say; fp32 is right everywhere
        return False
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def device_name(device: torch.device) -> str:
    """The maker's name of a GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
