"""Imports flow one way, and the robot's side needs no torch. The table is the one in ARCHITECTURE.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "kinema"

MAY_IMPORT: dict[str, set[str]] = {
    "card": set(),
    "space": {"card"},
    "schema": {"card", "space"},
    "data": {"card", "space", "schema"},
    "worlds": {"card", "space", "schema"},
    "pool": {"card", "schema", "digest", "versions"},
    "model": {"card", "space", "schema", "digest", "data.batch", "data.text", "data.sample"},
    "train": {"card", "space", "schema", "data", "model"},
    "runtime": {"card", "space", "schema"},
    "bench": {"card", "space", "schema", "digest", "versions", "pool", "worlds", "runtime"},
    "serve": {"card", "space", "schema", "runtime"},
    "doctor": set(),
    "digest": set(),
    "versions": set(),
}
EVERYTHING = {"recipes", "commands", "cli", "__main__"}  # composition; only they may import each other


def _modules() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py")


def _name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def _imports(source: str, module: str = "") -> Iterator[str]:
    """Every module of ours that the source imports, wherever in the file, without the leading `kinema.`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(["kinema", *module.split(".")[: -node.level], *filter(None, [base])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("kinema.") for name in names if name.startswith("kinema."))


def _breaches(owner: str, imported: list[str]) -> list[str]:
    allowed = {owner, *MAY_IMPORT[owner]}
    return [name for name in imported if not any(name == a or name.startswith(f"{a}.") for a in allowed)]


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_imports_flow_one_way(path: Path) -> None:
    owner = _name(path).split(".")[0]
    if owner in EVERYTHING:
        return
    assert owner in MAY_IMPORT, f"{path.name}: a new package needs a row in the table of ARCHITECTURE.md"
    assert _breaches(owner, list(_imports(path.read_text(), _name(path)))) == []


def test_the_rule_sees_local_and_relative_imports() -> None:
    source = "def f():\n    from kinema.train.loop import step\n    from ..bench import run\n    import numpy"
    found = list(_imports(source, "runtime.loop"))
    assert found == ["train.loop.step", "bench.run"]
    assert _breaches("runtime", found) == found
    assert _breaches("model", ["data.batch.Batch", "data.mixture.Mixture"]) == ["data.mixture.Mixture"]


def test_the_table_in_the_architecture_is_this_table() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text.split("<!-- import-rules -->")[1].split("\n\n")[1]
    rows = re.findall(r"^\| ([a-z_, ]+) \| ([^|]+) \|$", section, re.MULTILINE)
    written: dict[str, set[str]] = {}
    for owners, allowed in rows:
        for owner in owners.split(","):
            written[owner.strip()] = {a.strip().strip("`") for a in allowed.split(",")} - {"nothing of ours"}
    assert written.pop("package") == {"may import"}
    assert {k: v for k, v in written.items() if k not in EVERYTHING} == MAY_IMPORT
    assert {k for k, v in written.items() if v == {"everything"}} == EVERYTHING


BLOCKED_IMPORT = """
import importlib, pkgutil, sys
blocked, packages = sys.argv[1].split(","), sys.argv[2].split(",")
for name in blocked:
    sys.modules[name] = None
for package in packages:
    module = importlib.import_module(f"kinema.{package}")
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"kinema.{package}."):
        importlib.import_module(found.name)
loaded = [name for name in blocked if sys.modules.get(name) is not None]
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    ("packages", "blocked"),
    [
        ("card,space,schema,worlds,runtime,bench,serve", "torch,transformers"),
        ("card,space,schema,runtime", "torch,transformers,mujoco,metaworld,av,pyarrow,matplotlib,rerun"),
    ],
    ids=["no torch on the simulator's side", "numpy and a socket on the robot's side"],
)
def test_imports_without(packages: str, blocked: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", BLOCKED_IMPORT, blocked, packages], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr[-2000:]


def test_help_needs_no_heavy_package() -> None:
    code = (
        "import sys, kinema.cli; print([m for m in ('torch', 'mujoco', 'av', 'numpy') if m in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    heavy = ast.literal_eval(process.stdout)
    assert set(heavy) <= {"numpy"}, f"`kinema --help` imports {heavy}"
