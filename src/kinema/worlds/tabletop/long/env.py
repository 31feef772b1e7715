"""The tabletop with a long task on it."""

from __future__ import annotations

from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.family import Family
from kinema.worlds.tabletop.long.family import NAME, Long
from kinema.worlds.tabletop.long.tasks import CROWDED, KINDS, LongTask
from kinema.worlds.variation import SEEN, Variation


class LongEnv(TabletopEnv):
    """As `TabletopEnv`. kind: of the tasks that are drawn, of `tasks.KINDS` or `CROWDED`; empty: of `ANY`."""

    task: Long

    def __init__(
        self,
        *,
        card: EmbodimentCard,
        kind: str = "",
        variation: Variation = SEEN,
        image_size: int = 96,
        meshes: bool = False,
    ) -> None:
        if kind and kind not in (*KINDS, *CROWDED):
            raise KinemaError(f"unknown kind of long task {kind!r}; choices: {', '.join((*KINDS, *CROWDED))}")
        if variation.is_wide:
            raise KinemaError("long tasks are of the plain look; leave out wide")
        self._kind = kind
        super().__init__(card=card, family=NAME, variation=variation, image_size=image_size, meshes=meshes)

    def begin(self, seed: int, task: LongTask | None = None) -> None:
        """As `reset`, with a task instead of one that the seed draws."""
        self.task.wanted = task
        try:
            self.reset(seed)
        finally:
            self.task.wanted = None

    def tell(self, step: str) -> None:
        """What the body is to do now, for an expert and a true check. Raises KinemaError."""
        self.task.tell(step)

    def told_holds(self) -> bool:
        """Whether what was told is done."""
        return self.task.told_holds(self.scene)

    def _choices(self, card: EmbodimentCard) -> tuple[str, ...]:
        return (NAME,) if len(card.arms) == 1 and super()._choices(card) else ()

    def _task(self, family: str) -> Family:
        return Long(self._kind)
