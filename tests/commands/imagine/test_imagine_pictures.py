"""First pictures from files: what is no picture of colours is one sentence that names the file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

from kinema.commands.imagine.imagine import read_pictures
from kinema.schema import KinemaError
from laws import examples

SEEN = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(SEEN).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["plain.png", "with blanks.png", "two\nlines.png", "100%.png"])
def test_a_picture_is_read_whatever_its_file_is_called(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encoded("PNG"))
    found = read_pictures([str(tmp_path / name)], ("front", "wrist"))
    np.testing.assert_array_equal(found["front"], SEEN)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_eight_bits_are_not_cut_off_silently(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.full((8, 8), 700).astype(dtype)).save(path)
    with pytest.raises(KinemaError, match=r"deep\.tiff has more than 8 bits"):
        read_pictures([str(path)], ("front",))


@pytest.mark.parametrize("what", ["missing", "a folder", "a picture of a billion pixels"])
def test_what_is_none_is_named(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture"
    if what == "a folder":
        path.mkdir()
    elif what != "missing":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        path.write_bytes(encoded("PNG"))
    with pytest.raises(KinemaError, match="picture is not a picture that can be read"):
        read_pictures([str(path)], ("front",))


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP"]),
    cut=st.integers(0, 400),
    flip=st.integers(0, 400),
)
def test_any_damage_gives_a_picture_or_a_sentence(kind: str, cut: int, flip: int, tmp_path: Path) -> None:
    data = bytearray(encoded(kind))
    data[flip % len(data)] ^= 0x5A
    path = tmp_path / "damaged"
    path.write_bytes(data[: max(0, len(data) - cut)])
    try:
        said = str(read_pictures([str(path)], ("front",))["front"].dtype)
    except KinemaError as error:
        said = str(error)
    assert said == "uint8" or (str(path) in said and "damaged" in said)
