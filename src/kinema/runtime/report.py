"""One run as one HTML file: the video, the words, the actions against the card's limits, how it ended.

The page holds everything it shows (the video as a data URI, the plots as SVG), so it can be mailed.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.runtime.html_page import definitions, film, html_page, section
from kinema.runtime.long_task import LongReport
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
    long: LongReport | None = None  # what a planner and its check made of a long sentence

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
    path.write_text(page(trace, video), encoding="utf-8")


def page(trace: RunTrace, video: Path | None) -> str:
    """The whole page as text. Every word of the user is escaped."""
    outcome = trace.outcome
    colour = {Result.SUCCESS: "#1a7f37", Result.FAILURE: "#9a6700", Result.ERROR: "#b42318"}[outcome.result]
    shown = film(video) if video else "<p>no video was recorded</p>"
    actions = "".join(_channel_plot(trace, i) for i in range(len(trace.card.actions)))
    parts = [
        f"<h1>{html.escape(trace.instruction)}</h1>",
        f'<p><span class="badge" style="background: {colour}">{outcome.result.value}</span> '
        f"{html.escape(outcome.cause)}</p>",
        f'<div class="top"><div>{shown}</div><div>{definitions(_numbers(trace))}</div></div>',
        _steps(trace.long),
        section("What the policy was told", f"<blockquote>{html.escape(trace.prompt)}</blockquote>"),
        section(
            "Actions against the limits of the body",
            "<p>Blue: sent. Grey: measured just before. Dashed: the card's limits.</p>"
            f'<div class="plots">{actions}</div>',
        ),
        _gate(trace.verdicts),
        section("How long the policy thought", _latency_plot(trace.latency_ms)),
        section("Made with", definitions(trace.facts)),
    ]
    return html_page(trace.instruction, parts)


def _steps(long: LongReport | None) -> str:
    """The steps of a long task, try by try."""
    if long is None:
        return ""
    rows = "".join(
        f"<tr><td>{one.began_s:.1f} to {one.ended_s:.1f} s</td><td>{html.escape(one.said)}</td>"
        f"<td>{one.number}</td><td>{'done' if one.done else 'not done'}</td>"
        f"<td>{'' if one.chance is None else f'{one.chance:.2f}'}</td></tr>"
        for one in long.tried
    )
    plans = "".join(f"<li>{html.escape('; '.join(plan) or 'nothing more')}</li>" for plan in long.plans)
    head = "<tr><th>when</th><th>said</th><th>try</th><th>the check found it</th><th>chance</th></tr>"
    return section(
        "Steps", f"<p>{html.escape(long.cause)}</p><table>{head}{rows}</table><p>Plans:</p><ol>{plans}</ol>"
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
    plot = line_plot(
        title="time per answer [ms]", x=np.arange(len(latency_ms)), series=series, x_label="answer"
    )
    return f'<div class="plots">{plot}</div>'


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
    return section(
        "What the gate said",
        f"<p>{len(verdicts)} verdicts, {len(refused)} refusals. Above the dashed line a chunk is refused, "
        f'and the body holds.</p><div class="plots">{"".join(plots)}</div><ul>{words}</ul>',
    )


def _shares(verdicts: Sequence[tuple[float, Verdict]], hazard: str) -> np.ndarray:
    shares = [v.risk.get(hazard, 0.0) / max(v.limit.get(hazard, 1.0), 1e-9) for _, v in verdicts]
    return np.minimum(np.array(shares), 3.0)
