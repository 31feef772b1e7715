"""What one plays with, and small machines."""

from __future__ import annotations

from kinema.worlds.tabletop.things.shape import (
    DARK,
    STEEL,
    WOOD,
    Kind,
    Paint,
    ball,
    box,
    egg,
    kind,
    ring,
    rod,
    roll,
    upright,
)

_WOOD = Paint(WOOD, texture="grain")
_DEEP = Paint(shade=0.55)
_BRASS = (0.72, 0.57, 0.28)
_R = 0.0215  # of a ball
_PATCHES = ((0, 0, 1), (0, 0, -1), (0.9, 0, 0.45), (-0.9, 0, -0.45), (0.28, 0.85, 0.45), (0.28, -0.85, 0.45),
            (-0.72, 0.53, 0.45), (-0.72, -0.53, 0.45))  # fmt: skip

SPORTS: tuple[Kind, ...] = (
    kind(
        "soccer ball",
        (_R, _R, _R),
        ball((0, 0, 0), _R),
        *(ball((0.0155 * x, 0.0155 * y, 0.0155 * z), 0.0078, DARK) for x, y, z in _PATCHES),
        round=True,
    ),
    kind(
        "basketball",
        (_R, _R, _R),
        ball((0, 0, 0), _R, Paint(texture="speckle")),
        upright(0.0218, -0.0007, 0.0007, DARK),
        roll((-0.0007, 0, 0), (0.0007, 0, 0), 0.0218, DARK),
        *(roll((0, y - 0.0007, 0), (0, y + 0.0007, 0), 0.0188, DARK) for y in (-0.011, 0.011)),
        round=True,
        colors="orange brown",
    ),
    kind(
        "hockey puck",
        (0.0225, 0.0225, 0.0070),
        upright(0.0228, -0.0068, 0.0068),
        *(ring((0, 0, z), 0.0214, 0.0012, _DEEP, pieces=12) for z in (-0.0060, 0.0060)),
        round=True,
    ),
    kind(
        "golf club",
        (0.036, 0.0070, 0.0070),
        rod((-0.040, 0, 0), (0.036, 0, 0), 0.0042, _WOOD),
        rod((-0.040, 0, 0), (-0.018, 0, 0), 0.0055),
        box((0.042, 0.012, 0), (0.008, 0.027, 0.0065), DARK),
    ),
    kind(
        "thermos",
        (0.0150, 0.0150, 0.0395),
        upright(0.0148, -0.0300, 0.0180),
        upright(0.0152, -0.0395, -0.0300, STEEL),
        upright(0.0122, 0.0180, 0.0395, STEEL),
        *(rod((0.0140, 0, z), (0.0330, 0, z), 0.0020, STEEL) for z in (-0.0235, 0.0070)),
        rod((0.0330, 0, -0.0235), (0.0330, 0, 0.0070), 0.0020, STEEL),
        round=True,
    ),
    kind(
        "plug",
        (0.030, 0.0125, 0.0125),
        roll((-0.008, 0, 0), (0.016, 0, 0), 0.0120),
        egg((0.018, 0, 0), (0.016, 0.0135, 0.0135)),
        roll((-0.012, 0, 0), (-0.008, 0, 0), 0.0090, DARK),
        *(box((-0.020, y, 0), (0.010, 0.0012, 0.0035), _BRASS) for y in (-0.005, 0.005)),
    ),
    kind(
        "laptop",
        (0.0175, 0.0230, 0.0090),
        box((0, 0, -0.0072), (0.0172, 0.0230, 0.0018)),
        box((-0.001, 0, -0.0053), (0.010, 0.0200, 0.0004), DARK),
        box((0.0190, 0, 0.0100), (0.0012, 0.0230, 0.0165), tilt_rad=0.12),
        box((0.0176, 0, 0.0102), (0.0004, 0.0212, 0.0142), (0.30, 0.45, 0.62), tilt_rad=0.12),
    ),
    kind(
        "coffee machine",
        (0.0190, 0.0135, 0.0240),
        box((0.004, 0, -0.0085), (0.0140, 0.0130, 0.0155)),
        box((-0.001, 0, 0.0155), (0.0185, 0.0130, 0.0085)),
        box((-0.011, 0, -0.0230), (0.0085, 0.0115, 0.0012), DARK),
        upright(0.0028, 0.0020, 0.0080, DARK, x=-0.0150),
        roll((-0.0215, 0, 0.0155), (-0.0190, 0, 0.0155), 0.0045, STEEL),
    ),
)
