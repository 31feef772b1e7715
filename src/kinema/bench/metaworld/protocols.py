"""Ways of judging Meta-World: what a policy is told and how its picture is made.

Tasks, groups, camera, state, action, randomisation, at most 500 steps and the end at the first success are
the same in all: SmolVLA's protocol as lerobot runs it. Each says what is left that lerobot's evaluation does
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kinema.bench.metaworld.tasks import INSTRUCTIONS, LEROBOT_INSTRUCTIONS


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """How the one picture is made, kept with every result and with every demonstration.

    The shipped shadow map alone costs 25 ms a frame in software OpenGL at any size, so shadows, offscreen
    multisampling, reflections and the sky box are off. corner2 is mounted upside down: the picture is turned
    by half a turn (both axes flipped), so that the table is below and the robot above.
    """

    camera: str = "corner2"
    camera_position_m: tuple[float, float, float] = (0.75, 0.075, 0.7)
    size_px: int = 128
    half_turn: bool = True
    shadows: bool = False
    shadow_map_px: int | None = None  # None: the model's own, of 4,096
    multisampling: int = 0
    reflections: bool = False
    skybox: bool = False
    cull_faces: bool = True


RENDERING = Rendering()
AS_SHIPPED = Rendering(size_px=480, shadows=True, multisampling=4, reflections=True, skybox=True)
# Made small, it differs from the shipped one made small by 1.2 of 255 in the mean, for a quarter of its cost.
LIKE_SHIPPED = replace(AS_SHIPPED, size_px=192, shadow_map_px=1024, multisampling=0)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """instructions: by task; differences: what lerobot's own evaluation does otherwise, a sentence each

    demonstrated: how demonstrations' pictures are made, of which there are a thousand times as many
    rendered_every: steps from one picture of a demonstration to the next, where only some are needed
    """

    instructions: Mapping[str, str]
    rendering: Rendering
    demonstrated: Rendering
    rendered_every: int
    differences: tuple[str, ...]


_ALWAYS = (
    "scenes: drawn from this run's seed for every task and episode; lerobot-eval counts seeds from 1000 on, "
    "the same for every task",
    "first picture of an episode: drawn after the package has placed its markers and furniture, in lerobot "
    "before, so that it may show them where they were in the episode before",
    "Meta-World: the release in `versions`; lerobot 0.6.1 asks for 3.0.0",
    "played of a chunk: `replan_steps`; in lerobot what the policy's configuration says",
    "demonstrations of the shipped policy: our own, by the package's experts with disturbances, and pointing "
    "labels from the simulator; not lerobot/metaworld_mt50",
)
PROTOCOLS = {
    "kinema": Protocol(
        instructions=INSTRUCTIONS,
        rendering=RENDERING,
        demonstrated=RENDERING,
        rendered_every=2,
        differences=(
            "sentences: one of our own for every task, all different and more telling than lerobot's, of "
            "which two are the same; a policy trained with lerobot's sentences is not judged fairly here",
            "pictures: rendered at another size and with other settings, see `rendering`; the background is "
            "black",
            *_ALWAYS,
        ),
    ),
    "lerobot": Protocol(
        instructions=LEROBOT_INSTRUCTIONS, rendering=AS_SHIPPED, demonstrated=LIKE_SHIPPED, rendered_every=4,
        differences=_ALWAYS,
    ),
}  # fmt: skip
