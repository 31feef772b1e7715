"""Nothing in the documents stays true unless it is executed.

Every fenced `bash` and `python` block of README.md and docs/*.md runs in an empty folder, in order, so
that a block may use what the one before it made (files, and in Python the names too): here, or in the test
that the document names. An HTML comment in the line before a block changes that:

    <!-- slow: why -->              runs only with the slow tests
    <!-- not run in tests: why -->  does not run, but every `kinema` line in it must still parse
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kinema import cli
from kinema.commands.robots.conventions import bodies, conventions

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>slow|not run in tests): (?P<why>[^\n]+?) -->\n)?"
    r"```(?P<language>bash|sh|console|python)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    document: Path
    line: int
    language: str
    code: str
    mark: str  # "", "slow" or "not run in tests"
    why: str


def _blocks(document: Path) -> list[Block]:
    text = document.read_text()
    return [
        Block(
            document=document,
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            code=match["code"],
            mark=match["mark"] or "",
            why=match["why"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]


BLOCKS = [block for document in DOCUMENTS for block in _blocks(document)]


def _elsewhere(document: Path) -> bool:
    """Whether a document names a test of its own that runs its blocks."""
    named = re.search(r"blocks (?:below )?are run, in order, by `(tests/[\w/]+\.py)`", document.read_text())
    return named is not None and (ROOT / named[1]).exists()


RUN_HERE = [document for document in DOCUMENTS if not _elsewhere(document)]


def _id(block: Block) -> str:
    return f"{block.document.name}:{block.line}"


def _run_all(blocks: list[Block], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order; the Python blocks of a document share their names, as they would in one session."""
    names: dict[str, Any] = {"__name__": "__document__"}
    monkeypatch.chdir(folder)
    for block in blocks:
        if block.language == "python":
            exec(compile(block.code, _id(block), "exec"), names)
        else:
            _run_shell(block, folder)


def _run_shell(block: Block, folder: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"),
    }
    code = block.code.replace("source .venv/bin/activate\n", "")  # it is already in PATH
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{_id(block)}\n{block.code}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


@pytest.mark.parametrize("document", RUN_HERE, ids=lambda path: path.name)
def test_quick_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run_all([block for block in _blocks(document) if not block.mark], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("document", RUN_HERE, ids=lambda path: path.name)
def test_all_blocks_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in _blocks(document) if block.mark != "not run in tests"]
    _run_all(blocks, tmp_path, monkeypatch)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language != "python"], ids=_id)
def test_every_kinema_line_parses(block: Block) -> None:
    lines = block.code.replace("\\\n", " ").splitlines()
    for words in (shlex.split(line, comments=True) for line in lines):
        if words[:1] == ["kinema"]:
            _parse(cli.command(), _before_the_shell(words[1:]))


def _before_the_shell(words: list[str]) -> list[str]:
    """Without redirections, pipes and what follows them."""
    return list(itertools.takewhile(lambda word: not re.match(r"^(\d?>|<|\||&)", word), words))


def _parse(command: Any, words: list[str]) -> None:
    while hasattr(command, "commands"):
        assert words, f"{command.name} needs a command"
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words))


def test_every_block_is_seen_and_every_mark_has_a_reason() -> None:
    for document in DOCUMENTS:
        fences = re.findall(r"^```(bash|sh|console|python)$", document.read_text(), re.MULTILINE)
        assert len(fences) == len(_blocks(document)), document.name
    assert all(len(block.why) > 3 for block in BLOCKS if block.mark)
    assert any(not block.mark for block in BLOCKS)


def test_every_command_in_a_table_parses() -> None:
    kinema = cli.command()
    for document in DOCUMENTS:
        for line in re.findall(r"`(kinema [a-z][^`…]*)`", document.read_text()):
            command, words = kinema, shlex.split(line)[1:]
            while hasattr(command, "commands") and words:
                assert words[0] in command.commands, f"{document.name}: {line}"
                command, words = command.commands[words[0]], words[1:]
            options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            unknown = [w for w in words if w.startswith("--") and w not in options]
            assert unknown == [], f"{document.name}: {line}"


def test_every_link_leads_somewhere() -> None:
    for document in [*DOCUMENTS, ROOT / "ARCHITECTURE.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_conventions_are_those_of_the_code() -> None:
    written = (
        (ROOT / "README.md").read_text().split("<!-- conventions -->")[1].split("<!-- /conventions -->")[0]
    )
    assert written.strip() == f"{conventions()}\n\n{bodies()}", (
        "write the output of `kinema robots conventions` there"
    )
