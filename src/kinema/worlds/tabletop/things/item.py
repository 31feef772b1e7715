"""Things of any kind on the table: another one in every episode, on one compiled model."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from kinema.worlds.body.robots import NEVER_COLLIDES
from kinema.worlds.tabletop.props import HIDDEN, RGB, SHOWN, Block, Fixture, Shape
from kinema.worlds.tabletop.things import metaworld
from kinema.worlds.tabletop.things.catalog import KINDS, MOST_PARTS
from kinema.worlds.tabletop.things.shape import Kind


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one thing looks. scale: times the kind's usual size; surface: a texture, or "" for none, of the
    parts in its own colour that have none of their own; meshed: as Meta-World draws it, where it does."""

    kind: Kind
    color: str
    rgb: RGB
    scale: float = 1.0
    surface: str = ""
    meshed: bool = False

    @property
    def half_m(self) -> tuple[float, float, float]:
        x, y, z = (self.scale * length for length in self.kind.half_m)
        return x, y, z


class Costume:
    """The painted parts of a body: geoms that only cameras see."""

    def __init__(self, owner: str) -> None:
        self._names = [f"{owner}/part{i}" for i in range(MOST_PARTS)]

    def add(self, body: mujoco.MjsBody) -> None:
        for name in self._names:
            body.add_geom(
                name=name,
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=[0.01, 0, 0],
                mass=0.0,
                group=HIDDEN,
                **NEVER_COLLIDES,
            )

    def bind(self, model: mujoco.MjModel) -> None:
        self._geoms = np.array([model.geom(name).id for name in self._names])
        self.shown = self._geoms[:0]
        self._drawings = metaworld.DRAWINGS if metaworld.are_drawn(model) else {}

    def wear(self, model: mujoco.MjModel, look: Look) -> None:
        parts, scale = look.kind.parts, look.scale
        if look.meshed and look.kind.name in self._drawings:
            parts, scale = self._drawings[look.kind.name], metaworld.nearest_size(scale)
        self.shown = self._geoms[: len(parts)]
        for geom, part in zip(self.shown, parts):
            model.geom_type[geom] = part.type
            if part.mesh:
                metaworld.wear(model, geom, part, scale)
            else:
                model.geom_dataid[geom] = -1
                model.geom_size[geom] = scale * np.array(part.size)
                model.geom_rbound[geom] = scale * float(np.linalg.norm(part.size))
                model.geom_pos[geom] = scale * np.array(part.pos)
                model.geom_quat[geom] = part.quat
            model.geom_sameframe[geom] = 0  # MuJoCo would take the body's own pose instead
            model.geom_rgba[geom] = part.paint.on(look.rgb)
            surface = part.paint.texture or (look.surface if part.paint.rgb is None else "")
            model.geom_matid[geom] = model.material(surface).id if surface else -1

    def show(self, model: mujoco.MjModel, shown: bool) -> None:
        model.geom_group[self._geoms] = HIDDEN
        if shown:
            model.geom_group[self.shown] = SHOWN


class Item(Block):
    """A thing to take: the jaws and the table meet a box or a hexagonal prism, cameras see its kind."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._costume = Costume(name)
        self.kind = KINDS["block"]

    @property
    def noun(self) -> str:  # type: ignore[override]
        return self.kind.name

    @property
    def shown(self) -> np.ndarray:
        return self._costume.shown

    def add(self, spec: mujoco.MjSpec) -> None:
        super().add(spec)
        self._costume.add(spec.body(self.name))

    def bind(self, model: mujoco.MjModel) -> None:
        super().bind(model)
        self._costume.bind(model)

    def dress(self, model: mujoco.MjModel, look: Look) -> None:
        self.kind, self.color = look.kind, look.color
        solid = Shape(kind="hexagon" if look.kind.round else "box", half_m=look.half_m)
        self.set_form(model, solid, look.rgb)
        self._costume.wear(model, look)

    def place(
        self, model: mujoco.MjModel, data: mujoco.MjData, xy: np.ndarray, yaw_rad: float, z: float = 0.0
    ) -> None:
        super().place(model, data, xy, yaw_rad, z)
        model.geom_group[[*self.geoms, self.skin]] = HIDDEN
        self._costume.show(model, True)

    def park(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        super().park(model, data)
        self._costume.show(model, False)


class Ornament(Fixture):
    """A thing that lies out of reach, fixed and only seen."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._costume = Costume(name)

    def add(self, spec: mujoco.MjSpec) -> None:
        body = self.add_body(spec)
        # Its parts weigh nothing, from which MuJoCo can compute no inertia.
        body.explicitinertial, body.mass, body.ipos, body.inertia = True, 1.0, [0, 0, 0], [1e-3] * 3
        self._costume.add(body)

    def bind(self, model: mujoco.MjModel) -> None:
        super().bind(model)
        self._costume.bind(model)

    @property
    def shown(self) -> np.ndarray:
        return self._costume.shown

    def put(self, model: mujoco.MjModel, look: Look, xy: np.ndarray, yaw_rad: float) -> None:
        self._costume.wear(model, look)
        self.place(model, xy, yaw_rad)
        model.body_pos[self.body, 2] = look.half_m[2]
        self._costume.show(model, True)
