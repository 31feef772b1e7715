"""The options that say how a policy is held and computed, the same wherever one is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kinema.model.policy.loading import Loading

Device = Annotated[str, typer.Option(help="Where the policy runs: cpu, cuda, cuda:1, as torch names it.")]
Dtype = Annotated[
    str,
    typer.Option(
        help="Weights and arithmetic: fp32, or bf16 (half the memory; slow on a CPU without units for it)."
    ),
]
Quantise = Annotated[
    str | None,
    typer.Option(
        help="Matrices of the blocks as int8 (a byte a weight, anywhere) or fp8 (on GPUs with units for it, "
        "with --dtype bf16). Needs kinema[quantise]."
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the blocks first; it takes minutes.")]

PLAIN = ("cpu", "fp32", None, False)


def loading_of(device: str, dtype: str, quantise: str | None, compile: bool) -> Loading | None:
    """What the options say; None where they say nothing. KinemaError for what cannot be."""
    if (device, dtype, quantise, compile) == PLAIN:
        return None  # and nothing heavy is imported
    from kinema.model.policy.loading import Loading

    return Loading(device=device, dtype=dtype, quantise=quantise, compile=compile)  # type: ignore[arg-type]
