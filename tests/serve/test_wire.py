"""The codec: what goes in comes out, what others write is read, and hostile bytes are only ever refused."""

from __future__ import annotations

import contextlib
import pickle

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kinema.runtime.messages import chunk_message, chunk_of, verdict_to_wire
from kinema.runtime.wire import WireError, pack, unpack
from kinema.schema import ActionChunk, Verdict
from laws import examples

DTYPES = st.sampled_from(["<f4", "<f8", "<f2", "|u1", "<u2", "<i4", "<i8", "|b1", ">f4"]).map(np.dtype)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and (a.tobytes() == b.tobytes())
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(VALUES)
def test_unpack_is_the_inverse_of_pack(value: object) -> None:
    assert same(value, unpack(pack(value)))


def test_array_scalars_keep_their_type() -> None:
    for value in (np.float32(0.1), np.int64(-5), np.bool_(True)):
        back = unpack(pack({"x": value}))["x"]
        assert type(back) is type(value)
        assert back == value


def test_arrays_are_read_only_views() -> None:
    with pytest.raises(ValueError, match="read-only"):
        unpack(pack(np.zeros(3)))[0] = 1.0


def test_both_ways_agree_with_openpis_codec() -> None:
    theirs = pytest.importorskip("openpi_client.msgpack_numpy", reason="openpi-client is not installed")
    message = {
        "state": np.arange(7, dtype=np.float32),
        "n": np.float64(2.5),
        "prompt": "lift",
        "x": [1, None],
    }
    assert pack(message) == theirs.packb(message)  # byte for byte
    assert same(theirs.unpackb(pack(message))["state"], message["state"])
    assert same(unpack(theirs.packb(message))["state"], message["state"])


@pytest.mark.parametrize("marker", [str, str.encode])
def test_markers_may_be_text_or_bytes(marker: object) -> None:
    names = {"__ndarray__": True, "data": b"\x01\x02", "dtype": "|u1", "shape": [2]}
    found = unpack(msgpack.packb({marker(name): value for name, value in names.items()}))
    assert same(found, np.array([1, 2], np.uint8))


@given(st.binary(max_size=200))
@examples(300)
def test_any_bytes_unpack_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(WireError):
        unpack(data)


@given(VALUES, st.integers(0, 2**32), st.integers(0, 255))
def test_a_damaged_message_unpacks_or_is_refused(value: object, at: int, byte: int) -> None:
    data = bytearray(pack(value))
    data[at % len(data)] = byte
    for part in (bytes(data), bytes(data[: at % len(data)])):
        with contextlib.suppress(WireError):
            unpack(part)


@pytest.mark.parametrize(
    "parts",
    [
        {"data": b"", "dtype": "<f8", "shape": [10**9]},  # a short message for a large array
        {"data": b"\0" * 8, "dtype": "<f8", "shape": [-1]},
        {"data": b"\0" * 8, "dtype": "<f8", "shape": [1.0]},
        {"data": b"\0" * 8, "dtype": "<f8", "shape": [True]},
        {"data": b"\0" * 8, "dtype": "<f8", "shape": [1] * 9},
        {"data": b"\0" * 8, "dtype": "O", "shape": [1]},
        {"data": b"\0" * 8, "dtype": "V8", "shape": [1]},
        {"data": b"\0" * 8, "dtype": "<c8", "shape": [1]},
        {"data": b"\0" * 8, "dtype": "M8[s]", "shape": [1]},
        {"data": b"\0" * 8, "dtype": [["a", "<f8"]], "shape": [1]},
        {"data": b"\0" * 8, "dtype": "<f8,<f8", "shape": [1]},
        {"data": "text", "dtype": "|u1", "shape": [4]},
        {"data": [0] * 8, "dtype": "|u1", "shape": [8]},
        {"dtype": "|u1", "shape": [0]},
    ],
    ids=str,
)
def test_a_false_array_is_refused(parts: dict[str, object]) -> None:
    with pytest.raises(WireError):
        unpack(msgpack.packb({b"__ndarray__": True} | parts))


def test_nothing_is_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("code from the wire was run",))

    pickled = pickle.dumps(Bomb())
    assert unpack(msgpack.packb({"x": pickled}))["x"] == pickled
    with pytest.raises(WireError):
        unpack(pickled)
    with pytest.raises(WireError):
        unpack(msgpack.packb({b"__ndarray__": True, b"data": pickled, b"dtype": "O", b"shape": [1]}))


@pytest.mark.parametrize("data", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
def test_a_large_claim_in_a_short_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        unpack(data)
    nested = b"\xdd\x00\x00\x0f\xff" * 5000  # 4095 items each, in each other
    with pytest.raises(WireError):
        unpack(nested)


@pytest.mark.parametrize("value", [object(), 1j, np.array([object()]), np.zeros(2, complex), 2**70])
def test_what_cannot_travel_is_refused_by_name(value: object) -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        pack({"x": value})


VERDICT = Verdict(
    allowed=False, risk={"collision": 0.7}, limit={"collision": 0.1}, horizon_s=1.5, reason="near"
)


@pytest.mark.parametrize("verdict", [None, VERDICT])
def test_a_chunk_survives_the_way(verdict: Verdict | None) -> None:
    rng = np.random.default_rng(0)
    chunk = ActionChunk(
        values=rng.normal(size=(4, 7)), times_s=np.arange(4) / 3, card="panda", verdict=verdict
    )
    back = chunk_of(unpack(pack(chunk_message(3, chunk, {}))))
    assert same(back.values, chunk.values)
    assert same(back.times_s, chunk.times_s)
    assert (back.card, back.verdict) == (chunk.card, chunk.verdict)


@pytest.mark.parametrize("allowed", [None, 1, "true", "yes", [True]])
def test_only_true_is_a_permission(allowed: object) -> None:
    chunk = {"values": np.zeros((1, 1)), "times_s": np.zeros(1), "card": "x"}
    with pytest.raises(WireError):
        chunk_of({**chunk, "verdict": {**verdict_to_wire(VERDICT), "allowed": allowed}})
