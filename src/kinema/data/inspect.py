"""One look at a data set: a self-contained HTML page, or an episode in rerun."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from kinema.card.card import Channel, EmbodimentCard
from kinema.card.load import card_names, load_card
from kinema.data.lerobot import Columns, Dataset
from kinema.data.metadata import ACTION, STATE, channel_names
from kinema.data.verify import Fault, Kind, examine
from kinema.schema import KinemaError

_PICTURED, _PLOTTED, _LISTED_TASKS = 8, 5, 15
_COLOURS = ("#1f6feb", "#d4572a", "#1a7f37", "#8250df", "#b08800")
_POINT_COLOURS = ((255, 255, 255), (255, 220, 0))  # the thing, the place it goes to


def inspect(
    root: Path,
    out_html: Path,
    *,
    card: EmbodimentCard | None = None,
    decode: bool = False,
    columns: Columns | None = None,
) -> None:
    """Write the page: facts, faults, instructions, lengths, pictures, plots against the card's limits.

    card: whose limits to compare with; the shipped card of that name if None.
    decode: also decode every picture when looking for faults. columns: other names of columns and cameras
    (see `Dataset.open`). Values that are not finite are shown; any other fault that would be read wrongly
    raises KinemaError, as opening does, and so does a set without an episode.
    """
    dataset = Dataset.open(root, columns=columns, finite=False)
    if not dataset.num_episodes:
        raise KinemaError(f"{root} holds no episode; there is nothing to see")
    card = card or _card_of(dataset)
    plotted = _spread(dataset.num_episodes, _PLOTTED)
    words = {
        "name": html.escape(dataset.root.name),
        "subtitle": html.escape(
            f"LeRobot data set {dataset.metadata.version} of {dataset.card_name or 'an unknown body'}"
        ),
        "facts": _facts(dataset),
        "faults": _faults(examine(dataset.root, decode=decode)),
        "tasks": _tasks(dataset),
        "lengths": _lengths(dataset),
        "points_note": "Ringed: the thing to act on (white), where it goes (yellow)."
        if dataset.points is not None
        else "",
        "episodes": "".join(_episode(dataset, int(e)) for e in _spread(dataset.num_episodes, _PICTURED)),
        "plot_note": f"Episodes {', '.join(map(str, plotted))}; dashed: limits of the card.",
        "state": _plots(dataset, STATE, dataset.state, card.states if card else None, plotted),
        "action": _plots(dataset, ACTION, _action(dataset), card.actions if card else None, plotted),
        "limits_note": "Values beyond the card's limits are red." if card else _no_card_note(dataset),
        "channels": _channels(dataset, card),
    }
    page = Template(files("kinema.data").joinpath("inspect.html").read_text("utf-8")).substitute(words)
    out_html.parent.mkdir(parents=True, exist_ok=True)
    out_html.write_text(page, encoding="utf-8")


def open_in_rerun(
    root: Path, episode: int, *, save_to: Path | None = None, columns: Columns | None = None
) -> None:
    """Show an episode in rerun's viewer, or write it as a recording when `save_to` is given.

    Raises KinemaError for an unknown episode, ModuleNotFoundError without rerun-sdk (extra `view`).
    """
    import rerun as rr

    dataset = Dataset.open(root, columns=columns, finite=False)
    if not 0 <= episode < dataset.num_episodes:
        raise KinemaError(f"{root} has no episode {episode}; choices: 0 … {dataset.num_episodes - 1}")
    recording = rr.RecordingStream("kinema", make_default=False)
    if save_to is None:
        recording.spawn()
    else:
        recording.save(str(save_to))
    first, end = (int(i) for i in dataset.episode_bounds[episode])
    recording.log("instruction", rr.TextDocument(_task_of(dataset, episode)), static=True)
    signals = {
        f"{kind}/{name}": values[first:end, i]
        for kind, key, values in (("state", STATE, dataset.state), ("action", ACTION, _action(dataset)))
        for i, name in enumerate(_names(dataset, key))
    }
    for step in range(end - first):
        recording.set_time("time", duration=step / dataset.fps)
        for view, camera in enumerate(dataset.camera_names):
            (picture,) = dataset.frames(camera, [first + step])
            deep = dataset.is_depth(camera)
            recording.log(f"camera/{camera}", rr.DepthImage(picture) if deep else rr.Image(picture))
            if dataset.points is not None:
                size = np.array(picture.shape[1::-1])
                seen = dataset.points[first + step, view]
                recording.log(
                    f"camera/{camera}/points", rr.Points2D(seen[seen[:, 2] > 0.5, :2] * size, radii=2)
                )
        for name, values in signals.items():
            recording.log(name, rr.Scalars(float(values[step])))
    recording.flush()
    if save_to is not None:
        recording.disconnect()


def _card_of(dataset: Dataset) -> EmbodimentCard | None:
    """The shipped card the data set was recorded with, when there is one and its channels agree."""
    if dataset.card_name not in card_names():
        return None
    card = load_card(dataset.card_name)
    channels = (dataset.state.shape[1], _action(dataset).shape[1])
    return card if channels == (len(card.states), len(card.actions)) else None


def _action(dataset: Dataset) -> np.ndarray:
    """The actions (N, D); without channels where the set has none under that name."""
    return dataset.action if dataset.has_action else np.zeros((dataset.num_frames, 0), np.float32)


def _no_card_note(dataset: Dataset) -> str:
    return html.escape(f"No shipped card fits {dataset.card_name!r}, so there are no limits to compare with.")


def _spread(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(int))


def _task_of(dataset: Dataset, episode: int) -> str:
    return dataset.tasks[int(dataset.task_index[dataset.episode_bounds[episode, 0]])]


def _names(dataset: Dataset, key: str) -> list[str]:
    feature = dataset.metadata.features.get(key)
    return [] if feature is None else channel_names(feature)


# -- pieces of the page, each a string of HTML


def _facts(dataset: Dataset) -> str:
    size_mb = sum(p.stat().st_size for p in _payload(dataset.root)) / 1e6
    ended_well = None
    if dataset.success is not None:
        ended_well = dataset.success[dataset.episode_bounds[:, 1] - 1].mean()
    facts = {
        "episodes": f"{dataset.num_episodes:,}",
        "frames": f"{dataset.num_frames:,}",
        "duration": f"{dataset.num_frames / dataset.fps / 60:.1f} min",
        "rate": f"{dataset.fps:g} Hz",
        "cameras": ", ".join(dataset.camera_names),
        "on disk": f"{size_mb:.1f} MB",
        "instructions": f"{len(dataset.tasks):,}",
    }
    if ended_well is not None:
        facts["episodes that end in success"] = f"{ended_well:.0%}"
    return "".join(f"<div><dt>{k}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts.items())


def _payload(root: Path) -> list[Path]:
    return [p for folder in ("data", "videos", "meta") for p in (root / folder).rglob("*") if p.is_file()]


def _faults(faults: Sequence[Fault]) -> str:
    items = "".join(f"<li>{html.escape(str(fault))}</li>" for fault in faults)
    listed = f'<ul class="faults">{items}</ul>' if items else ""
    if all(fault.kind == Kind.REMARK for fault in faults):
        return f'<p class="sound">None found.</p>{listed}'
    return listed


def _tasks(dataset: Dataset) -> str:
    frames = np.bincount(dataset.task_index, minlength=len(dataset.tasks))
    episodes = np.bincount(dataset.task_index[dataset.episode_bounds[:, 0]], minlength=len(dataset.tasks))
    order = np.argsort(-episodes, kind="stable")
    rows = [(dataset.tasks[i], f"{episodes[i]:,}", f"{frames[i]:,}") for i in order[:_LISTED_TASKS]]
    more = len(order) - _LISTED_TASKS
    if more > 0:
        rest = order[_LISTED_TASKS:]
        rows.append((f"… and {more:,} more", f"{episodes[rest].sum():,}", f"{frames[rest].sum():,}"))
    return _table(("instruction", "episodes", "frames"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = [f"<tr>{cells}</tr>"]
    for row in rows:
        marked = ((' class="bad"', cell[1:]) if cell.startswith("!") else ("", cell) for cell in row)
        lines.append("<tr>" + "".join(f"<td{m}>{html.escape(cell)}</td>" for m, cell in marked) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _lengths(dataset: Dataset) -> str:
    figure = Figure(figsize=(10, 2.2))
    axes = figure.add_subplot()
    lengths_s = np.diff(dataset.episode_bounds, axis=1)[:, 0] / dataset.fps
    axes.hist(lengths_s, bins=min(40, max(5, len(np.unique(lengths_s)))), color=_COLOURS[0], rwidth=0.95)
    axes.set(xlabel="length [s]", ylabel="episodes")
    return _svg(figure)


def _episode(dataset: Dataset, episode: int) -> str:
    first, end = dataset.episode_bounds[episode]
    chosen = np.array([first, (first + end - 1) // 2, end - 1])
    strips = []
    for view, camera in enumerate(dataset.camera_names):
        try:
            pictures = dataset.frames(camera, chosen)
        except KinemaError as error:
            strips.append(f'<p class="soft">{html.escape(camera)}: {html.escape(str(error))}</p>')
            continue
        figures = []
        for picture, frame in zip(pictures, chosen):
            seen = dataset.points[frame, view] if dataset.points is not None else np.zeros((0, 3))
            caption = f"{html.escape(camera)} {(frame - first) / dataset.fps:.1f} s"
            uri = _data_uri(_ringed(picture, seen))
            figures.append(
                f'<figure><img alt="{caption}" src="{uri}"><figcaption>{caption}</figcaption></figure>'
            )
        strips.append(f'<div class="strip">{"".join(figures)}</div>')
    task = html.escape(_task_of(dataset, episode))
    ended = "" if dataset.success is None else (" · success" if dataset.success[end - 1] else " · no success")
    title = f'<p><b>{episode}</b> {task}<br><span class="soft">{end - first} frames{ended}</span></p>'
    return f'<div class="episode">{title}{"".join(strips)}</div>'


def _ringed(picture: np.ndarray, points: np.ndarray) -> Image.Image:
    """The picture, enlarged if small, with a ring around each visible point (u, v, visible)."""
    if picture.dtype != np.uint8:  # distances: from the nearest, dark, to the furthest
        span = max(int(np.ptp(picture)), 1)
        picture = ((picture[..., 0] - picture.min()) * (255 / span)).astype(np.uint8)
    image = Image.fromarray(picture).convert("RGB")
    scale = max(1, round(288 / image.height))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    for number, (u, v, visible) in reversed(list(enumerate(points))):
        if visible > 0.5:
            x, y, radius = u * image.width, v * image.height, 7 + 4 * number
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, outline=(0, 0, 0), width=4)
            draw.ellipse(box, outline=_POINT_COLOURS[number % len(_POINT_COLOURS)], width=2)
    return image


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _plots(
    dataset: Dataset, key: str, values: np.ndarray, channels: Sequence[Channel] | None, episodes: np.ndarray
) -> str:
    """Small multiples: one panel per channel, one line per episode, the card's limits dashed."""
    names = _names(dataset, key)
    if not names:
        return "<p>none</p>"
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(10, 1.75 * rows))
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False, sharex=True))
    for panel in panels[len(names) :]:
        panel.remove()
    for i, name in enumerate(names):
        for colour, episode in zip(_COLOURS, episodes):
            first, end = dataset.episode_bounds[episode]
            panels[i].plot(np.arange(end - first) / dataset.fps, values[first:end, i], color=colour, lw=0.9)
        panels[i].set_title(name + (f" [{channels[i].unit}]" if channels else ""), fontsize=8)
        _draw_limits(panels[i], values[:, i], channels[i].range if channels else None)
        panels[i].tick_params(labelsize=7)
    for panel in panels[max(0, len(names) - columns) : len(names)]:
        panel.set_xlabel("s", fontsize=7)
        panel.tick_params(labelbottom=True)
    return _svg(figure)


def _draw_limits(panel: Axes, values: np.ndarray, limits: tuple[float, float] | None) -> None:
    """Dashed lines, without letting far limits flatten the curves: the window follows the data."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    low, high = float(finite.min()), float(finite.max())
    margin = 0.15 * (high - low) or 0.05 * max(abs(high), 0.1)
    panel.set_ylim(low - margin, high + margin)
    for limit in limits or ():
        panel.axhline(limit, color="#b42318", lw=0.9, ls="--")


def _svg(figure: Figure) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    width, height = figure.get_size_inches()
    # Margins in inches: a layout that matplotlib solves takes longer than the drawing.
    edges = {"left": 0.7 / width, "right": 1 - 0.1 / width, "bottom": 0.45 / height, "top": 1 - 0.25 / height}
    figure.subplots_adjust(**edges, wspace=0.25, hspace=0.4)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _channels(dataset: Dataset, card: EmbodimentCard | None) -> str:
    rows: list[tuple[str, ...]] = []
    for key, values, channels in (
        (STATE, dataset.state, card.states if card else None),
        (ACTION, _action(dataset), card.actions if card else None),
    ):
        for i, name in enumerate(_names(dataset, key)):
            column = values[:, i]
            low, high = channels[i].range if channels else (-np.inf, np.inf)
            slack = 1e-4 * max(1.0, abs(low), abs(high)) if channels else 0.0
            column = column[np.isfinite(column)]
            if not len(column):
                rows.append((f"{key}: {name}", "–", "–", "–", "–", "–", "no finite value"))
                continue
            quantiles = np.quantile(column, [0, 0.01, 0.5, 0.99, 1])
            cells = [f"{v:.4g}" for v in quantiles]
            cells[0] = ("!" if quantiles[0] < low - slack else "") + cells[0]  # "!": shown in red
            cells[4] = ("!" if quantiles[4] > high + slack else "") + cells[4]
            limits = f"{low:.4g} … {high:.4g} {channels[i].unit}" if channels else "–"
            rows.append((f"{key}: {name}", *cells, limits))
    return _table(("channel", "min", "1 %", "median", "99 %", "max", "limits"), rows)
