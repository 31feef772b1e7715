"""A result names what made it by content; whatever of that changes, two lots never mix in one result."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_benchmark
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.benchmark import Factory
from kinema.bench.identity import changed, judged_by, made_by
from kinema.bench.journal import Journal
from kinema.bench.run import RunSettings, run
from kinema.bench.seeds import PROTOCOL, fresh_seed, seed_of
from kinema.commands.policies import ARTIFACT_TARGET
from kinema.digest import file_digests, weights_digest
from kinema.schema import KinemaError

HERE = Path(__file__).parent


def artifact(folder: Path, files: dict[str, str] | None = None) -> Path:
    """A folder as artifacts are, of text: hashing does not ask what the bytes mean."""
    contents = {
        "weights.safetensors": "w", "config.json": "{}", "stats.json": "{}", "tokenizer.json": "t",
        "cards/panda.json": "c", "provenance.json": "{}", "example.safetensors": "e",
    }  # fmt: skip
    contents |= files or {}
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def folder_factory(folder: Path, target: str = "toy_benchmark:DiffusingPolicy") -> Factory:
    return Factory(target=target, arguments={"folder": str(folder)})


def still(folder: Path, episodes: int = 1) -> RunSettings:
    return RunSettings(
        benchmark=Factory(target="panda_toy:StillBenchmark"),
        policy=folder_factory(folder, ARTIFACT_TARGET),
        episodes=episodes,
    )


def tiny(folder: Path, seed: int) -> None:
    """A real artifact of the Panda, its weights drawn from `seed`."""
    import torch

    from kinema.card.load import load_card
    from kinema.data.fake import fake_source
    from kinema.data.mixture import Mixture
    from kinema.data.source import measure_stats
    from kinema.data.stream import Feed
    from kinema.data.text import TextTokenizer
    from kinema.model.policy import artifact as artifacts
    from kinema.model.policy import presets
    from kinema.model.policy.policy import Policy
    from kinema.space.codec import Codec

    source = fake_source(load_card("panda"), image_size=64)
    tokenizer = TextTokenizer.train(source.tasks, 400)
    codecs = {"panda": Codec(source.card, *measure_stats([source], 16))}
    batch = Mixture([source], codecs, tokenizer, Feed(batch_size=1, seed=0), horizon=16).draw()
    torch.manual_seed(seed)
    policy = Policy(presets.tiny(tokenizer.vocab_size))
    artifacts.save(folder, policy, tokenizer, codecs, batch.inputs, {"by": "a test"})


@pytest.mark.slow
def test_weights_changed_in_place_never_enter_a_begun_result(tmp_path: Path) -> None:
    """With a real artifact: the path stays the same, and all it says of itself but the weights."""
    folder, out = tmp_path / "policy", tmp_path / "out"
    tiny(folder, 1)
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    first = run(still(folder), out, quiet=True)
    weights = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    told = first.provenance
    assert told["policy"]["sha256"] == told["weights"]["policy"]["sha256"] == weights
    assert told["policy"]["artifact"] == {"by": "a test"}
    journal = (out / "episodes.jsonl").read_bytes()

    tiny(folder, 2)
    for episodes in (1, 2):  # to read it again and to go on
        with pytest.raises(
            KinemaError, match=rf"weights.safetensors of the policy was {weights[:12]} and is"
        ):
            run(still(folder, episodes), out, quiet=True)
    assert (out / "episodes.jsonl").read_bytes() == journal

    assert run(still(elsewhere), out, quiet=True).overall == first.overall, "the very same ones, elsewhere"


DECIDING = ("weights.safetensors", "config.json", "stats.json", "tokenizer.json", "cards/panda.json")


@pytest.mark.parametrize("name", [*DECIDING, "vae/weights.safetensors"])
@pytest.mark.parametrize(
    "where",
    [
        lambda folder: {"policy": folder_factory(folder)},
        lambda folder: {
            "play": Factory(
                target="a:b", arguments={"eyes": {"target": "c:d", "arguments": {"folder": str(folder)}}}
            )
        },
    ],
    ids=["policy", "eyes of the player"],
)
def test_every_file_that_decides_counts_wherever_it_is_used(
    name: str, where: Callable[[Path], dict[str, Factory]], tmp_path: Path
) -> None:
    folder = artifact(tmp_path / "a")
    before = made_by(**where(folder))
    assert before == made_by(**where(artifact(tmp_path / "copy")))
    (folder / "vae").mkdir()
    (folder / name).write_text("other")
    assert changed(before, made_by(**where(folder)))
    told = artifact(tmp_path / "told", {"provenance.json": "other", "example.safetensors": "other"})
    assert made_by(**where(told)) == before, "how it is told of decides nothing"


def test_code_from_outside_is_known_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "a_policy_of_mine.py"
    module.write_text("class Policy: ...\n")
    factory = Factory(target="a_policy_of_mine:Policy")
    before, judged = made_by(policy=factory), judged_by(factory)
    module.write_text("class Policy: x = 1\n")
    assert changed(before, made_by(policy=factory))
    assert judged_by(factory) != judged
    assert made_by(policy=Factory(target="kinema.bench.expert:ExpertPolicy")) == {}
    assert made_by(policy=Factory(target="nowhere.at.all:Policy")) == {}, "whoever builds it says so"


def test_a_card_of_the_users_own_is_known_by_its_content(tmp_path: Path) -> None:
    card = tmp_path / "mine.yaml"
    card.write_text("name: mine\n")
    arguments = {"bodies": ["panda", str(card)]}
    factory = Factory(target="kinema.bench.tabletop:TabletopBenchmark", arguments=arguments)
    before = made_by(benchmark=factory)
    assert list(before["cards"]) == ["mine.yaml"]
    card.write_text("name: other\n")
    assert changed(before, made_by(benchmark=factory))


def test_a_policy_whose_files_nobody_knows_must_say_the_same_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(episodes: int) -> RunSettings:
        return RunSettings(
            benchmark=Factory(target="toy_benchmark:ToyBenchmark", arguments={"tasks": ("left",)}),
            policy=Factory(target="toy_benchmark:ToldPolicy"),
            episodes=episodes,
        )

    monkeypatch.setenv(toy_benchmark.TOLD, "weights 1")
    run(settings(1), tmp_path, quiet=True)
    monkeypatch.setenv(toy_benchmark.TOLD, "weights 2")
    with pytest.raises(KinemaError, match=r"another policy.*weights 1.*weights 2"):
        run(settings(2), tmp_path, quiet=True)


def test_weights_that_change_while_it_plays_are_noticed_by_the_next_process(tmp_path: Path) -> None:
    """`die` kills its process; what is started in its place would read the new weights."""
    folder = artifact(tmp_path / "policy")
    settings = RunSettings(
        benchmark=Factory(
            target="toy_benchmark:ToyBenchmark", arguments={"tasks": ("left", "die"), "spoils": str(folder)}
        ),
        policy=folder_factory(folder),
        episodes=2,
    )
    with pytest.raises(KinemaError, match=r"while the run was going on, weights\.safetensors"):
        run(settings, tmp_path / "out", quiet=True)
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not kept["complete"]
    assert (kept["overall"]["episodes"], kept["overall"]["errors"]) == (2, 0), "what was played is not lost"


def test_one_file_of_weights_is_known_by_what_sha256sum_prints(tmp_path: Path) -> None:
    one = artifact(tmp_path / "one")
    assert weights_digest(file_digests(one)) == hashlib.sha256(b"w").hexdigest()
    more = artifact(tmp_path / "more", {"vae/weights.safetensors": "v"})
    printed = subprocess.run(
        ["sha256sum", "vae/weights.safetensors", "weights.safetensors"],
        cwd=more,
        capture_output=True,
        check=True,
    )
    assert weights_digest(file_digests(more)) == hashlib.sha256(printed.stdout).hexdigest()
    assert weights_digest({}) == ""


@given(st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=1, max_size=4, unique=True))
def test_the_fresh_seed_is_a_function_of_the_weights_alone(digests: list[str]) -> None:
    assert fresh_seed(digests) == fresh_seed(digests[::-1])
    assert 0 <= fresh_seed(digests) < 2**32
    assert fresh_seed(digests) != fresh_seed([*digests[1:], digests[0][:-1] + "g"])


def test_a_fresh_seed_can_be_computed_by_anybody_and_says_how(tmp_path: Path) -> None:
    factory = folder_factory(artifact(tmp_path / "a"))
    digest = hashlib.sha256(b"w").hexdigest()
    line = f"printf '{PROTOCOL}\\n{digest}\\n' | sha256sum | head -c 8"
    printed = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    drawn = seed_of("fresh", [factory])
    assert drawn.value == int(printed, 16)
    assert digest in drawn.rule
    assert PROTOCOL in drawn.rule
    assert seed_of("fresh", [folder_factory(artifact(tmp_path / "b", {"config.json": "{ }"}))]) == drawn
    other = folder_factory(artifact(tmp_path / "c", {"weights.safetensors": "x"}))
    assert seed_of("fresh", [other]).value != drawn.value
    assert seed_of("fresh", [factory, other]) == seed_of("fresh", [other, factory]), (
        "one seed for a comparison"
    )


@pytest.mark.parametrize("word", ["-1", "1.5", "new", "", "99999999999999999999", "٣"])
def test_other_words_for_a_seed_are_refused(word: str) -> None:
    with pytest.raises(KinemaError, match=r"fresh.*dev.*number"):
        seed_of(word, [])


def test_dev_and_given_seeds_say_what_they_are() -> None:
    assert (seed_of("dev", []).value, seed_of("0", []).value) == (0, 0)
    assert "looked at" in seed_of("dev", []).rule
    assert seed_of("0", []).rule == "given"


HOLD_IT = """
import sys
from pathlib import Path
from kinema.bench.journal import Journal
journal = Journal(Path(sys.argv[1]), {"made_by": {}}, dict)
print("held", flush=True)
sys.stdin.read()
"""


def test_two_runs_never_write_into_one_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "episodes.jsonl"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD_IT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        before = path.read_bytes()
        with pytest.raises(KinemaError, match="another run is writing into"):
            Journal(path, {"made_by": {}}, dict)
        assert path.read_bytes() == before
    finally:
        other.kill()
        other.wait()
    Journal(path, {"made_by": {}}, dict).close()  # what a killed run held is free


@pytest.mark.parametrize(
    "content",
    [
        b"[]\n",
        b"\xff\xfe\n",
        b'{"settings": {"made_by": {}}}\n{"key": 1}\n',
        b'{"settings": {"made_by": {}}}\n7\n',
        b'{"key": ["panda", "button", "clean", 0]}\n',
    ],
)
def test_a_journal_of_something_else_is_refused_in_a_sentence_and_kept(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_bytes(content)
    with pytest.raises(KinemaError, match="choose another --out"):
        Journal(path, {"made_by": {}}, _record)
    assert path.read_bytes() == content


def _record(**fields: Any) -> Any:
    from kinema.bench.episode import EpisodeRecord

    return EpisodeRecord(**fields)
