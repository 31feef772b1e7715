"""One picture of every kind of thing, to see whether each looks like its name.

python -m kinema.worlds.tabletop.things.sheet --out things.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image, ImageDraw

from kinema.worlds import wide
from kinema.worlds.body.robots import new_spec
from kinema.worlds.cameras import FILM, Cameras
from kinema.worlds.tabletop.things.catalog import KINDS
from kinema.worlds.tabletop.things.draw import colors_of
from kinema.worlds.tabletop.things.item import Item, Look
from kinema.worlds.tabletop.things.metaworld import DRAWINGS, add_drawings
from kinema.worlds.tabletop.things.textures import add_textures

_SIDE_PX, _COLUMNS, _NAME_PX = 104, 13, 13
_CLOSE = {"pos": [0.0, -0.16, 0.13], "xyaxes": [1, 0, 0, 0, 0.62, 0.78], "fovy": 42}


def sheet() -> Image.Image:
    """Every kind at its usual size, in one of its colours; then those that Meta-World's meshes draw."""
    item, spec = Item("item"), new_spec()
    add_textures(spec)
    add_drawings(spec)
    spec.visual.map.znear = 0.01
    spec.worldbody.add_light(directional=True, pos=[-0.3, -0.3, 0.75], dir=[0.4, 0.4, -1], diffuse=[0.6] * 3)
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=[1, 1, 0.02], pos=[0, 0, -0.02], rgba=[0.80, 0.77, 0.72, 1]
    )
    spec.worldbody.add_camera(name="close", **_CLOSE)
    item.add(spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    item.bind(model)
    cameras = Cameras(model, ("close",), _SIDE_PX, FILM)
    shown = [(kind, False) for kind in KINDS.values()] + [(KINDS[name], True) for name in DRAWINGS]
    rows = -(-len(shown) // _COLUMNS)
    page = Image.new("RGB", (_COLUMNS * _SIDE_PX, rows * (_SIDE_PX + _NAME_PX)), "white")
    pen = ImageDraw.Draw(page)
    for number, (kind, meshed) in enumerate(shown):
        colors = colors_of(kind.name)
        color = colors[0] if kind.colors else colors[5 * number % len(colors)]
        rgb = wide.draw_shade(np.random.default_rng(number), color, held_out=False)
        item.dress(model, Look(kind=kind, color=color, rgb=rgb, meshed=meshed))
        item.place(model, data, np.zeros(2), 0.5)
        mujoco.mj_forward(model, data)
        at = number % _COLUMNS * _SIDE_PX, number // _COLUMNS * (_SIDE_PX + _NAME_PX)
        page.paste(Image.fromarray(cameras.pictures(data)[0]), at)
        pen.text((at[0] + 3, at[1] + _SIDE_PX), f"{color} {kind.name}", fill="black")
    cameras.close()
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("things.png"))
    sheet().quantize(200).save(parser.parse_args().out, optimize=True)


if __name__ == "__main__":
    main()
