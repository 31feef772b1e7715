"""`kinema ask`: a question about a picture, answered in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinema.commands import loading, policies
from kinema.commands.terminal import examples

EXAMPLES = examples(
    'kinema ask table.png "what is left of the yellow bowl?" --policy runs/nano_cpt/artifact',
    'kinema ask table.png "the red block" --point --policy runs/nano_cpt/artifact',
)


def ask(
    image: Annotated[Path, typer.Argument(help="A picture: PNG, JPEG, WebP, BMP or GIF.")],
    question: Annotated[str, typer.Argument(help="The question; with --point, a thing.")],
    policy: Annotated[
        str, typer.Option(help="Who answers: the name or the folder of an artifact that has learnt words.")
    ],
    point: Annotated[
        bool, typer.Option("--point", help="Where it is: x, y as fractions of the picture, from upper left.")
    ] = False,
    tokens: Annotated[int, typer.Option(help="An answer is cut after so many.", min=1, max=1024)] = 64,
    device: loading.Device = "cpu",
    dtype: loading.Dtype = "fp32",
    quantise: loading.Quantise = None,
    compile: loading.Compile = False,
) -> None:
    """Answer a question about a picture in words."""
    from kinema.data.conversations import open_picture
    from kinema.model.policy import artifact
    from kinema.model.policy.asking import Asked, Asker
    from kinema.model.policy.loading import PLAIN

    shown = open_picture(image)
    folder = policies.artifact_folder(policy)
    held = loading.loading_of(device, dtype, quantise, compile) or PLAIN
    asker = Asker(artifact.load(folder, held), tokens)
    asked = f"point to {question}" if point else question
    print(asker.answers([Asked(question=asked, images=[shown])])[0])
