"""The page holds everything it shows; rerun gets the whole episode; loading is measured."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from kinema.data.bench import measure_lerobot, measure_loading
from kinema.data.inspect import inspect, open_in_rerun
from kinema.schema import KinemaError


def test_the_page_shows_the_data_set_and_needs_nothing_else(tmp_path, recorded_once, episodes):
    inspect(recorded_once, tmp_path / "out" / "page.html")
    page = (tmp_path / "out" / "page.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)(?!#)[^"]+"', page)  # nothing is fetched
    assert "None found" in page
    for episode in episodes:
        assert episode["task"] in page
    pictures = [Image.open(io.BytesIO(base64.b64decode(p))) for p in re.findall(r"base64,([^\"]+)", page)]
    assert len(pictures) == len(episodes) * 2 * 3  # two cameras; first, middle and last frame
    first = (
        np.asarray(pictures[0]).reshape(-1, 3).astype(int)
    )  # the first frame of the first episode, enlarged
    assert np.abs(np.median(first, 0) - episodes[0]["images"]["front"][0, 0, 0]).max() < 6
    assert page.count("<svg") == 3  # lengths, state, action
    for row in ("observation.state: gripper", "action: x", "0 … 1 fraction"):
        assert row in page


def test_values_beyond_the_cards_limits_are_marked(tmp_path, recorded_once):
    inspect(recorded_once, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    (gripper,) = re.findall(r"<tr><td>action: gripper</td>.*?</tr>", page)
    assert gripper.count('class="bad"') == 2  # drawn from a normal distribution: below 0 and above 1
    (rx,) = re.findall(r"<tr><td>action: rx</td>.*?</tr>", page)
    assert 'class="bad"' not in rx


def test_faults_and_foreign_bodies_are_shown_not_hidden(tmp_path, recorded_once):
    root = shutil.copytree(recorded_once, tmp_path / "set<b>")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"robot_type": "<i>nobody</i>", "total_tasks": 7}))
    inspect(root, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "counts disagree: meta/info.json: total_tasks is 7" in page
    assert "there are no limits to compare with" in page
    assert "<i>" not in page  # words of the data set are escaped
    assert "set&lt;b&gt;" in page


def test_an_episode_opens_in_rerun(tmp_path, recorded_once):
    pytest.importorskip("rerun")
    open_in_rerun(recorded_once, 2, save_to=tmp_path / "episode.rrd")
    content = (tmp_path / "episode.rrd").read_bytes()
    for entity in (b"camera/front", b"camera/wrist", b"state/gripper", b"action/x", b"instruction"):
        assert entity in content
    with pytest.raises(KinemaError, match=r"no episode 4; choices: 0 … 3"):
        open_in_rerun(recorded_once, 4, save_to=tmp_path / "b.rrd")


@pytest.mark.parametrize(
    ("python", "said"),
    [("/no/such/python", "cannot be run: No such file"), ("false", "lerobot cannot read")],
)
def test_a_peer_that_cannot_be_measured_is_one_line(python, said, recorded_once):
    with pytest.raises(KinemaError, match=said):
        measure_lerobot(recorded_once, python, seconds=0.1)


def test_loading_is_measured(recorded_once):
    speed = measure_loading(recorded_once, size=32, batch=16, seconds=0.05)
    assert speed["cache_over_decode"] == pytest.approx(speed["cache"] / speed["decode"])
    assert min(speed["build"], speed["new"], speed["new_workers"]) > 0
    assert speed["cache_mb_per_1000"] == pytest.approx(2 * 32 * 32 * 3 / 1000)
