"""Laws of the world model: segments, conditions, the stock transformer's numbers, artifacts, films."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from kinema.card.load import load_card
from kinema.model.policy import artifact
from kinema.model.world import artifact as world_artifact
from kinema.model.world import mmdit
from kinema.model.world import presets as world_presets
from kinema.model.world.artifact import World, first_picture_scene
from kinema.model.world.change_code import ChangeCode
from kinema.model.world.model import Scene, WorldModel, latents_of, shifted, tokens_of
from kinema.model.world.understanding import Understood, understand
from kinema.model.world.video_vae import VideoVae, latent_frames, to_unit
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape

SENTENCE = "put the red block in the blue bowl"


@pytest.fixture(scope="module")
def world() -> World:
    torch.manual_seed(0)
    vae = ChangeCode(**world_presets.CODE_TINY).eval()
    model = WorldModel(world_presets.tiny()).eval()
    policy = artifact.load(Path(str(files("kinema") / "artifacts" / "nano")), check=False)
    return World(model=model, vae=vae, policy=policy, clips=ClipShape(), provenance={"by": "a test"})


def _first(seed: int = 0, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, 2, 96, 96, 3), np.uint8)


def _scene(world: World, batch: int = 1) -> Scene:
    first = _first(batch=batch)
    told = understand(world.policy, load_card("panda"), first, [SENTENCE] * batch)
    return first_picture_scene(world.vae, first, told, world.clips.frames)


@pytest.mark.parametrize(
    "segments", [[(3, 6, 12), (1, 6, 12)], [(4, 6, 6), (4, 6, 6), (4, 6, 6)], [(2, 6, 12)]]
)
def test_segments_have_temporal_indices_of_their_own(segments: list[mmdit.Segment]) -> None:
    times = mmdit.positions(segments)[:, 0].split([f * h * w for f, h, w in segments])
    ranges = [set(part.tolist()) for part in times]
    assert [len(r) for r in ranges] == [f for f, _, _ in segments]
    for i, mine in enumerate(ranges):
        assert all(mine.isdisjoint(other) for other in ranges[i + 1 :])
    assert min(ranges[0]) > max((t for r in ranges[1:] for t in r), default=-1)  # what is made comes last
    words = mmdit.context_positions(segments, 10, 0)
    assert words.min() > max(t for r in ranges for t in r)


def test_picture_tokens_of_the_context_lie_on_the_cells_they_look_at() -> None:
    video = mmdit.positions([(1, 6, 12)])
    context = mmdit.context_positions([(1, 6, 12)], 5 + 72, 6)[5:]
    by_view = video.view(6, 2, 6, 3).permute(1, 0, 2, 3).reshape(-1, 3)  # canvas to view, row, column
    assert torch.equal(context[:, 1:], by_view[:, 1:])
    assert set(context[:, 0].tolist()).isdisjoint(video[:, 0].tolist())


def test_plain_attention_gives_the_stock_transformers_numbers() -> None:
    torch.manual_seed(1)
    keys = dict(
        patch_size=1, in_channels=8, out_channels=8, num_layers=2, attention_head_dim=32,
        num_attention_heads=2, joint_attention_dim=16, axes_dims_rope=(4, 14, 14), zero_cond_t=True,
    )  # fmt: skip
    net = QwenImageTransformer2DModel(**keys).eval()
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, :3] = False
    shapes = [[(2, 2, 4), (1, 2, 4)]] * 2
    call = dict(
        hidden_states=torch.randn(2, 24, 8), encoder_hidden_states=torch.randn(2, 7, 16),
        encoder_hidden_states_mask=mask, timestep=torch.tensor([0.9, 0.3]), img_shapes=shapes,
        return_dict=False,
    )  # fmt: skip
    with torch.inference_mode():
        mmdit.fit(net, 0, plain=False)
        stock = net(**call)[0]
        mmdit.fit(net, 0, plain=True)
        plain = net(**call)[0]
    torch.testing.assert_close(plain, stock, atol=1e-5, rtol=1e-4)
    net(**call)[0].sum().backward()  # what looked first in inference mode can be trained afterwards
    assert all(p.grad is not None for p in net.transformer_blocks[0].parameters())


def test_tokens_come_back() -> None:
    x = torch.randn(2, 3, 4, 6, 8)
    assert torch.equal(latents_of(tokens_of(x, 2), 4, 3, 4, 2), x)


def test_components_of_first_pictures_are_the_best_linear_code_of_what_they_were_fitted_on() -> None:
    torch.manual_seed(0)
    code = ChangeCode(**world_presets.CODE_TINY)
    cells = (torch.randn(40, 2, 2, 6) @ torch.randn(6, 3 * 16 * 16)).mul(0.1)
    pictures = cells.view(40, 2, 2, 3, 16, 16).permute(0, 3, 1, 4, 2, 5).reshape(40, 3, 32, 32).clamp(-1, 1)
    code.fit_first([pictures[:20], pictures[20:]])
    torch.testing.assert_close(code.basis @ code.basis.T, torch.eye(40), atol=1e-4, rtol=0)
    back = code.decode_first(code.encode_first(pictures))
    assert (back - pictures).square().mean() < 0.01 * pictures.square().mean()


def test_details_are_what_the_code_leaves_and_the_more_there_are_the_less_is_left() -> None:
    torch.manual_seed(0)
    films = torch.randint(0, 255, (6, 3, 9, 32, 32), dtype=torch.uint8)
    left, fitted = [], None
    for details in (40, 8, 0):
        torch.manual_seed(1)
        code = ChangeCode(**{**world_presets.CODE_TINY, "details": details}).eval()
        if fitted is None:
            code.fit_details([to_unit(films[:3]), to_unit(films[3:])])
            fitted = code
        elif details:  # the strongest of the same components
            code.left_basis.copy_(fitted.left_basis[:details])
            code.left_scale.copy_(fitted.left_scale)
        latents = code.encode(films)
        assert latents.shape == (6, 32 + details, 3, 2, 2)
        if details:
            strongest = latents[:, 32, 1:].square().mean()
            torch.testing.assert_close(strongest, torch.tensor(1.0), atol=0.1, rtol=0)
        back = code.decode(latents, films[:, :, 0])
        left.append((back.float() - films.float()).square().mean().item())
        held = code.encode(films[:, :, :1].repeat(1, 1, 5, 1, 1))[:, :, 1]
        torch.testing.assert_close(code.still(films[:, :, 0]), held, atol=1e-3, rtol=0)
    assert left[0] < left[1] < left[2]
    with pytest.raises(ValueError, match="900 channels"):
        ChangeCode(**{**world_presets.CODE_TINY, "details": 868})


def test_pictures_change_one_by_one_and_only_where_their_code_does() -> None:
    torch.manual_seed(0)
    code = ChangeCode(**world_presets.CODE_TINY).eval()
    first, later = torch.rand(2, 3, 96, 96) * 2 - 1, torch.rand(2, 8, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        together = code.encode_later(first, later)
        alone = code.encode_later(first, later[:, 3:4])
        torch.testing.assert_close(together[:, 3:4], alone, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.mean(2), torch.zeros(2, 8, 6, 6), atol=1e-5, rtol=0)
        changed = together.clone()
        changed[:, 5] += 1.0
        films = [code.decode_later(x, first) for x in (together, changed)]
    differs = (films[0] - films[1]).abs().amax((0, 2, 3, 4))
    assert differs[5] > 1e-4
    assert differs[[0, 1, 2, 3, 4, 6, 7]].max() < 1e-5


def test_the_published_code_has_the_same_interface() -> None:
    torch.manual_seed(0)
    keys = dict(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    net = AutoencoderKLQwenImage(**keys, latents_mean=[0.5] * 4, latents_std=[2.0] * 4).eval()
    film = torch.randint(0, 256, (1, 3, 5, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        latents = VideoVae(net).encode(film)
        assert latents.shape == (1, 4, 2, 4, 4)
        raw = net.encode(film.float() / 127.5 - 1).latent_dist.mode()
        torch.testing.assert_close(latents * 2.0 + 0.5, raw)
        back = VideoVae(net).decode(latents)
    assert (back.shape, back.dtype) == (film.shape, torch.uint8)


def test_the_code_is_causal_and_still_films_are_still(world: World) -> None:
    film = torch.from_numpy(_first()[0]).permute(0, 3, 1, 2)[:, :, None].repeat(1, 1, 9, 1, 1)
    changed = film.clone()
    changed[:, :, 5:] = 255 - changed[:, :, 5:]
    with torch.no_grad():
        same, other = world.vae.encode(film), world.vae.encode(changed)
    assert same.shape[2] == latent_frames(9) == 3
    torch.testing.assert_close(same[:, :, :2], other[:, :, :2])
    assert (same[:, :, 2] - other[:, :, 2]).abs().max() > 0.1
    torch.testing.assert_close(same[:, :, 1], same[:, :, 2])
    with pytest.raises(ValueError, match="12"):
        latent_frames(12)


def test_a_film_begins_with_the_given_pictures_and_is_decided_by_its_seed(world: World) -> None:
    first = _first()[0]
    images = {"wrist": first[1], "front": first[0]}
    film = world.imagine(images, SENTENCE, "panda", seed=3)
    assert film.frames.shape == (13, 2, 96, 96, 3)
    assert film.cameras == ("front", "wrist")
    assert film.fps == pytest.approx(10 / 3)
    np.testing.assert_array_equal(film.frames[0], first)
    np.testing.assert_array_equal(world.imagine(images, SENTENCE, "panda", seed=3).frames, film.frames)
    assert (world.imagine(images, SENTENCE, "panda", seed=4).frames != film.frames).any()
    longer = world.imagine(images, SENTENCE, "panda", seed=3, clips=2)
    np.testing.assert_array_equal(longer.frames[:13], film.frames)
    assert len(longer.frames) == 25


def test_one_view_is_enough_and_none_is_refused(world: World) -> None:
    film = world.imagine({"front": _first()[0, 0]}, SENTENCE, "panda")
    assert film.frames.shape == (13, 1, 96, 96, 3)
    with pytest.raises(KinemaError, match="front"):
        world.imagine({}, SENTENCE, "panda")
    with pytest.raises(KinemaError, match="tokens"):
        world.imagine({"front": _first()[0, 0]}, "move the red block " * 15, "panda")


def test_a_body_that_training_never_saw_is_refused(world: World) -> None:
    taught = replace(world, provenance={"clips": {"panda": 3}})
    images = dict(zip(("front", "wrist"), _first()[0]))
    assert len(taught.imagine(images, SENTENCE, "panda").frames) == 13
    with pytest.raises(KinemaError, match="not trained on ur5e; it knows panda"):
        taught.imagine(images, SENTENCE, "ur5e")


def test_given_segments_are_at_flow_time_0_and_carry_no_loss(world: World) -> None:
    scene = _scene(world)
    wanted = scene.still + 0.1
    losses = []

    class Spy(torch.nn.Module):
        def forward(self, **call: object) -> tuple[torch.Tensor]:
            tokens = call["hidden_states"]
            assert isinstance(tokens, torch.Tensor)
            losses.append((tokens, call["img_shapes"]))
            out = torch.zeros(1, tokens.shape[1], 40)
            out[:, 3 * 72 :] = float("nan")  # what comes out for a given token is never looked at
            return (out,)

    model = WorldModel(world_presets.tiny()).eval()
    model.transformer = Spy()
    loss = model(scene, wanted, torch.Generator().manual_seed(0))
    assert torch.isfinite(loss)
    tokens, shapes = losses[0]
    assert shapes[0] == [(3, 6, 12), (1, 6, 12)]
    # the given segment goes in as it is: no noise
    torch.testing.assert_close(tokens[:, 3 * 72 :, :40], tokens_of(scene.given[0], 1))


def test_the_baselines_do_not_see_what_they_must_not(world: World) -> None:
    scene = _scene(world)
    other = understand(world.policy, load_card("panda"), _first(5), ["push the green block to the left"])
    noise = torch.randn(scene.still.shape, generator=torch.Generator().manual_seed(0))

    def differs(conditioning: str, understood: Understood) -> bool:
        torch.manual_seed(0)
        model = WorldModel(world_presets.told(world_presets.tiny(), conditioning)).eval()  # type: ignore[arg-type]
        a = model.sample(scene, noise, steps=1)
        b = model.sample(Scene(given=scene.given, still=scene.still, understood=understood), noise, steps=1)
        return bool((a - b).abs().max() > 1e-6)

    same_words = Understood(
        words=scene.understood.words, word_mask=scene.understood.word_mask, pictures=other.pictures,
        where=other.where, seen=other.seen,
    )  # fmt: skip
    assert differs("multimodal", same_words)
    assert not differs("text", same_words)
    assert differs("text", other)
    assert not differs("none", other)


def test_flow_times_move_to_the_noise_end_with_the_length() -> None:
    model = WorldModel(world_presets.tiny())
    assert 1.0 <= model.shift_for(72) < model.shift_for(288) < model.shift_for(4096)
    u = torch.linspace(0, 1, 11)
    torch.testing.assert_close(shifted(u, 1.0), u)
    assert shifted(torch.tensor(0.5), 3.0) == 0.75
    assert (shifted(u, 3.0).diff() > 0).all()


def test_an_artifact_imagines_the_same_film_and_a_damaged_one_says_so(world: World, tmp_path: Path) -> None:
    world_artifact.save(tmp_path / "world", world, _scene(world))
    loaded = world_artifact.load(tmp_path / "world")
    images = dict(zip(("front", "wrist"), _first()[0]))
    mine, theirs = (w.imagine(images, SENTENCE, "panda", seed=1).frames for w in (world, loaded))
    assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 2
    assert loaded.provenance == {"by": "a test"}
    assert (tmp_path / "world" / "model_index.json").is_file()
    (tmp_path / "world" / "vae" / "config.json").unlink()
    with pytest.raises(KinemaError, match="world"):
        world_artifact.load(tmp_path / "world")
    with pytest.raises(KinemaError, match=r"world\.json"):
        world_artifact.load(tmp_path)


def test_the_full_preset_has_the_published_size() -> None:
    with torch.device("meta"):
        net = QwenImageTransformer2DModel(**world_presets.full().transformer)
    count = sum(p.numel() for p in net.parameters())
    assert round(count / 1e9, 2) == 20.43
    assert (net.config.num_layers, net.config.num_attention_heads, net.config.attention_head_dim) == (
        60,
        24,
        128,
    )
    assert net.config.joint_attention_dim == 3584


def test_stock_weights_load_from_a_diffusers_folder(tmp_path: Path) -> None:
    keys = dict(num_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24)
    QwenImageTransformer2DModel(in_channels=64, axes_dims_rope=(2, 6, 8), **keys).save_pretrained(
        tmp_path / "transformer"
    )
    model = world_presets.load_full(tmp_path, torch.float32)
    assert model.transformer.config.zero_cond_t
    told = Understood(
        words=torch.randn(1, 5, 3584), word_mask=torch.ones(1, 5, dtype=torch.bool),
        pictures=torch.zeros(1, 1, 0, 3584), where=torch.zeros(1, 1, 0, 3),
        seen=torch.ones(1, dtype=torch.bool),
    )  # fmt: skip
    scene = Scene(given=(torch.randn(1, 16, 1, 4, 4),), still=torch.zeros(1, 16, 2, 4, 4), understood=told)
    assert model.eval().sample(scene, torch.randn(1, 16, 2, 4, 4), steps=2).shape == (1, 16, 2, 4, 4)
