"""The recipes of the world model: the video code and the nano model that is shipped."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from kinema.card.load import load_card
from kinema.commands.policies import DEFAULT, artifact_folder
from kinema.data.aligned import aligned_sets, hand_clips
from kinema.data.clips import ClipSource, Part, open_clips
from kinema.data.frames import Way
from kinema.data.lerobot import Dataset
from kinema.model.policy.artifact import Artifact, load
from kinema.model.world import presets as world_presets
from kinema.model.world.model import WorldConfig
from kinema.recipes.sources import made_folders
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.train.loop import LoopConfig
from kinema.train.optim import OptimConfig
from kinema.train.recipe import Recipe
from kinema.train.stages.video_code import VideoCodeStage
from kinema.train.stages.world import Phase, WorldStage, read_material

HUMAN, ROAD = "human", "road"  # folders below the data folder
TABLETOP_COMMAND = "kinema data make tabletop --out data/tabletop"
HUMAN_COMMAND = "kinema data make human --out data/human"
_ROAD_COMMAND = "kinema data make road --episodes 20 --views 2 --out data/road"


def panda_clips(data: Path, part: Part, pictures: Way = "cache") -> list[ClipSource]:
    """Two 96 px views, thirteen frames 0.3 s apart."""
    return open_clips(made_folders(data), {"panda": load_card("panda")}, ClipShape(), part, pictures)


def nano_vae() -> Recipe:
    """The video code of the nano world model."""
    return Recipe(
        name="nano_vae",
        summary="the nano world model's video code (forty minutes on two cores)",
        data_command=TABLETOP_COMMAND,
        stage=partial(VideoCodeStage, code=world_presets.CODE_NANO, clips=panda_clips),
        batch_size=24,
        loop=LoopConfig(
            steps=5000,
            save_every=100,
            optim=OptimConfig(lr=2e-3, matrix_lr=None, weight_decay=0.01, warmup_steps=30, ema_decay=0.99),
        ),
    )


# The published order: pictures, then films, then what follows a picture, of hands and of the road first; then
# one view, the other, and both side by side. From there on 30 % of every batch are general films, here a
# person's hand, and 5 % of the rest are drives. Shares of bodies are of clips, tasks and views of batches.
_MIXED = {"panda": 0.665, "car": 0.035, "hand": 0.3}
CURRICULUM = (
    Phase(
        name="pictures", steps=10, tasks={"image": 1.0}, views={"first": 0.5, "last": 0.5}, bodies=_MIXED
    ),
    Phase(
        name="films", steps=10, tasks={"image": 0.5, "video": 0.5}, views={"first": 0.5, "last": 0.5},
        bodies=_MIXED,
    ),
    Phase(
        name="general scenes and hands", steps=30, tasks={"image_to_video": 1.0},
        views={"first": 0.5, "last": 0.5}, bodies={"hand": 0.7, "car": 0.3},
    ),
    Phase(
        name="single view", steps=50, tasks={"image": 0.05, "video": 0.05, "image_to_video": 0.9},
        views={"first": 1.0}, bodies=_MIXED,
    ),
    Phase(
        name="wrist and third person", steps=20, tasks={"image_to_video": 1.0},
        views={"first": 0.5, "last": 0.5}, bodies=_MIXED,
    ),
    Phase(
        name="side by side", steps=1000, tasks={"image": 0.02, "video": 0.03, "image_to_video": 0.95},
        views={"all": 0.9, "first": 0.1}, bodies=_MIXED,
    ),
    Phase(
        name="cross-domain", steps=1, tasks={"image_to_video": 1.0}, views={"all": 1.0},
        bodies={"panda": 0.7, "car": 0.1, "hand": 0.2},
    ),
)  # fmt: skip


def world_clips(data: Path, part: Part, pictures: Way = "cache") -> list[ClipSource]:
    """The Panda at the table, a person's hand and drives; two 96 px views of each."""
    hands = next(iter(aligned_sets(data / HUMAN).values()))  # the hand is the same in every body's set
    roads = list((data / ROAD).glob("*/meta/info.json"))
    if not roads:
        raise KinemaError(f"no drives below {data / ROAD}; make them with: {_ROAD_COMMAND}")
    shape = ClipShape()
    drives = []
    for path in sorted(roads):
        dataset = Dataset.open(path.parent.parent)
        shown = {name: name for name in dataset.camera_names}  # not always all of the card's
        card = load_card(dataset.card_name)
        drives.append(ClipSource(dataset, card, shape, part=part, cameras=shown, pictures=pictures))
    hand = hand_clips(hands, load_card("hand"), shape, part, pictures)
    return [*panda_clips(data, part, pictures), hand, *drives]


def nano_world() -> Recipe:
    """The Panda on the tabletop, all families: one robot, since hours on two cores do not teach three. Beside
    it hands and drives, as general films."""
    summary = "what follows from a picture and a sentence (an hour and a half on two cores)"
    return _world("nano_world", summary, world_presets.nano())


def nano_world_text() -> Recipe:
    """The baseline beside it: the same network, told the words by a reader that has not seen the pictures."""
    summary = "the baseline of nano_world that is told the words alone"
    return _world("nano_world_text", summary, world_presets.told(world_presets.nano(), "text"))


def world_loop() -> LoopConfig:
    """How the nano world models learn."""
    optim = OptimConfig(lr=4e-3, matrix_lr=1e-2, weight_decay=0.02, warmup_steps=40, ema_decay=0.995)
    return LoopConfig(steps=4000, save_every=50, optim=optim)


def _world(name: str, summary: str, config: WorldConfig) -> Recipe:
    material = partial(
        read_material, clips=world_clips, count={"panda": 4000, "hand": 1000, "car": 1000}, code="nano_vae",
        reader=_shipped_reader,
    )  # fmt: skip
    return Recipe(
        name=name,
        summary=summary,
        data_command=f"{TABLETOP_COMMAND}, {HUMAN_COMMAND} and {_ROAD_COMMAND}",
        stage=partial(WorldStage, config=config, phases=CURRICULUM, material=material),
        batch_size=32,
        loop=world_loop(),
    )


def _shipped_reader() -> Artifact:
    return load(artifact_folder(DEFAULT, ("panda",)))
