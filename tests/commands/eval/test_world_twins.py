"""The world model in its other roles: by its compression alone, and told nothing."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from kinema.bench.benchmark import Factory
from kinema.bench.episode import EpisodeJob
from kinema.bench.world.films import WorldBenchmark, WorldPlayer
from kinema.card.load import load_card
from kinema.commands.eval.eval_world import _beside, eyes_factory, imagines_factory
from kinema.model.policy import artifact
from kinema.model.world import artifact as world_artifact
from kinema.model.world import presets as world_presets
from kinema.model.world.artifact import World, decode_views, encode_views, first_picture_scene
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import WorldModel
from kinema.model.world.understanding import understand
from kinema.schema import Film, Imagines
from kinema.space.clip_shape import ClipShape

WORDS, OTHER_WORDS = "put the red block in the blue bowl", "push the green block to the yellow area"


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    return dict(zip(("front", "wrist"), drawn))


@pytest.fixture(scope="module")
def folder(pictures: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A world model that has learnt nothing, on the disk."""
    torch.manual_seed(0)
    world = World(
        model=WorldModel(world_presets.tiny()).eval(),
        vae=ChangeCode(**world_presets.CODE_TINY).eval(),
        policy=artifact.load(Path(str(files("kinema") / "artifacts" / "nano")), check=False),
        clips=ClipShape(),
        provenance={"by": "a test"},
    )
    first = np.stack(list(pictures.values()))[None]
    told = understand(world.policy, load_card("panda"), first, [WORDS])
    path = tmp_path_factory.mktemp("world") / "untaught"
    world_artifact.save(path, world, first_picture_scene(world.vae, first, told, world.clips.frames))
    return str(path)


def _film(who: Imagines, pictures: dict[str, np.ndarray], words: str) -> np.ndarray:
    return who.imagine(pictures, words, "panda", seed=3).frames


def test_the_judged_model_is_the_artifact_and_says_so(folder: str, pictures: dict[str, np.ndarray]) -> None:
    judged = imagines_factory(folder).build()
    loaded = world_artifact.load(Path(folder))
    np.testing.assert_array_equal(_film(judged, pictures, WORDS), _film(loaded, pictures, WORDS))
    assert judged.provenance == {"policy": "world model in untaught", "by": "a test"}


def test_the_twin_without_language_hears_nothing(folder: str, pictures: dict[str, np.ndarray]) -> None:
    hears = imagines_factory(folder).build()
    deaf = Factory(**_beside(folder)["no_language"]).build()
    heard, other = (_film(hears, pictures, words) for words in (WORDS, OTHER_WORDS))
    assert not np.array_equal(heard, other)
    same = _film(deaf, pictures, WORDS)
    np.testing.assert_array_equal(same, _film(deaf, pictures, OTHER_WORDS))
    assert not np.array_equal(same, heard)  # the weights are the same: what it is told is the difference


def test_the_ceiling_is_the_film_through_the_code(folder: str) -> None:
    send = Factory(**_beside(folder)["ceiling"]).build()
    rng = np.random.default_rng(1)
    film = Film(
        frames=rng.integers(0, 256, (13, 2, 96, 96, 3), np.uint8),
        cameras=("front", "wrist"), fps=10 / 3, card="panda", instruction=WORDS,
    )  # fmt: skip
    sent = send(film)
    assert (sent.cameras, sent.fps, sent.card, sent.instruction) == (film.cameras, 10 / 3, "panda", WORDS)
    assert sent.frames.shape == film.frames.shape
    assert sent.frames.dtype == np.uint8
    code = world_artifact.load(Path(folder), check=False).vae
    with torch.inference_mode():
        through = decode_views(code, encode_views(code, film.frames[None]), film.frames[None, 0])[0]
    np.testing.assert_array_equal(sent.frames, through)


@pytest.mark.slow
def test_both_stand_beside_the_model_in_a_judged_scene(folder: str, tmp_path: Path) -> None:
    benchmark = WorldBenchmark(bodies=("ur5e",), families=("button",))
    environment = benchmark.make("ur5e/button")
    player = WorldPlayer(out=str(tmp_path), eyes=asdict(eyes_factory()), **_beside(folder))
    job = EpisodeJob(task="ur5e/button", index=0, seed=500_002)
    record = player(environment, imagines_factory(folder).build(), benchmark.tasks()[0], job, 4)
    environment.close()
    judged = {name.split(".")[0] for name in record.measures}
    assert judged >= {"imagined", "repeat", "true", "ceiling", "no_language"}
    (kept,) = (tmp_path / "films").glob("*.npz")
    with np.load(kept) as embeddings:
        assert {"imagined", "ceiling", "no_language"} <= set(embeddings.files)


def test_a_baseline_has_no_twins() -> None:
    assert _beside("repeat") == {}
