"""The report of a run holds everything it shows and escapes what the user wrote."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.runtime.plot import Series, line_plot
from kinema.runtime.report import RunTrace, page, write_report
from kinema.runtime.rerun_file import write_rerun
from kinema.schema import KinemaError, Outcome, Result


def _trace(steps: int = 5) -> RunTrace:
    card = load_card("panda")
    middle = np.array([sum(channel.range) / 2 for channel in card.actions])
    return RunTrace(
        card=card,
        instruction="put the <b>red</b> block & stop",
        prompt="The robot is <Franka>",
        policy="expert",
        seed=3,
        outcome=Outcome(result=Result.SUCCESS, cause="the goal holds", measures={"steps": 5}),
        times_s=np.arange(steps) / 10,
        actions=np.tile(middle, (steps, 1)),
        states=np.zeros((steps, len(card.states))),
        latency_ms=np.array([12.0, 14.0]),
        facts={"kinema": "0.1.0"},
    )


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    video = tmp_path / "run.mp4"
    video.write_bytes(b"not really a video")
    write_report(tmp_path / "report.html", _trace(), video)
    text = (tmp_path / "report.html").read_text()
    assert "data:video/mp4;base64,bm90IHJlYWxseSBhIHZpZGVv" in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []


def test_words_are_escaped() -> None:
    text = page(_trace(), None)
    assert "put the &lt;b&gt;red&lt;/b&gt; block &amp; stop" in text
    assert "<b>red" not in text
    assert "<Franka>" not in text


def test_every_action_channel_is_drawn_with_its_limits() -> None:
    trace = _trace()
    plots = re.findall(r"<svg.*?</svg>", page(trace, None))
    titled = {ElementTree.fromstring(plot).attrib["aria-label"]: plot for plot in plots}
    for channel in trace.card.actions:
        plot = titled[f"{channel.name} [{channel.unit}]"]
        assert plot.count("stroke-dasharray") == 2


def test_actions_outside_their_limits_are_counted() -> None:
    trace = _trace()
    actions = trace.actions.copy()
    actions[1:3, 0] = trace.card.actions[0].range[1] + 1
    text = page(dataclasses.replace(trace, actions=actions), None)
    assert f"<dt>actions outside limits</dt><dd>{trace.card.actions[0].name} (2)</dd>" in text
    assert "<dt>actions outside limits</dt><dd>none</dd>" in page(trace, None)


def test_shapes_are_checked() -> None:
    trace = _trace()
    with pytest.raises(KinemaError, match="actions of a run with 5 steps of panda"):
        dataclasses.replace(trace, actions=trace.actions[:2])


def test_a_run_that_never_started_still_has_a_page() -> None:
    trace = dataclasses.replace(_trace(0), latency_ms=np.zeros(0))
    assert "<svg" in page(trace, None)


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    y = np.array([0.0, 1.0, np.nan, 1.0, 0.0])
    svg = line_plot(title="t", x=np.arange(5.0), series=[Series(name="a", y=y, colour="red")], x_label="s")
    lines = ElementTree.fromstring(svg).findall("polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]


def test_limits_and_data_lie_inside_the_frame() -> None:
    y = np.array([5.0, -3.0])
    svg = line_plot(
        title="t",
        x=np.arange(2.0),
        series=[Series(name="a", y=y, colour="red")],
        x_label="s",
        limits=(-10.0, 2.0),
    )
    root = ElementTree.fromstring(svg)
    frame = root.find("rect")
    assert frame is not None
    top, bottom = float(frame.attrib["y"]), float(frame.attrib["y"]) + float(frame.attrib["height"])
    heights = [float(line.attrib["y1"]) for line in root.findall("line")]
    heights += [
        float(p.split(",")[1]) for line in root.findall("polyline") for p in line.attrib["points"].split()
    ]
    assert len(heights) == 4
    assert all(top <= v <= bottom for v in heights)


def test_the_rerun_file_holds_every_step(tmp_path: Path) -> None:
    reader = pytest.importorskip("rerun.chunk", reason="rerun-sdk of the extra `view`")
    trace = _trace(3)
    path = tmp_path / "run.rrd"
    write_rerun(path, trace, {"front": np.full((3, 8, 8, 3), 200, np.uint8)})
    rows: dict[str, int] = {}
    for chunk in reader.RrdReader(str(path)).stream():
        rows[chunk.entity_path] = rows.get(chunk.entity_path, 0) + chunk.num_rows
    wanted = {"/camera/front", *(f"/action/{c.name}" for c in trace.card.actions)}
    wanted |= {f"/state/{c.name}" for c in trace.card.states}
    assert {path: rows.get(path) for path in wanted} == dict.fromkeys(wanted, 3)
    assert rows["/words"] == 1
