"""A released backbone on a data set of one's own: trained, adapted, exported, reloaded and served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema import cli
from kinema.card.load import load_card
from kinema.commands.serve.served import served
from kinema.data.lerobot_write import Writer
from kinema.model.policy import artifact, released
from kinema.model.policy.policy import Policy
from kinema.schema import Observation, Question
from released_checkpoint import make_released

PANDA = load_card("panda")
ON_WORDS, ON_DECODER = (("--lora", "4", "--lora-on", part) for part in ("words", "decoder"))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_released(tmp_path_factory.mktemp("released") / "tiny")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("own") / "set", np.random.default_rng(0)
    with Writer(root, card=PANDA, image_size=32) as writer:
        for task in ("pick up the red block", "push the drawer"):
            low, high = np.array([channel.range for channel in PANDA.actions], np.float32).T
            floor, top = np.array([channel.range for channel in PANDA.states], np.float32).T
            writer.add_episode(
                images={c: rng.integers(0, 256, (20, 32, 32, 3), np.uint8) for c in PANDA.camera_names},
                state=rng.uniform(floor, top, (20, len(floor))).astype(np.float32),
                action=rng.uniform(low, high, (20, len(low))).astype(np.float32), task=task,
            )  # fmt: skip
    return root


@pytest.fixture
def train(recorded: Path, tmp_path: Path) -> Callable[..., artifact.Artifact]:
    """Runs `kinema train finetune` for some steps and loads what it wrote, which answers its own example."""

    def run(*words: Any, steps: int = 2, out: str = "run") -> artifact.Artifact:
        told = ["--data", recorded, "--card", "panda", "--steps", steps, "--batch-size", 4]
        folder = tmp_path / out
        code = cli.exit_code(["train", "finetune", *map(str, [*told, "--out", folder, *words])])
        assert code == 0
        return artifact.load(folder / "artifact")

    return run


def test_a_plan_reads_no_weights(
    recorded: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(released.Released, "load", None)
    told = ["--data", str(recorded), "--card", "panda", "--backbone", str(backbone), "--preset", "tiny"]
    words = ["--freeze", "backbone.*", "--batch-size", "4", "--steps", "5"]
    assert cli.exit_code(["train", "finetune", "--plan", *told, *words]) == 0
    said = capsys.readouterr().out
    assert "20 in 5 steps" in said
    trained = next(line for line in said.splitlines() if line.startswith("trained"))
    whole = next(line for line in said.splitlines() if line.startswith("parameters in all"))
    assert trained.split()[-2:] != whole.split()[-2:]  # the decoder alone


def test_a_released_backbone_trains_exports_reloads_and_is_served(
    train: Callable[..., artifact.Artifact], backbone: Path
) -> None:
    loaded = train("--backbone", backbone, "--preset", "tiny")
    assert loaded.policy.config.text["vocab_size"] > loaded.tokenizer.vocab_size > 300
    assert loaded.policy.config.closing
    answered = served(str(loaded.folder))
    seen = Observation(
        images={name: np.zeros((48, 64, 3), np.uint8) for name in PANDA.camera_names},
        state=np.array([np.mean(channel.range) for channel in PANDA.states], np.float32),
        instruction="pick up the red block", time_s=0.0,
    )  # fmt: skip
    chunk = answered.policy.answer([Question(observation=seen, card="panda", noise_seed=0)])[0]
    assert np.isfinite(chunk.values).all()
    assert chunk.values.shape[1] == len(PANDA.actions)


def test_a_run_goes_on_without_its_backbone(train: Callable[..., artifact.Artifact], backbone: Path) -> None:
    """All that is needed lies in the checkpoint."""
    half = train("--backbone", backbone, "--preset", "tiny", steps=2)
    assert half.provenance["steps"] == 2
    rest = train("--resume", steps=4)
    assert rest.provenance["steps"] == 4
    assert rest.policy.config == half.policy.config


def test_adapters_are_what_learns_and_are_merged(
    train: Callable[..., artifact.Artifact], backbone: Path
) -> None:
    pytest.importorskip("peft")
    before = train("--backbone", backbone, "--preset", "tiny", "--lr", "*=0.1", "--no-average", out="before")
    adapters = ("--lora", "4", "--lora-on", "backbone", "--lora-on", "decoder", "--lr", "*lora_*=1")
    loaded = train("--init", before.folder, *adapters, "--no-average")
    # what is written is a policy like any other
    assert loaded.policy.state_dict().keys() == Policy(loaded.policy.config).state_dict().keys()
    after = loaded.policy.state_dict()
    changed = {
        name for name, value in before.policy.state_dict().items() if not torch.equal(value, after[name])
    }
    inside = {name for name in changed if name.startswith(("backbone.", "decoder."))}
    matrices = (
        "q_proj k_proj v_proj o_proj in_proj_qkv in_proj_z out_proj gate_proj up_proj down_proj "
        "q kv proj gate_up down"
    )
    assert {name.split(".")[-2] for name in inside} == set(matrices.split())
    assert all(".layers." in name or ".blocks." in name for name in inside)
    assert "context_in.weight" in changed - inside  # what is in no adapted part learns as ever


def test_a_decoder_moves_to_another_backbone(
    train: Callable[..., artifact.Artifact], backbone: Path, tmp_path: Path
) -> None:
    first = train("--backbone", backbone, "--preset", "tiny", out="first")
    other = make_released(tmp_path / "other", layers=2)
    second = train(
        "--backbone", other, "--init", first.folder, "--freeze", "decoder.*", steps=1, out="second"
    )
    assert second.policy.config.text["num_hidden_layers"] == 2
    for name, value in first.policy.decoder.state_dict().items():
        assert torch.equal(value, second.policy.decoder.state_dict()[name])
    assert second.provenance["started_from"]["recipe"] == "finetune"


def test_an_artifact_goes_on_with_data_of_ones_own(
    train: Callable[..., artifact.Artifact], backbone: Path
) -> None:
    first = train("--backbone", backbone, "--preset", "tiny", out="first")
    second = train("--init", first.folder, "--lr-scale", "0.1", steps=1, out="second")
    assert second.policy.config == first.policy.config


def _other_architecture(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "llama"}))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs what it begins with: --backbone PATH_OR_NAME or --init ARTIFACT"),
        (("--preset", "tiny"), "--revision and --preset are of a backbone"),
        (("--backbone", "BACKBONE", "--preset", "huge"), "unknown preset 'huge'"),
        (("--backbone", "BACKBONE", "--lora-on", "decoder"), "need a rank: --lora 16"),
        (("--backbone", "BACKBONE", "--preset", "tiny", *ON_WORDS), "not on 'words'"),
        (("--backbone", "BACKBONE", "--preset", "tiny", *ON_DECODER), "this decoder begins anew"),
        (("--backbone", "SPOILT"), "is a llama checkpoint; a backbone is one of Qwen3.5"),
        (("--backbone", "BACKBONE", "--card", "ur5e"), "ur5e"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    words: tuple[str, ...], said: str, backbone: Path, recorded: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    spoilt = make_released(tmp_path / "spoilt")
    _other_architecture(spoilt)
    paths = {"BACKBONE": str(backbone), "SPOILT": str(spoilt)}
    out = tmp_path / "run"
    told = ["--data", str(recorded), "--out", str(out), *(paths.get(word, word) for word in words)]
    assert cli.exit_code(["train", "finetune", *told]) == 2
    found = capsys.readouterr().err.splitlines()[-1]
    assert found.startswith("kinema: ")
    assert said in found
    assert not out.exists()


def test_other_recipes_say_that_they_have_data_and_network_of_their_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.exit_code(["train", "debug", "--out", str(tmp_path / "run"), "--card", "panda"]) == 2
    said = "debug has its own data and network; card can be told to `nano` or `finetune`"
    assert said in capsys.readouterr().err
