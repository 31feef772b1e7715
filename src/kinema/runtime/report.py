"""One run as one HTML file: the video, the words, the actions against the card's limits, how it ended.

The page holds everything it shows (the video as a data URI, the plots as SVG), so it can be mailed.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.runtime.plot import Series, line_plot
from kinema.schema import KinemaError, Outcome, Result, Verdict

_REASONS = 12  # refusals told in words


@dataclass(frozen=True, kw_only=True)
class RunTrace:
    """What one closed-loop run did, step by step.

    times_s:    float64 (N,) time of each control step on the body's clock
    actions:    float64 (N, D) native actions as they were sent, in the order of the card's `actions`
    states:     float64 (N, S) native states as they were measured before each action
    latency_ms: float64 (M,) one entry per answer of the policy, in order
    """

    card: EmbodimentCard
    instruction: str
    prompt: str
    policy: str
    seed: int
    outcome: Outcome
    times_s: np.ndarray
    actions: np.ndarray
    states: np.ndarray
    latency_ms: np.ndarray
    facts: Mapping[str, str] = field(
        default_factory=dict
    )  # named lines for the foot of the page: versions, scene
    verdicts: Sequence[tuple[float, Verdict]] = ()  # what a gate said, and when

    def __post_init__(self) -> None:
        steps = len(self.times_s)
        wanted = {"actions": (steps, len(self.card.actions)), "states": (steps, len(self.card.states))}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise KinemaError(
                    f"{name} of a run with {steps} steps of {self.card.name}: expected {shape}, "
                    f"got {getattr(self, name).shape}"
                )


def write_report(path: Path, trace: RunTrace, video: Path | None) -> None:
    """Write the page to `path`; `video` is an MP4 to put inside. Raises OSError if it cannot be written."""
    path.write_text(page(trace, video.read_bytes() if video else None), encoding="utf-8")


def page(trace: RunTrace, video_mp4: bytes | None) -> str:
    """The whole page as text. Every word of the user is escaped."""
    outcome = trace.outcome
    colour = {Result.SUCCESS: "#1a7f37", Result.FAILURE: "#9a6700", Result.ERROR: "#b42318"}[outcome.result]
    return _PAGE.format(
        title=html.escape(trace.instruction),
        colour=colour,
        result=outcome.result.value,
        cause=html.escape(outcome.cause),
        video=_video(video_mp4),
        prompt=html.escape(trace.prompt),
        numbers=_definitions(_numbers(trace)),
        actions="".join(_channel_plot(trace, i) for i in range(len(trace.card.actions))),
        latency=_latency_plot(trace.latency_ms),
        gate=_gate(trace.verdicts),
        facts=_definitions(trace.facts),
    )


def _numbers(trace: RunTrace) -> dict[str, str]:
    card = trace.card
    numbers = {
        "body": f"{card.name} ({card.robot_tag})",
        "policy": trace.policy,
        "seed": str(trace.seed),
        "control": f"{card.control} at {card.control_hz:g} Hz, chunks of {card.chunk}",
        "steps": f"{len(trace.times_s)} ({len(trace.times_s) / card.control_hz:.1f} s)",
    }
    if len(trace.latency_ms):
        median, p95 = np.percentile(trace.latency_ms, [50, 95])
        numbers["an answer took"] = (
            f"median {median:.1f} ms, p95 {p95:.1f} ms ({len(trace.latency_ms)} answers)"
        )
    outside = _outside(trace)
    numbers["actions outside limits"] = ", ".join(outside) if outside else "none"
    numbers |= {name.replace("_", " "): f"{value:g}" for name, value in trace.outcome.measures.items()}
    return numbers


def _outside(trace: RunTrace) -> list[str]:
    low, high = np.array([channel.range for channel in trace.card.actions]).T
    beyond = ((trace.actions < low - 1e-6) | (trace.actions > high + 1e-6)).sum(axis=0)
    return [f"{channel.name} ({count})" for channel, count in zip(trace.card.actions, beyond) if count]


def _channel_plot(trace: RunTrace, index: int) -> str:
    channel = trace.card.actions[index]
    series = [Series(name="sent", y=trace.actions[:, index], colour="#1f6feb")]
    measured = _state_of(trace.card, channel)
    if measured is not None:
        series.insert(0, Series(name="measured", y=trace.states[:, measured], colour="#bbbbbb"))
    title = f"{channel.name} [{channel.unit}]"
    return line_plot(title=title, x=trace.times_s, series=series, x_label="s", limits=channel.range)


def _state_of(card: EmbodimentCard, channel: Channel) -> int | None:
    slots = [state.slot for state in card.states]
    return slots.index(channel.slot) if channel.slot in slots else None


def _latency_plot(latency_ms: np.ndarray) -> str:
    if not len(latency_ms):
        return ""
    series = [Series(name="answer", y=latency_ms, colour="#8250df")]
    return line_plot(
        title="time per answer [ms]", x=np.arange(len(latency_ms)), series=series, x_label="answer"
    )


def _gate(verdicts: Sequence[tuple[float, Verdict]]) -> str:
    """Every verdict on a time line: the risks as shares of their limits, and the refusals in words."""
    if not verdicts:
        return ""
    times_s = np.array([time_s for time_s, _ in verdicts])
    hazards = list(verdicts[0][1].limit)
    plots = [
        line_plot(
            title=f"{hazard}: risk as a share of its limit",
            x=times_s,
            series=[Series(name="risk", y=_shares(verdicts, hazard), colour="#cf222e")],
            x_label="s",
            limits=(0.0, 1.0),
        )
        for hazard in hazards
    ]
    refused = [(time_s, verdict) for time_s, verdict in verdicts if not verdict.allowed]
    words = "".join(f"<li>{time_s:.1f} s: {html.escape(v.reason)}</li>" for time_s, v in refused[:_REASONS])
    if len(refused) > _REASONS:
        words += f"<li>and {len(refused) - _REASONS} more</li>"
    return (
        f"<h2>What the gate said</h2><p>{len(verdicts)} verdicts, {len(refused)} refusals. "
        f'Above the dashed line a chunk is refused, and the body holds.</p><div class="plots">'
        f"{''.join(plots)}</div><ul>{words}</ul>"
    )


def _shares(verdicts: Sequence[tuple[float, Verdict]], hazard: str) -> np.ndarray:
    shares = [v.risk.get(hazard, 0.0) / max(v.limit.get(hazard, 1.0), 1e-9) for _, v in verdicts]
    return np.minimum(np.array(shares), 3.0)


def _video(video_mp4: bytes | None) -> str:
    if video_mp4 is None:
        return "<p>no video was recorded</p>"
    data = base64.b64encode(video_mp4).decode("ascii")
    return f'<video controls autoplay loop muted playsinline src="data:video/mp4;base64,{data}"></video>'


def _definitions(pairs: Mapping[str, str]) -> str:
    rows = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in pairs.items())
    return "<dl>" + "".join(rows) + "</dl>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 1060px; padding: 24px 20px 60px; }}
h1 {{ font-size: 26px; margin: 0 0 4px; }}
h2 {{ font-size: 17px; margin: 30px 0 8px; }}
.result {{ display: inline-block; color: #fff; background: {colour}; border-radius: 4px; padding: 1px 9px; }}
.top {{ display: flex; flex-wrap: wrap; gap: 24px; margin-top: 18px; }}
.top > * {{ flex: 1 1 380px; min-width: 0; }}
video {{ width: 100%; background: #000; border-radius: 6px; }}
blockquote {{ margin: 0; padding: 10px 14px; background: #f6f8fa; border-left: 3px solid var(--line); }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 0; }}
dt {{ color: var(--soft); }} dd {{ margin: 0; overflow-wrap: anywhere; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 12px; }}
svg {{ width: 100%; height: auto; }}
</style></head><body>
<h1>{title}</h1>
<p><span class="result">{result}</span> {cause}</p>
<div class="top"><div>{video}</div><div>{numbers}</div></div>
<h2>What the policy was told</h2>
<blockquote>{prompt}</blockquote>
<h2>Actions against the limits of the body</h2>
<p>Blue: sent. Grey: measured just before. Dashed: the card's limits.</p>
<div class="plots">{actions}</div>
{gate}
<h2>How long the policy thought</h2>
<div class="plots">{latency}</div>
<h2>Made with</h2>
{facts}
</body></html>
"""
