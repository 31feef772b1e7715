"""What is said where Ray cannot be used, and what travels to a node; no cluster is needed for these."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from kinema import cli
from kinema.pool.on_ray import OnRay
from kinema.pool.parcel import content_digest, pack, unpack
from kinema.pool.ray_actor import Sent
from kinema.schema import KinemaError
from kinema.versions import differences

COMMANDS = (
    ["eval", "tabletop", "--policy", "hold", "--robots", "panda", "--episodes", "1"],
    ["data", "make", "tabletop", "--robots", "panda", "--families", "stack", "--episodes", "1"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=["eval", "data make"])
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nonsense", "choices: local, or host:port"),
        ("ray://somewhere:1", "choices: local, or host:port"),
        ("CLOSED", "no cluster answers at --ray 127.0.0.1:"),
        ("127.0.0.1:99999", "no cluster answers at --ray 127.0.0.1:99999"),
    ],
)
def test_a_wrong_address_is_one_line_and_leaves_nothing(command, address, told, tmp_path, capsys):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = address.replace("CLOSED", f"127.0.0.1:{taken.getsockname()[1]}")
        assert cli.exit_code([*command, "--out", str(tmp_path / "out"), "--ray", address]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kinema:")]
    assert told in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=["eval", "data make"])
def test_without_ray_the_extra_is_named(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.exit_code([*command, "--out", str(tmp_path / "out"), "--ray", "local"]) == 2
    assert "pip install 'kinema[ray]'" in capsys.readouterr().err


def test_an_evaluation_without_workers_refuses_it(capsys):
    assert cli.exit_code(["eval", "safety", "--ray", "local"]) == 2
    assert "--ray says nothing to safety" in capsys.readouterr().err


@pytest.mark.slow
def test_a_port_where_something_else_listens_is_refused():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(KinemaError, match="did not answer as the first node of a Ray cluster"):
            OnRay(address).open(None, (), 1)  # type: ignore[arg-type]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "artifact" / "inner").mkdir(parents=True)
    (tmp_path / "artifact" / "config.json").write_text("{}")
    (tmp_path / "artifact" / "inner" / "weights").write_bytes(bytes(range(256)))
    return tmp_path / "artifact"


def test_a_folder_or_file_travels_whole_and_is_known_by_its_content(artifact, tmp_path):
    for path in (artifact, artifact / "config.json"):
        digest = content_digest(path)
        place = unpack(pack(path), digest, path.name, tmp_path / "cache")
        assert place.name == path.name
        assert content_digest(place) == digest
        assert unpack({}, digest, path.name, tmp_path / "cache") == place, "kept"
    (artifact / "inner" / "weights").write_bytes(b"others")
    assert content_digest(artifact) != content_digest(tmp_path / "cache" / digest)


def test_what_was_damaged_on_the_way_or_since_is_refused(artifact, tmp_path):
    digest, content = content_digest(artifact), pack(artifact)
    with pytest.raises(KinemaError, match="is not what was sent"):
        unpack({**content, "config.json": b"[]"}, digest, "artifact", tmp_path / "one")
    place = unpack(content, digest, "artifact", tmp_path / "two")
    (place / "config.json").unlink()
    with pytest.raises(KinemaError, match="is not what was sent"):
        unpack(content, digest, "artifact", tmp_path / "two")


def test_what_a_node_has_at_the_same_place_is_used_there(artifact):
    assert Sent(str(artifact), content_digest(artifact), None).here() == str(artifact)


def test_versions_that_differ_are_both_named():
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "2"}) == []
    assert differences({"a": "1", "b": "2"}, {"b": "3"}) == ["a not installed and not 1", "b 3 and not 2"]
