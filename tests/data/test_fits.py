"""What a set says and what its numbers show is what is learnt, or nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.card.load import card_names, load_card
from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.data.clips import ClipSource
from kinema.data.fit_channels import share_outside
from kinema.data.fits import compare, findings, fit, open_set
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.data.metadata import ACTION, EXECUTED, STATE, Metadata
from kinema.data.recording import Recording
from kinema.data.set_map import AS_IT_IS, ChannelMap, SetMap, read_set_map
from kinema.data.source import from_dataset
from kinema.schema import KinemaError
from kinema.space.clip_shape import ClipShape
from kinema.space.units import UNITS
from laws import examples

PANDA = load_card("panda")
SIZE = 16


def declared(card, **changes):
    """Metadata of a set that says of itself exactly what the card says."""
    colours = {"dtype": "video", "shape": [SIZE, SIZE, 3], "names": ["height", "width", "channels"]}
    features = {f"observation.images.{name}": colours for name in card.camera_names}
    for key, channels in (("observation.state", card.states), ("action", card.actions)):
        features[key] = {"dtype": "float32", "shape": [len(channels)], "names": [c.name for c in channels]}
    made = {"robot_type": card.name, "fps": card.control_hz, "features": features} | changes
    return Metadata(root=Path("set"), version="v3.0", tasks=(), episodes=(), info={}, **made)


def verdicts(found):
    return {finding.verdict for finding in found}


@pytest.mark.parametrize("name", card_names())
def test_a_set_that_says_what_the_card_says_is_the_same(name):
    card = load_card(name)
    result = compare(declared(card), card, AS_IT_IS)
    assert verdicts(result.findings) == {"same"}
    values = np.random.default_rng(0).normal(size=(4, len(card.actions))).astype(np.float32)
    np.testing.assert_array_equal(result.actions(values), values)


@examples(60)
@given(st.sampled_from(card_names()), st.randoms(use_true_random=False), st.booleans())
def test_any_order_of_the_same_names_is_taken_by_name(name, random, suffixed):
    card = load_card(name)
    there = declared(card)
    wanted = {}
    for key, channels in (("observation.state", card.states), ("action", card.actions)):
        shuffled = [c.name for c in channels]
        random.shuffle(shuffled)
        wanted[key] = [shuffled.index(c.name) for c in channels]
        there.features[key]["names"] = [f"{n}.pos" for n in shuffled] if suffixed else [shuffled]
    result = compare(there, card, AS_IT_IS)
    assert "refused" not in verdicts(result.findings)
    row = np.arange(len(card.actions), dtype=np.float32)[None]
    assert result.actions(row)[0].tolist() == wanted["action"]
    row = np.arange(len(card.states), dtype=np.float32)[None]
    assert result.states(row)[0].tolist() == wanted["observation.state"]


@examples(60)
@given(st.sampled_from(card_names()), st.data())
def test_a_name_that_is_wrong_missing_or_twice_is_refused_and_named(name, data):
    card = load_card(name)
    key = data.draw(st.sampled_from(["observation.state", "action"]))
    there = declared(card)
    names = list(there.features[key]["names"])
    at = data.draw(st.integers(0, len(names) - 1))
    lost = names[at]
    names[at] = data.draw(st.sampled_from(["something", "", names[at - 1]]))
    there.features[key]["names"] = names
    result = compare(there, card, AS_IT_IS)
    refused = [f for f in result.findings if f.verdict == "refused"]
    assert any(repr(lost) in f.what or repr(lost) in f.wanted for f in refused)
    # saying which it is mends it, unless another channel's name is now there twice
    if names.count(names[at]) == 1:
        told = SetMap(channels={lost: ChannelMap(key=names[at])})
        mended = compare(there, card, told)
        both = (mended.states if key == "observation.state" else mended.actions) is not None
        assert both


@pytest.mark.parametrize("name", card_names())
@pytest.mark.parametrize("names", [None, "motors", ["a"]])
def test_channels_without_names_are_not_guessed(name, names):
    card = load_card(name)
    there = declared(card)
    there.features["action"]["names"] = names
    result = compare(there, card, AS_IT_IS)
    if len(card.actions) > 1:
        assert result.actions is None
        keys = {c.name: ChannelMap(action_key=str(i)) for i, c in enumerate(card.actions)}
        assert compare(there, card, SetMap(channels=keys)).actions is not None


@pytest.mark.parametrize("where", ["units", "unit"])
@pytest.mark.parametrize("unit", ["deg", "degrees", "rad", "furlongs"])
def test_units_that_the_set_says_are_converted_or_refused(unit, where):
    card = load_card("so101")
    there = declared(card)
    joint = next(i for i, c in enumerate(card.actions) if c.unit == "rad")
    there.features["action"][where] = [unit if i == joint else None for i in range(len(card.actions))]
    result = compare(there, card, AS_IT_IS)
    if unit == "furlongs":
        assert result.actions is None
        return
    row = np.full((1, len(card.actions)), 0.5, np.float32)
    expected = 0.5 if unit == "rad" else np.deg2rad(0.5)
    assert result.actions(row)[0, joint] == pytest.approx(expected)


@examples(50)
@given(st.sampled_from(card_names()), st.data())
def test_a_map_outranks_the_unit_that_a_set_says(name, data):
    card = load_card(name)
    at = data.draw(st.integers(0, len(card.actions) - 1))
    channel = card.actions[at]
    units = st.sampled_from([u.name for u in UNITS.values() if u.of == channel.unit])
    said, mapped = data.draw(units), data.draw(units)
    there = declared(card)
    there.features["action"]["units"] = [said if i == at else None for i in range(len(card.actions))]
    row = np.full((1, len(card.actions)), 0.5, np.float32)
    alone, told = (
        compare(there, card, AS_IT_IS),
        compare(there, card, SetMap(channels={channel.name: ChannelMap(unit=mapped)})),
    )
    assert alone.actions(row)[0, at] == pytest.approx(0.5 * UNITS[said].scale)
    assert told.actions(row)[0, at] == pytest.approx(0.5 * UNITS[mapped].scale)
    assert any(f"the set says {said}" in str(f) for f in told.findings) == (said != mapped)


@pytest.mark.parametrize("name", card_names())
def test_a_set_of_ours_says_the_units_of_its_card(name):
    """And keeps them: a card that counted another way would read the same motion."""
    card = load_card(name)
    columns = {key: np.zeros((1, 1)) for key in (STATE, ACTION, EXECUTED)}
    features = Recording(card=card, image_size=16, extra={}).features(columns)
    assert features[STATE]["units"] == [c.unit for c in card.states]
    assert features[ACTION]["units"] == features[EXECUTED]["units"] == [c.unit for c in card.actions]


@examples(100)
@given(st.sampled_from(card_names()), st.data())
def test_numbers_in_another_unit_are_seen_and_the_named_unit_mends_them(name, data):
    """Any channel of any card, moved over its range but recorded in any other unit of its kind."""
    card = load_card(name)
    at = data.draw(st.integers(0, len(card.actions) - 1))
    channel = card.actions[at]
    others = [u for u in UNITS.values() if u.of == channel.unit and u.scale != 1]
    if not others:
        return
    unit = data.draw(st.sampled_from(others))
    low, high = channel.range
    true = np.linspace(low, high, 50)
    assert share_outside(true, channel) == 0
    assert share_outside(true / unit.scale, channel) > AS_IT_IS.outside
    scale = ChannelMap(unit=unit.name).to_card(channel)
    np.testing.assert_allclose(true / unit.scale * scale.scale + scale.offset, true, atol=1e-9)


@examples(100)
@given(
    st.sampled_from(card_names()), st.integers(0, 100), st.floats(-200, 200), st.floats(-200, 200),
)  # fmt: skip
def test_ends_put_the_sets_ends_on_the_cards(name, at, a, b):
    channel = load_card(name).actions[at % len(load_card(name).actions)]
    if abs(a - b) < 1e-3:
        return
    scale = ChannelMap(ends=(a, b)).to_card(channel)
    assert scale.scale * a + scale.offset == pytest.approx(channel.range[0], abs=1e-6)
    assert scale.scale * b + scale.offset == pytest.approx(channel.range[1], abs=1e-6)


@pytest.mark.parametrize("change", [
    {"shape": [SIZE, SIZE, 1]}, {"info": {"is_depth_map": True}}, {"info": {"video.is_depth_map": True}},
    {"info": {"video.pix_fmt": "gray12le"}},
    {"shape": [1, SIZE, SIZE], "names": ["channels", "height", "width"]},
])  # fmt: skip
def test_pictures_that_are_not_colours_are_refused(change):
    there = declared(PANDA)
    there.features["observation.images.front"] = there.features["observation.images.front"] | change
    refused = [f for f in compare(there, PANDA, AS_IT_IS).findings if f.verdict == "refused"]
    assert [f.what for f in refused] == ["camera 'front'"]


@pytest.mark.parametrize("shape", [[SIZE, SIZE, 3], [3, SIZE, SIZE], [480, 640, 3]])
def test_colours_of_any_size_and_order_of_axes_are_taken(shape):
    there = declared(PANDA)
    there.features["observation.images.front"]["shape"] = shape
    there.features["observation.images.front"]["names"] = None
    assert "refused" not in verdicts(compare(there, PANDA, AS_IT_IS).findings)


@pytest.mark.parametrize("name", card_names())
@pytest.mark.parametrize("fps", [5, 10, 15, 29.97, 30, 50, 80, 100])
def test_another_rate_is_converted_where_that_means_something(name, fps):
    card = load_card(name)
    result = compare(declared(card, fps=fps), card, AS_IT_IS)
    (rate,) = [f for f in result.findings if f.what == "rate"]
    if abs(fps / card.control_hz - 1) < 2e-3:  # as 29.97 and 30 are
        assert rate.verdict == "same"
    elif any(c.unit == "normalised" for c in card.actions):
        assert rate.verdict == "refused"
    else:
        assert rate.verdict == "converted"
        assert result.ratio == fps / card.control_hz


@pytest.mark.parametrize("change", [
    {"robot_type": "ur5e"}, {"robot_type": None}, {"fps": 30.0},
])  # fmt: skip
def test_a_recording_goes_on_only_with_exactly_its_own_kind(change):
    recording = Recording(card=PANDA, image_size=SIZE, extra={})
    recording.check_continues(declared(PANDA))
    with pytest.raises(KinemaError, match="cannot be resumed: "):
        recording.check_continues(declared(PANDA, **change))
    for key in ("action", "observation.state"):
        there = declared(PANDA)
        there.features[key]["names"] = there.features[key]["names"][::-1]
        with pytest.raises(KinemaError, match="channels"):
            recording.check_continues(there)


# --- with a set on disk ---------------------------------------------------------------------------------


def path(T, start=0.4):
    state = np.zeros((T, 7))
    state[:, 0], state[:, 2], state[:, 6] = start + 0.1 * np.linspace(0, 1, T), 0.2, 1.0
    return state


def record(root, *, card=PANDA, state=None, task="push it", T=12, points=False):
    rng = np.random.default_rng(0)
    with Writer(root, card=card, image_size=SIZE) as writer:
        for _ in range(2):
            values = path(T) if state is None else state
            images = {
                name: np.full((T, SIZE, SIZE, 3), 40 + 60 * v, np.uint8)
                for v, name in enumerate(card.camera_names)
            }
            extra = {"points": rng.random((T, len(images), 2, 3)).astype(np.float32)} if points else {}
            writer.add_episode(images=images, state=values, action=values, task=task, **extra)
    return root


def edit(root, change):
    file = root / "meta/info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


@pytest.fixture(scope="module")
def gripper_of_libero(tmp_path_factory):
    """-1 open, 1 closed, for a card of 0 closed to 1 open."""
    state = path(12)
    state[:, 6] = np.where(np.arange(12) < 6, -1.0, 1.0)
    return record(tmp_path_factory.mktemp("libero") / "set", state=state)


def test_a_gripper_of_another_sense_is_refused_with_both_mends(gripper_of_libero):
    dataset = Dataset.open(gripper_of_libero)
    said = r"set does not fit card 'panda': .*'gripper'.* -1 … 1, 50 % .* 0 … 1"
    for ask in (lambda: from_dataset(dataset, PANDA, image_size=SIZE), lambda: fit(dataset, PANDA)):
        with pytest.raises(KinemaError, match=said) as error:
            ask()
        assert "{gripper: {ends: [-1, 1]}}" in str(error.value)
        assert "{gripper: {ends: [1, -1]}}" in str(error.value)
        assert "percent" not in str(error.value)
    told = SetMap(channels={"gripper": ChannelMap(ends=(1, -1))})
    fitting = fit(dataset, PANDA, told)
    assert fitting.action[:6, 6].tolist() == [1.0] * 6  # -1 was open
    assert fitting.action[6:12, 6].tolist() == [0.0] * 6
    with pytest.raises(KinemaError, match="does not fit its numbers"):
        fit(dataset, PANDA, SetMap(channels={"gripper": ChannelMap(unit="percent", zero=-300)}))


def test_a_map_in_the_folder_is_read_wherever_the_set_is_opened(gripper_of_libero):
    file = gripper_of_libero / "kinema.yaml"
    file.write_text("channels: {gripper: {ends: [1, -1]}}\n")
    try:
        source = from_dataset(Dataset.open(gripper_of_libero), PANDA, image_size=SIZE)
        assert source.action[np.zeros(1, int)][0, 6] == 1
        file.write_text("chanels: {}\n")
        with pytest.raises(KinemaError, match=r"kinema.yaml: chanels: unknown key; did you mean 'channels'"):
            from_dataset(Dataset.open(gripper_of_libero), PANDA, image_size=SIZE)
    finally:
        file.unlink()


@pytest.mark.parametrize(("text", "said"), [
    ("channels: {x: {unit: inch}}", "unknown unit 'inch'"), ("outside: 2", "outside"),
    ("channels: {x: {unit: deg, ends: [0, 1]}}", "say one of"), ("channels: {x: {ends: [1, 1]}}", "differ"),
    ("channels: {x: {scale: 0}}", "not 0"), ("channels: {x: {zero: 3}}", "belong to a unit"),
    ("- a", "mapping"),
    ("channels: {x: {scale: '2'}}", "number"), ("cameras: {front: 3}", "string"), ("a: b: c", "map.yaml"),
])  # fmt: skip
def test_a_map_is_read_strictly(tmp_path, text, said):
    file = tmp_path / "map.yaml"
    file.write_text(text)
    with pytest.raises(KinemaError, match=said):
        read_set_map(file)


def test_names_on_the_left_of_a_map_are_the_cards(gripper_of_libero):
    dataset = Dataset.open(gripper_of_libero)
    for told in (SetMap(channels={"griper": ChannelMap()}), SetMap(cameras={"top": "front"})):
        with pytest.raises(KinemaError, match="names of the card stand on the left"):
            fit(dataset, PANDA, told)


def test_degrees_are_refused_and_what_the_message_says_mends_it(tmp_path):
    card = load_card("so101")
    state = np.zeros((12, 6))
    state[:, 1], state[:, 5] = np.linspace(-80, -20, 12), np.linspace(0, 100, 12)
    dataset = Dataset.open(record(tmp_path / "set", card=card, state=state))
    joint, gripper = card.actions[1].name, card.actions[5].name
    with pytest.raises(KinemaError, match=rf"{joint}: {{unit: deg}}.*{gripper}: {{unit: percent}}"):
        from_dataset(dataset, card, image_size=SIZE)
    told = SetMap(channels={joint: ChannelMap(unit="deg"), gripper: ChannelMap(unit="percent")})
    fitting = fit(dataset, card, told)
    np.testing.assert_allclose(fitting.action[:12, 1], np.deg2rad(state[:, 1]), atol=1e-6)
    np.testing.assert_allclose(fitting.state[:12, 5], state[:, 5] / 100, atol=1e-6)


@pytest.mark.parametrize("name", ["panda", "aloha"])
def test_few_frames_outside_are_said_and_more_are_refused(tmp_path, name):
    card = load_card(name)
    middle = np.mean([c.range for c in card.actions], 1)
    width = np.ptp([c.range for c in card.actions], axis=1)
    state = np.tile(middle, (200, 1))
    state[7, 0] = card.actions[0].range[1] + 0.2 * width[0]
    dataset = Dataset.open(record(tmp_path / "set", card=card, state=state, T=200))
    assert "note" in verdicts(f for f in fit(dataset, card).findings if "channel" in f.what)
    with pytest.raises(KinemaError, match=repr(card.actions[0].name)):
        fit(dataset, card, SetMap(outside=0.001))


def test_cameras_are_found_by_the_map_and_points_go_with_them(tmp_path):
    front, wrist = PANDA.cameras
    named = (wrist.model_copy(update={"name": "front"}), front.model_copy(update={"name": "top"}))
    card = PANDA.model_copy(update={"cameras": named})
    dataset = Dataset.open(record(tmp_path / "set", card=card, points=True))
    with pytest.raises(KinemaError, match=r"camera 'wrist'.*cameras: {wrist: \.\.\.}"):
        from_dataset(dataset, PANDA, image_size=SIZE)
    told = SetMap(cameras={"front": "top", "wrist": "front"})
    fitting = fit(dataset, PANDA, told)
    assert fitting.cameras == ("top", "front")
    np.testing.assert_array_equal(fitting.points, dataset.points[:, ::-1])
    with pytest.raises(KinemaError, match="each camera of the card needs its own"):
        fit(dataset, PANDA, SetMap(cameras={"front": "top", "wrist": "top"}))


@pytest.mark.parametrize("robot", [None, "so101_follower", "ur5e"])
def test_another_or_no_robot_is_refused_with_its_folder_until_the_map_says_whose_it_is(tmp_path, robot):
    root = record(tmp_path / "set")
    edit(root, lambda info: info.update(robot_type=robot))
    dataset = Dataset.open(root)
    for open_it in (
        lambda: from_dataset(dataset, PANDA, image_size=SIZE),
        lambda: ClipSource(dataset, PANDA, ClipShape(frames=5, every=1, size=SIZE)),
    ):
        with pytest.raises(KinemaError, match=rf"{root}.*robot_type.*card: panda"):
            open_it()
    (root / "kinema.yaml").write_text("card: panda\n")
    from_dataset(dataset, PANDA, image_size=SIZE)
    ClipSource(dataset, PANDA, ClipShape(frames=5, every=1, size=SIZE))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_names_its_frame(tmp_path, bad):
    dataset = Dataset.open(record(tmp_path / "set"))
    dataset.action[17, 2] = bad
    with pytest.raises(KinemaError, match=r"action channel 'z'.*(nan|inf) in episode 1, frame 5"):
        fit(dataset, PANDA)


@pytest.mark.parametrize(
    "task", ["w" * (MAX_INSTRUCTION_CHARS + 1), "pick\nplace", "say <|pad|>", "\ufeffpick"]
)
def test_an_instruction_that_no_policy_can_be_given_names_set_task_and_episode(tmp_path, task):
    dataset = Dataset.open(record(tmp_path / "set"))
    dataset.tasks[0] = task
    with pytest.raises(KinemaError, match=r"set does not fit .*task 0, episode 0: the set has '"):
        from_dataset(dataset, PANDA, image_size=SIZE)


def test_what_the_body_does_not_have_is_left_out_only_when_told(tmp_path):
    root = record(tmp_path / "set")
    arm = PANDA.model_copy(update={"name": "arm", "actions": PANDA.actions[:6], "states": PANDA.states[:6]})
    dataset = Dataset.open(root)
    with pytest.raises(KinemaError, match=r"also \['gripper'\].*leave_out: \['gripper'\]"):
        fit(dataset, arm, SetMap(card="arm"))
    fitting = fit(dataset, arm, SetMap(card="arm", leave_out=("gripper",)))
    assert fitting.action.shape[1] == 6


@pytest.mark.parametrize("opens", [True, False])
def test_a_gripper_that_begins_closed_is_told_of_and_not_refused(tmp_path, caplog, opens):
    state = path(12)
    state[:, 6] = np.arange(12) > 6 if opens else 0
    dataset = Dataset.open(record(tmp_path / "set", state=state))
    fit(dataset, PANDA)
    assert ("gripper: {ends: [1, 0]}" in caplog.text) == opens
    caplog.clear()
    turned = fit(dataset, PANDA, SetMap(channels={"gripper": ChannelMap(ends=(1, 0))}))
    assert "other way" not in caplog.text
    np.testing.assert_array_equal(turned.action[:12, 6], 1 - state[:, 6])


@pytest.mark.parametrize("name", ["panda_libero", "sawyer_metaworld"])
@pytest.mark.parametrize("first", [-1.0, 1.0])
def test_a_benchmarks_own_numbers_are_its_cards_and_others_are_told_of(tmp_path, caplog, name, first):
    """Demonstrations begin open, at the card's -1; a set that begins at 1 perhaps counts the other way."""
    card = load_card(name)
    state = np.tile([sum(c.range) / 2 for c in card.states], (12, 1))
    action = np.zeros((12, len(card.actions)))
    action[:, -1] = np.where(np.arange(12) < 6, first, -first)
    with Writer(tmp_path / "set", card=card, image_size=SIZE) as writer:
        images = {c: np.full((12, SIZE, SIZE, 3), 90, np.uint8) for c in card.camera_names}
        writer.add_episode(images=images, state=state, action=action, task="push it")
    fitting = fit(Dataset.open(tmp_path / "set"), card)
    np.testing.assert_array_equal(fitting.action, action.astype(np.float32))
    assert ("begin closed" in caplog.text) == (first == 1)
    if first == 1:
        assert "1 closed, -1 open" in caplog.text
        turned = fit(
            Dataset.open(tmp_path / "set"), card, SetMap(channels={"gripper": ChannelMap(ends=(1, -1))})
        )
        assert "gripper: {ends: [1, -1]}" in caplog.text
        np.testing.assert_array_equal(turned.action[:, -1], -action[:, -1])


def test_columns_of_other_names_are_opened_by_the_map(tmp_path):
    root = tmp_path / "set"
    names = [c.name for c in PANDA.actions]
    commands = path(12)
    commands[:, 0] += 0.01
    with Writer(root, card=PANDA, image_size=SIZE, features={"commands": names}) as writer:
        images = {c: np.full((12, SIZE, SIZE, 3), 90, np.uint8) for c in PANDA.camera_names}
        writer.add_episode(
            images=images, state=path(12), action=path(12), task="push it", extra={"commands": commands}
        )
    (root / "kinema.yaml").write_text("columns: {action: commands}")
    fitting = fit(open_set(root), PANDA)
    np.testing.assert_allclose(fitting.action, commands, atol=1e-6)
    with pytest.raises(KinemaError, match="has no column 'command'"):
        open_set(root, SetMap(columns={"action": "command"}))


def test_everything_that_differs_is_shown_at_once(gripper_of_libero):
    found = findings(Dataset.open(gripper_of_libero), replace_rate(PANDA, 20), None)
    assert {"converted", "refused", "same"} <= verdicts(found)


def replace_rate(card, hz):
    return card.model_copy(update={"control_hz": hz})
