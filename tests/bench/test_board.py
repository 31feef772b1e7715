"""The results page: every run below a folder, what was published beside it, and nothing made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kinema import cli
from kinema.bench.benchmark import TaskSpec
from kinema.bench.board.markdown import BEGIN, END, with_board
from kinema.bench.board.page import page
from kinema.bench.board.published import read_published
from kinema.bench.board.runs import collect
from kinema.bench.board.sections import sections
from kinema.bench.episode import EpisodeRecord
from kinema.bench.results import summarise

DOCS = Path(__file__).parents[2] / "docs"
SPECS = (
    TaskSpec(name="a/push", card="a", control_hz=10, groups={"body": "a", "family": "push"}),
    TaskSpec(name="b/push", card="b", control_hz=10, groups={"body": "b", "family": "push"}),
    TaskSpec(name="b/stack", card="b", control_hz=10, groups={"body": "b", "family": "stack"}),
)
ARTIFACT = {
    "parameters": 4_700_000, "samples": 1000, "train_s": 600.0, "hardware": "one core",
    "data": [{"windows": 300}, {"windows": 40}],
    "started_from": {"samples": 500, "train_s": 60.0, "started_from": None},
}  # fmt: skip


STAND_INS = "# Assets\n\nAll are theirs, but:\n\na box for the table.\n"


def told(policy: str, stand_ins: str = "none", **more: Any) -> dict[str, Any]:
    return {
        "policy": {"target": "x:Y", "policy": policy, **more},
        "benchmark": {"not_as_theirs": ["pictures: smaller"], "assets": {"stand_ins": stand_ins}},
        "weights": {"policy": {"sha256": "abcdef0123456789"}}, "seed": 7, "seed_rule": "fresh: of all",
        "commit": "c0ffee", "versions": {"mujoco": "3.3.0"}, "started_utc": "2026-11-28T08:00:00Z",
        "command": "kinema eval toy",
    }  # fmt: skip


def save(
    folder: Path, policy: str = "mine", *, complete: bool = True, benchmark: str = "toy", **more: Any
) -> None:
    """A run in which the first of two episodes of every task succeeded, and was filmed like the other."""
    records = [
        EpisodeRecord(
            task=spec.name, index=i, seed=i, result="failure" if i else "success", cause="too <slow>",
            steps=3, video=f"{spec.name.replace('/', '_')}__00{i}.mp4",
        )
        for spec in SPECS
        for i in range(2)
    ]  # fmt: skip
    found = summarise(benchmark, SPECS, records, complete=complete, provenance=told(policy, **more))
    found.save(folder / "results.json")
    lines = [json.dumps(record.as_dict()) for record in records]
    (folder / "episodes.jsonl").write_text('{"settings": {}}\n' + "\n".join(lines) + "\n")


PUBLISHED = """published:
- {benchmark: toy, model: Theirs, parameters: 2 B, data: much, compute: not noted, protocol: 400 steps,
   source: arXiv 1, rates: {a: 0.5}, mean: 0.625}
"""
PAGE = f"# Mine\n\nbefore\n{BEGIN}\nold\n{END}\nafter\n"


def shown(folder: Path) -> tuple[str, str]:
    """Markdown and HTML, for pages in the folder itself."""
    (folder / "page.md").write_text(PAGE)
    found = sections(collect(folder), read_published(folder))
    return with_board(folder / "page.md", found), page(found, folder)


def test_the_committed_page_and_board_are_what_the_command_writes() -> None:
    found = sections(collect(DOCS / "results"), read_published(DOCS / "results"))
    mend = "run: kinema results docs/results --page docs/results.md"
    assert with_board(DOCS / "results.md", found) == (DOCS / "results.md").read_text(encoding="utf-8"), mend
    assert page(found, DOCS / "results") == (DOCS / "results" / "board.html").read_text(encoding="utf-8"), (
        mend
    )


def test_ours_stands_beside_what_was_published_with_size_data_and_protocol(tmp_path: Path) -> None:
    save(tmp_path / "mine", artifact=ARTIFACT)
    (tmp_path / "published.yaml").write_text(PUBLISHED)
    markdown, html = shown(tmp_path)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    two, four = "50.0 % (9.5 to 90.5)", "50.0 % (15.0 to 85.0)"  # half of so many
    assert f"| mine | {two} | {four} | 50.0 % | 23.2 to 76.8 | 3 of 6 in 3 tasks |" in rows
    assert "| Theirs (published) | 50.0 % | - | 62.5 % |  |  |" in rows
    assert f"| mine | {four} | {two} |" in rows, "by family"
    (how,) = [row for row in rows if row.startswith("| mine | 4.7 M")]
    assert "1,500 samples of 340 recorded steps" in how, "with what it was started from"
    assert "11 minutes" in how
    assert "| Theirs | 2 B | much | not noted | 400 steps | arXiv 1 |" in rows
    (made,) = [row for row in rows if "kinema eval toy" in row]
    for part in ("7 (fresh)", "abcdef012345", "c0ffee", "mujoco 3.3.0", "2026-11-28"):
        assert part in made
    for part in ("Theirs (published)", "62.5 %", "pictures: smaller", "a/push"):
        assert part in html


@pytest.mark.parametrize("stand_ins", ["none", STAND_INS])
def test_assets_that_are_not_all_the_benchmarks_are_said(stand_ins: str, tmp_path: Path) -> None:
    save(tmp_path / "mine", stand_ins=stand_ins)
    for text in shown(tmp_path):
        assert ("assets: All are theirs, but: a box for the table." in text) == (stand_ins == STAND_INS)


def test_a_benchmark_that_only_others_were_judged_on_says_so(tmp_path: Path) -> None:
    save(tmp_path / "mine")
    (tmp_path / "published.yaml").write_text(PUBLISHED.replace("toy", "another"))
    for text in shown(tmp_path):
        assert text.count("No results file of ours yet.") == 1
        assert text.index("No results file of ours yet.") < text.index("Theirs (published)")


def test_what_is_around_the_marks_stays_and_writing_twice_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "mine")
    first, _ = shown(tmp_path)
    assert first.startswith(f"# Mine\n\nbefore\n{BEGIN}\n")
    assert first.endswith(f"{END}\nafter\n")
    assert "old" not in first
    (tmp_path / "page.md").write_text(first)
    found = sections(collect(tmp_path), ())
    assert with_board(tmp_path / "page.md", found) == first


def test_films_of_failures_are_linked_where_they_lie_beside_the_results(tmp_path: Path) -> None:
    save(tmp_path / "mine")
    assert ".mp4" not in "".join(shown(tmp_path))
    (tmp_path / "mine" / "videos").mkdir()
    for name in ("a_push__000.mp4", "b_stack__001.mp4"):
        (tmp_path / "mine" / "videos" / name).write_bytes(b"film")
    markdown, html = shown(tmp_path)
    assert "[b/stack 1](mine/videos/b_stack__001.mp4)" in markdown
    assert 'src="mine/videos/b_stack__001.mp4"' in html
    assert "too &lt;slow&gt;" in html
    assert "a_push__000" not in markdown + html, "that one succeeded"


def test_runs_of_every_depth_are_found_and_unfinished_ones_say_so(tmp_path: Path) -> None:
    save(tmp_path / "mine", complete=False)
    save(tmp_path / "mine" / "baselines" / "random", "random")
    save(tmp_path / "other", "mine", benchmark="another toy")
    markdown, _ = shown(tmp_path)
    assert [line for line in markdown.splitlines() if line.startswith("###")] == [
        "### another toy",
        "### toy",
    ]
    assert "| mine (stopped early) |" in markdown
    assert "| random |" in markdown


@pytest.mark.parametrize("broken", ["{", "[]", '{"chunks": {}}'])
def test_a_file_of_something_else_is_refused_by_its_name(broken: str, tmp_path: Path, capsys: Any) -> None:
    save(tmp_path / "mine")
    (tmp_path / "mine" / "results.json").write_text(broken)
    assert cli.exit_code(["results", str(tmp_path)]) == 2
    assert str(tmp_path / "mine" / "results.json") in capsys.readouterr().err


@pytest.mark.parametrize(("faulty", "said"), [
    (PUBLISHED.replace("source: arXiv 1, ", ""), "source: missing key"),
    (PUBLISHED.replace("0.625", "62.5"), "mean"),
    (PUBLISHED.replace("2 B", '""'), "parameters"),
])  # fmt: skip
def test_a_published_number_without_source_or_sense_is_refused(
    faulty: str, said: str, tmp_path: Path, capsys: Any
) -> None:
    save(tmp_path / "mine")
    (tmp_path / "published.yaml").write_text(faulty)
    assert cli.exit_code(["results", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_the_command_writes_both_and_refuses_what_has_no_place(tmp_path: Path, capsys: Any) -> None:
    assert cli.exit_code(["results", str(tmp_path)]) == 2
    assert "no results.json below" in capsys.readouterr().err
    save(tmp_path / "mine")
    markdown, html = shown(tmp_path)
    assert cli.exit_code(["results", str(tmp_path), "--page", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text() == markdown
    assert (tmp_path / "board.html").read_text() == html
    (tmp_path / "page.md").write_text("no marks")
    assert cli.exit_code(["results", str(tmp_path), "--page", str(tmp_path / "page.md")]) == 2
    assert "has no place for the board" in capsys.readouterr().err
