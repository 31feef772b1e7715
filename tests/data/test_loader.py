"""The same samples whatever the number of workers and of ranks, exactly resumed, with their faults named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from kinema.card.load import load_card
from kinema.data.fake import fake_source
from kinema.data.index import Index
from kinema.data.loader import Loader
from kinema.data.mixture import Mixture
from kinema.data.set_map import SetMap
from kinema.data.source import from_dataset, measure_stats
from kinema.data.stream import Feed
from kinema.data.text import TextTokenizer
from kinema.schema import KinemaError
from kinema.space.codec import Codec


def _sources(root=None, pictures="cache"):
    """Bodies that differ in cameras, channels, chunk and rate; one from the disk."""
    panda, aloha = (
        fake_source(load_card(name), image_size=32, seed=i) for i, name in enumerate(("ur5e", "aloha"))
    )
    short = panda.card.model_copy(update={"name": "short", "chunk": 5, "cameras": panda.card.cameras[:1]})
    one_view = replace(
        panda,
        name="short",
        card=short,
        images=_FirstView(panda.images),
        points=panda.points[:, :1],
        ratio=2.5,
        weight=0.5,
        starts=panda.starts[panda.starts % 20 < 17],  # at least one control step is left
    )
    mixed = [panda, aloha, one_view]
    if root is not None:
        mixed.append(
            from_dataset(
                Index.open(root), load_card("panda"), image_size=32, pictures=pictures, told=SetMap(outside=1)
            )
        )
    return mixed


class _FirstView:
    def __init__(self, images):
        self.images = images

    def __call__(self, steps):
        return self.images(steps)[:, :1]


def _mixture(sources, size=12, **options):
    tokenizer = TextTokenizer.train([t for s in sources for t in s.tasks], 400)
    codecs = {s.card.name: Codec(s.card, *measure_stats([s], 16)) for s in sources}
    feed = Feed(batch_size=size, seed=3, **options)
    return Mixture(sources, codecs, tokenizer, feed, horizon=16, misnamed=0.2, late_steps=3)


def _drawn(mixture, batches):
    return [mixture.draw() for _ in range(batches)]


def _flat(batch):
    """A batch's tensors by name; what is padding only (the text's left, views beyond the widest) cut off."""
    inputs = {f.name: getattr(batch.inputs, f.name) for f in fields(batch.inputs)}
    return inputs | {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "inputs"}


def _row(batch, i):
    """What sample i is, without what its neighbours made it be padded to."""
    row = {name: tensor[i] for name, tensor in _flat(batch).items()}
    views = row["image_mask"].sum()
    for name in ("images", "tags", "points", "point_mask", "point_visible"):
        row[name] = row[name][:views]
    row["tokens"], row["image_mask"] = row["tokens"][row["token_mask"]], views
    del row["token_mask"]
    return row


def _assert_same(a, b):
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


@pytest.fixture
def root(tmp_path, recorded_once):
    return shutil.copytree(recorded_once, tmp_path / "set")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, recorded_once):
    """Six batches made in this process, and where their rows come from."""
    root = shutil.copytree(recorded_once, tmp_path_factory.mktemp("drawn") / "set")
    mixture = _mixture(_sources(root))
    return [(_flat(mixture.draw()), mixture.origin()) for _ in range(6)]


@pytest.mark.parametrize("pictures", ["decode", "cache", "memory"])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(drawn, root, workers, pictures):
    mixture = _mixture(_sources(root, pictures), workers=workers)
    for batch, origin in drawn:
        _assert_same(batch, _flat(mixture.draw()))
        assert mixture.origin() == origin


@pytest.mark.parametrize(("streams", "workers"), [(2, 0), (3, 0), (2, 2)])
def test_ranks_share_the_very_samples_of_one(root, streams, workers):
    sources = _sources(root)
    one = _mixture(sources)
    parts = [
        _mixture(sources, 12 // streams, rank=rank, ranks=streams, workers=workers) for rank in range(streams)
    ]
    for _ in range(3):
        whole, shared = one.draw(), [part.draw() for part in parts]
        rows = [_row(batch, i) for batch in shared for i in range(len(batch))]
        for i, row in enumerate(rows):
            _assert_same(_row(whole, i), row)
        assert one.origin() == [name for part in parts for name in part.origin()]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_resumed_in_the_middle_is_an_unbroken_one(drawn, root, workers):
    stopped = _mixture(_sources(root), workers=workers)
    for _ in range(2):
        stopped.draw()
    resumed = _mixture(_sources(root), workers=workers)
    resumed.state = stopped.state
    for batch, _ in drawn[2:5]:
        _assert_same(batch, _flat(resumed.draw()))
    resumed.state = stopped.state  # a step that was not taken gives its batch back
    _assert_same(drawn[2][0], _flat(resumed.draw()))
    resumed.state = replace(resumed.state, seed=4)
    with pytest.raises(KinemaError, match="draws with seed 3"):
        resumed.draw()


def test_looking_at_a_batch_draws_none(root):
    mixture = _mixture(_sources(root))
    seen = mixture.batch(0)
    assert mixture.state.drawn == 0
    _assert_same(_flat(seen), _flat(mixture.draw()))


def test_rows_of_other_bodies_keep_their_cameras_tags_and_horizons(root):
    mixture = _mixture(_sources(root), size=60)
    mixture.misnamed = 0.0
    batch, cards = mixture.draw(), {source.name: source.card for source in mixture.sources}
    of = [name.split(", ")[0] for name in mixture.origin()]
    assert set(of) == set(cards)
    for i, name in enumerate(of):
        card = cards[name]
        own = torch.from_numpy(mixture.tokenizer.camera_tags(card))
        assert batch.inputs.image_mask[i].sum() == len(own)
        assert torch.equal(batch.inputs.tags[i, : len(own)], own)
        assert torch.equal(batch.action_mask[i].any(0), torch.from_numpy(mixture.codecs[card.name].mask))
        assert batch.action_mask[i].any(1).sum() <= min(card.chunk, 16)
    assert len({len(card.cameras) for card in cards.values()}) > 1


def test_a_fault_in_a_worker_is_the_same_line(root):
    next(root.glob("videos/*front/*/*.mp4")).write_bytes(b"no video")
    said = []
    for workers in (0, 2):
        mixture = _mixture(_sources(root, "decode"), size=40, workers=workers)
        with pytest.raises(KinemaError, match=r"mp4 is not a readable video") as caught:
            _drawn(mixture, 20)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_workers_make_no_more_than_a_few_batches_ahead():
    made = torch.zeros(1000, dtype=torch.int64).share_memory_()

    def make(number):
        made[number] = os.getpid()
        return number

    loader = Loader(make, workers=2)
    assert [loader.take(number) for number in range(10)] == list(range(10))
    assert os.getpid() not in made.tolist()
    assert int((made > 0).sum()) <= 10 + 2 * 2
    assert loader.take(100) == 100
    loader.close()
    assert np.flatnonzero(made.numpy()).max() <= 100 + 2 * 2


@pytest.mark.slow
def test_workers_end_with_the_program(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from kinema.data.loader import Loader\n"
        "loader = Loader(lambda number: number, workers=2)\n"
        "print(loader.take(5), loader.take(6))\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 6\n", "")
