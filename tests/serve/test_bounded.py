"""The work of a message is bounded before it is done: bombs of every kind cost no more than they weigh."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy import PANDA, ToyPolicy, observation, running, toy_served

from kinema.runtime.messages import FromClient, FromServer, infer_message
from kinema.runtime.wire import WireError, decode, pack, unpack
from kinema.schema import Question
from kinema.serve.activity import Activity
from kinema.serve.decode import Decoder, asked_in_json
from kinema.serve.gateway import Asker, Gateway
from kinema.serve.keys import Key
from kinema.serve.limits import Limits
from kinema.serve.metrics import Metrics
from kinema.serve.pictures import pictures
from kinema.serve.refusal import Refusal
from kinema.serve.service import Queueing, Service
from laws import examples

MEGABYTE = 2**20
QUESTION = Question(observation=observation(PANDA, px=16), card="panda", noise_seed=0)


def peak_bytes(work: Callable[[], Any], error: type[Exception]) -> int:
    """What refusing this needs at once."""
    tracemalloc.start()
    try:
        with pytest.raises(error):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def nested(item: bytes) -> bytes:
    """2047 arrays of 4096 times this, under a key of a message."""
    inner = b"\xdc\x10\x00" + item * 4096
    return b"\x83\xa4type\xa4ping\xa2id\x01\xa1x\xdc\x07\xff" + inner * 2047


BOMBS = {
    "empty maps": nested(b"\x80"),
    "empty lists": nested(b"\x90"),
    "nothing": nested(b"\xc0"),
    "empty texts": nested(b"\xa0"),
    "one in another": b"\x91" * 8 * MEGABYTE + b"\xc0",
    "maps in maps": b"\x81\xa1a" * 2 * MEGABYTE + b"\xc0",
    "keys": b"\xdf\x00\x20\x00\x00" + b"\xce\x00\x00\x00\x01\xc0" * MEGABYTE,
    "a great claim": b"\xdd\xff\xff\xff\xff" + b"\xc0" * MEGABYTE,
    "an extension": b"\xc9\x00\x10\x00\x00\x01" + b"x" * MEGABYTE,
}


@pytest.mark.parametrize("kind", [Any, FromClient, FromServer], ids=["any", "client", "server"])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_of_msgpack_needs_no_memory(bomb: bytes, kind: Any) -> None:
    assert peak_bytes(lambda: decode(bomb, kind), WireError) < MEGABYTE


def items_of(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(items_of, value))
    if isinstance(value, dict):
        return 1 + sum(1 + items_of(item) for item in value.values())
    return 1


SIMPLE = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
SIMPLE |= st.text(max_size=300) | st.binary(max_size=300) | st.just("x" * 70_000) | st.just(b"x" * 70_000)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=60,
)


@given(VALUES, st.integers(-3, 3))
@examples(60)
def test_exactly_so_many_items_are_taken(value: Any, more: int) -> None:
    most = max(1, items_of(value) + more)
    if more >= 0:
        assert unpack(msgspec.msgpack.encode(value), most_items=most) == value
    elif items_of(value) > most:
        with pytest.raises(WireError, match="at most"):
            unpack(msgspec.msgpack.encode(value), most_items=most)


def test_a_question_has_few_items() -> None:
    assert decode(pack(infer_message(1, QUESTION, 1.0, "running")), FromClient, most_items=100).id == 1


def in_json(**observation: Any) -> bytes:
    seen = {"images": {}, "state": [0.0], "instruction": "x"} | observation
    return json.dumps({"card": "panda", "observation": seen}, separators=(",", ":")).encode()


JSON_BOMBS: dict[str, Callable[[], bytes]] = {
    "a fault each": lambda: in_json(images={f"{i:x}": 1 for i in range(200_000)}),
    "pictures": lambda: in_json(images={f"{i:x}": "" for i in range(200_000)}),
    "numbers": lambda: in_json(state=[0] * 1_000_000),
    "lists": lambda: b'{"a":[' + b",".join([b"[]"] * 500_000) + b"]}",
    "one in another": lambda: b"[" * MEGABYTE,
    "maps in maps": lambda: b'{"a":' * MEGABYTE,
}


@pytest.mark.parametrize("made", JSON_BOMBS.values(), ids=JSON_BOMBS)
def test_a_bomb_of_json_needs_no_memory(made: Callable[[], bytes]) -> None:
    bomb = made()
    assert peak_bytes(lambda: asked_in_json(bomb), Refusal) < MEGABYTE


@pytest.mark.parametrize("name", ["a fault each", "pictures", "numbers", "lists", "one in another"])
def test_a_bomb_of_json_is_read_no_further_than_it_is_known_for_one(name: str) -> None:
    bomb, ends = JSON_BOMBS[name](), []

    class Read(bytes):
        def count(self, mark: Any, at: Any = 0, end: Any = None) -> int:
            ends.append(len(self) if end is None else min(end, len(self)))
            return super().count(mark, at, end)

    with pytest.raises(Refusal, match="values"):
        asked_in_json(Read(bomb))
    values = sum(bomb[: max(ends)].count(mark) for mark in b",[{")
    assert max(ends) < len(bomb) / 2
    assert values < 2 * 20_000 + 2**16


def test_a_picture_in_json_is_base64() -> None:
    asked = asked_in_json(in_json(images={"front": base64.b64encode(b"abc").decode()}))
    assert asked.observation.images == {"front": b"abc"}
    for wrong in ("%%%", "a", 3, None, ["YQ=="]):
        with pytest.raises(Refusal, match="images"):
            asked_in_json(in_json(images={"front": wrong}))


def test_json_has_no_arrays_in_the_form_of_msgpack() -> None:
    with pytest.raises(Refusal, match="an array without its data"):
        asked_in_json(in_json(images={"__ndarray__": True}))


# -- pictures


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, of a few bytes, is there again and again."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    good = jpeg_of_scans(64, 3)
    assert pictures({"a": good}, ["a"], Limits())["a"].shape == (64, 64, 3)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    for scans in (17, 1000):
        with pytest.raises(Refusal, match="scans"):
            pictures({"a": jpeg_of_scans(64, scans)}, ["a"], Limits())


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_what_encoders_make_is_decoded(progressive: bool, subsampling: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 100, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(
        file, "JPEG", quality=100, progressive=progressive, subsampling=subsampling, optimize=True
    )
    assert pictures({"a": file.getvalue()}, ["a"], Limits())["a"].shape == image.shape


def png_with(kind: bytes, data: bytes, count: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (9, 8, 7)).save(file, "PNG")
    good, head = file.getvalue(), 8 + 25  # signature and IHDR
    part = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return good[:head] + part * count + good[head:]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"tEXt", b"eXIf", b"acTL", b"qqqq"])
def test_of_a_png_only_the_picture_is_read(kind: bytes) -> None:
    """Pillow inflates texts and profiles of up to 64 MB before it comes to the picture."""
    text = b"a\0\0" + zlib.compress(bytes(MEGABYTE)) if kind != b"iTXt" else (
        b"a\0\1\0\0\0" + zlib.compress(bytes(MEGABYTE))
    )  # fmt: skip
    data = png_with(kind, text, 200)
    tracemalloc.start()
    image = pictures({"a": data}, ["a"], Limits())["a"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (image == (9, 8, 7)).all()
    assert peak < MEGABYTE


def test_a_png_of_a_great_many_chunks_is_refused() -> None:
    with pytest.raises(Refusal, match="chunks"):
        pictures({"a": png_with(b"IDAT", b"", 5000)}, ["a"], Limits())


# -- turns and deadlines


class Steps:
    """Work that goes on one step at a time, as the test says; notes whose it was."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._go = threading.Semaphore(0)

    def work(self, whose: str) -> str:
        assert self._go.acquire(timeout=20)
        self.done.append(whose)
        return whose

    def go(self, count: int) -> None:
        for _ in range(count):
            self._go.release()


def test_pictures_of_one_asker_wait_for_one_of_each_other() -> None:
    steps, decoder = Steps(), Decoder()

    async def run() -> None:
        greedy = [
            asyncio.ensure_future(decoder.run(partial(steps.work, "greedy"), "greedy")) for _ in range(30)
        ]
        await asyncio.sleep(0)
        other = asyncio.ensure_future(decoder.run(partial(steps.work, "other"), "other"))
        await asyncio.sleep(0)
        steps.go(32)
        await asyncio.gather(other, *greedy)

    asyncio.run(run())
    decoder.close()
    assert steps.done.index("other") <= 2


def test_where_there_is_no_room_who_sends_most_gives_way() -> None:
    steps, decoder = Steps(), Decoder(largest_queue=4)

    async def run() -> list[Any]:
        greedy = [
            asyncio.ensure_future(decoder.run(partial(steps.work, "greedy"), "greedy")) for _ in range(5)
        ]
        await asyncio.sleep(0)
        late = asyncio.ensure_future(decoder.run(partial(steps.work, "greedy"), "greedy"))
        other = asyncio.ensure_future(decoder.run(partial(steps.work, "other"), "other"))
        await asyncio.sleep(0)
        steps.go(6)
        return await asyncio.gather(other, late, *greedy, return_exceptions=True)

    other, late, *greedy = asyncio.run(run())
    decoder.close()
    assert other == "other"
    assert isinstance(late, Refusal)
    assert [isinstance(each, Refusal) for each in greedy] == [False] * 4 + [True]


def gateway(**limits: Any) -> Gateway:
    service = Service(toy_served(ToyPolicy()), Queueing(deadline_s=30.0))
    return Gateway(
        service=service, limits=Limits(**limits), metrics=Metrics(lambda: 0), activity=Activity("toy")
    )


def test_the_deadline_covers_decoding() -> None:
    made, release = gateway(), threading.Event()
    made.service.start()

    def read() -> Question:
        assert release.wait(20)
        return QUESTION

    async def run() -> Any:
        try:
            return await made.ask(read, card="panda", slow=True, asker=Asker(), route="act", deadline_s=0.05)
        except Refusal as refusal:
            return refusal.code
        finally:
            release.set()

    assert asyncio.run(run()) == "late"
    made.service.stop()
    made.decoder.close()


def test_a_key_has_so_many_questions_unanswered_and_keys_do_not_share() -> None:
    made, release = gateway(key_in_flight=3), threading.Event()
    made.service.start()

    def read() -> Question:
        assert release.wait(20)
        return QUESTION

    async def run() -> list[Any]:
        def ask(name: str) -> asyncio.Task[Any]:
            asker = Asker(key=Key(id=name, name=name), name=name)
            return asyncio.create_task(made.ask(read, card="panda", slow=True, asker=asker, route="act"))

        asked = [ask("greedy") for _ in range(5)] + [ask("other")]
        await asyncio.sleep(0.05)
        release.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        return [*results, await ask("greedy")]  # what is answered counts no more

    results = asyncio.run(run())
    assert [getattr(each, "code", "answered") for each in results] == [
        *["answered"] * 3, *["overloaded"] * 2, "answered", "answered",
    ]  # fmt: skip
    made.service.stop()
    made.decoder.close()


def test_an_instruction_is_refused_before_the_queue() -> None:
    """By the policy's own limit too, which only it knows."""
    import dataclasses

    from kinema.runtime.client import RemotePolicy, ServerError
    from kinema.schema import KinemaError
    from kinema.serve.app import make_app

    def check(card: str, instruction: str) -> None:
        if len(instruction.split()) > 3:
            raise KinemaError(f"{card}: the prompt has too many tokens")

    policy = ToyPolicy()
    served = dataclasses.replace(toy_served(policy), check_instruction=check)
    with running(make_app(served)) as server, RemotePolicy(server.ws) as remote:
        for bad, says in (("a b c d", "too many tokens"), ("a\nb", "control character"), ("x" * 401, "400")):
            with pytest.raises(ServerError, match=says) as refused:
                remote.infer(observation(PANDA, px=16, instruction=bad), "panda")
            assert refused.value.code == "bad_request"
        assert policy.batches == []
        assert remote.infer(observation(PANDA, px=16, instruction="a b c"), "panda").card == "panda"
