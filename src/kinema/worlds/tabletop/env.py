"""The tabletop world: one card, one family, thousands of episodes on one compiled model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mujoco
import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.schema import KinemaError, Observation
from kinema.worlds.body.meshes import draw_links
from kinema.worlds.cameras import Cameras
from kinema.worlds.tabletop import families
from kinema.worlds.tabletop.family import Episode, Family, Thing
from kinema.worlds.tabletop.scene import Scene, tabletop_spec
from kinema.worlds.tabletop.sentence import Request
from kinema.worlds.tabletop.surroundings import Surroundings
from kinema.worlds.variation import SEEN, Variation, draw_backdrop, draw_wide_backdrop
from kinema.worlds.words.reference import Sight

FAMILIES: tuple[str, ...] = tuple(family.name for family in families.FAMILIES)
DYNAMIC: tuple[str, ...] = tuple(family.name for family in families.DYNAMIC)

_SETTLE_S = 0.1  # of physics after a reset, while things come to rest
_HOME_JITTER_RAD = 0.03


_ONE_ARM = tuple(family.name for family in families.FAMILIES if family.arms == 1)


def families_for(card: EmbodimentCard | str) -> tuple[str, ...]:
    """The families a body is known to solve; where its card does not say, everything that one arm can do.

    Raises CardError for an unknown name.
    """
    card = load_card(card) if isinstance(card, str) else card
    has_grippers = bool(card.arms) and all(arm.gripper is not None for arm in card.arms)
    if card.control not in ("ee_pose", "joint_position") or not has_grippers or card.torso is not None:
        return ()
    return _ONE_ARM if card.tabletop.families is None else card.tabletop.families


def dynamic_families_for(card: EmbodimentCard | str) -> tuple[str, ...]:
    """The families of moving things that a body may be asked for, by name only.

    It must pick things up between jaws that both move: so101's expert, with one jaw and five joints, catches
    one in four. Raises CardError for an unknown name.
    """
    card = load_card(card) if isinstance(card, str) else card
    if "pick_place" not in families_for(card):
        return ()
    return DYNAMIC if all(len(arm.fingers) > 1 for arm in card.arms) else ()


def playable(card: EmbodimentCard | str) -> tuple[str, ...]:
    """Every family that a body may be asked for by name."""
    return (*families_for(card), *dynamic_families_for(card))


def spelled_out(card: EmbodimentCard | str, names: Sequence[str]) -> tuple[str, ...]:
    """Names of families, `dynamic` being all of a body's dynamic ones."""
    sets = {"dynamic": dynamic_families_for(card)}
    return tuple(family for name in names for family in sets.get(name) or (name,))


class TabletopEnv:
    """A MuJoCo tabletop for one card and one task family.

    Pixels are rendered only by `observe`. Not thread safe; close it to free the renderer.
    """

    def __init__(
        self,
        *,
        card: EmbodimentCard,
        family: str,
        variation: Variation = SEEN,
        image_size: int = 96,
        meshes: bool = False,
        furnish: Callable[[mujoco.MjSpec], None] | None = None,
    ) -> None:
        """Compile the scene. image_size: pixels of a square image. Raises KinemaError.

        meshes: give links those that the card names, for film cameras; what `observe` shows has none.
        furnish: adds bodies of its own to the specification before it is compiled.
        """
        choices = self._choices(card)
        if family not in choices:
            raise KinemaError(f"{card.name} has no family {family!r}; choices: {', '.join(choices)}")
        if not 16 <= image_size <= 1024:
            raise KinemaError(f"image_size {image_size} must be within 16 ... 1024 pixels")
        self.card, self.family, self.variation, self.image_size = card, family, variation, image_size
        self.task = self._task(family)
        self._surroundings = Surroundings() if variation.is_wide else None
        spec = tabletop_spec(card)
        if meshes:
            draw_links(spec, card)
        self.task.add(spec, card.name)
        if self._surroundings:
            self._surroundings.add(spec)
        if furnish is not None:
            furnish(spec)
        self.scene = Scene(card, spec)
        self.task.bind(self.scene.model)
        if self._surroundings:
            self._surroundings.bind(self.scene)
        self.scene.controller.between.append(self._glance)
        self.instruction = ""
        self.max_steps = round(self.task.limit_s * card.control_hz)
        self._period_s = 1.0 / card.control_hz
        self._cameras = Cameras(self.scene.model, card.camera_names, image_size)

    def reset(self, seed: int, request: Request | None = None) -> None:
        """Draw layout, colours, light and sentence from the seed; a request fixes what its sentence names."""
        rng = np.random.default_rng([seed, 0x6B696E])
        scene = self.scene
        mujoco.mj_resetData(scene.model, scene.data)
        draw = draw_wide_backdrop if self.variation.is_wide else draw_backdrop
        scene.dress(draw(rng, self.variation.background))
        about: Sequence[Sight] = ()
        if self._surroundings:
            named = request.command.kinds if request and request.command else ()
            about = self._surroundings.reset(scene, rng, self.variation, named)
        self._stand(rng)
        episode = Episode(rng=rng, variation=self.variation, request=request, scene=scene, about=about)
        self._episode = episode
        self.instruction = self.task.reset(scene, episode)
        if request is not None:
            self.instruction = request.text
        scene.controller.reset()
        mujoco.mj_step(scene.model, scene.data, nstep=round(_SETTLE_S / scene.model.opt.timestep))
        self.task.begin()
        scene.data.time = 0.0
        mujoco.mj_forward(scene.model, scene.data)

    def _choices(self, card: EmbodimentCard) -> tuple[str, ...]:
        """The families that may be asked for."""
        return playable(card)

    def _task(self, family: str) -> Family:
        return families.family_named(family, self.variation.is_wide)()

    def _stand(self, rng: np.random.Generator) -> None:
        """Put the arms near home, grippers open."""
        scene = self.scene
        for handle in scene.robot.arms:
            jitter = rng.uniform(-_HOME_JITTER_RAD, _HOME_JITTER_RAD, len(handle.home))
            scene.robot.set_joints(scene.data, handle, handle.home + jitter, gripper=1.0)

    def step(self, action: np.ndarray) -> None:
        """One control period with a native action (D,). Raises KinemaError when wrong or non-finite."""
        self.scene.controller.step(action)
        mujoco.mj_forward(self.scene.model, self.scene.data)
        self.task.count(self.scene, self._period_s)

    def _glance(self) -> None:
        self.task.glance(self.scene, self.scene.controller.piece_s)

    def observe(self, render: bool = True) -> Observation:
        """What the body senses now; without `render`, no images."""
        images = dict(zip(self.card.camera_names, self._cameras.pictures(self.scene.data))) if render else {}
        return Observation(
            images=images,
            state=self.state(),
            instruction=self.instruction,
            time_s=float(self.scene.data.time),
        )

    def state(self) -> np.ndarray:
        """The native state (S,) float32."""
        return self.scene.controller.state()

    def points(self) -> np.ndarray:
        """Pointing labels (V, 2, 3) float32: u, v in [0, 1] and visibility of the thing and of its place."""
        world = np.stack(self.task.focus(self.scene))
        return self._cameras.project(self.scene.data, world)

    def sights(self) -> list[Sight]:
        """Everything that the grammar of words can name here, and where it lies now."""
        return self.task.sights(self._episode)

    def things(self) -> list[Thing]:
        """Everything that has a name here, in reach or not, and where it is now."""
        found = list(self.task.things(self.scene.data))
        return found + list(self._surroundings.things(self.scene.data) if self._surroundings else ())

    def success(self) -> bool:
        """Whether the goal is reached: it holds, and has held as long as the family asks."""
        return self.task.success(self.scene)

    def over(self) -> bool:
        """Whether the episode ends here without success: the goal can no longer be reached."""
        return self.task.lost(self.scene)

    def holds(self) -> bool:
        """Whether the goal holds at this instant."""
        return self.task.holds(self.scene)

    def measures(self) -> dict[str, float]:
        """Named numbers about the present state, with `time_s`."""
        return {"time_s": float(self.scene.data.time), **self.task.measures(self.scene)}

    def close(self) -> None:
        self._cameras.close()
