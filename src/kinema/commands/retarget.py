"""`kinema retarget`: a demonstration by hand becomes one by a robot, as a film and as data to train on.

Of an episode of `kinema data make human` the hand's path and the scene without the hand are known. Of a plain
film (mp4, the table's two views side by side) the path is tracked and the scene is the still background;
whether the task was done is not known then, and cameras that do not look from the front stay black.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from kinema.commands.terminal import examples
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.worlds.retarget import GraspPath, JointPath

EXAMPLES = examples(
    "kinema retarget data/human/panda --robot ur5e --episodes 8 --out out/retarget",
    'kinema retarget film.mp4 --robot iiwa14 --instruction "press the red button" --out out/retarget',
)
COMPOSED_BY = "depth composite (no shipped world model has a scene-to-robot head)"
_SCALE = 2  # of the strip's pictures
_SIDE_PX, _STEPS = (16, 256), (5, 600)  # what a plain film may measure, after it is thinned to control steps


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One demonstration. Pictures are uint8 (T, S, S, 3) by view; path is None where it must be tracked."""

    human: Mapping[str, np.ndarray]
    empty: Mapping[str, np.ndarray]
    instruction: str
    family: str
    path: GraspPath | None = None
    seed: int | None = None
    truth: Mapping[str, np.ndarray] | None = None  # the robot in the scene, where the set holds this body


def retarget(
    video: Annotated[
        Path,
        typer.Argument(
            help="Folder of a set of `kinema data make human`, or an mp4: two square views of the hand's "
            "table side by side, front | side, 16 to 256 px each, at least 10 per second, up to a minute."
        ),
    ],
    robot: Annotated[str, typer.Option(help="The body that shall do it: a shipped card or a .yaml file.")],
    out: Annotated[Path, typer.Option(help="Folder for the strips, the data set and report.json.")] = Path(
        "out/retarget"
    ),
    episodes: Annotated[
        int | None, typer.Option(help="Folder: how many episodes of the set. Default: 1.", min=1)
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Folder: track the hand in the pictures all the same.")
    ] = False,
    instruction: Annotated[str | None, typer.Option(help="mp4: what is being done, in a sentence.")] = None,
) -> None:
    """Put a robot in a person's place: film, joint path, replay in the true world, LeRobot data set.

    A plain mp4 is tracked, so it must come from the two calibrated cameras of the hand's table and show a
    hand of the shape that our hand world draws, away from every place for more than half of the film; any
    other film is refused. Nothing is replayed then: the data set holds it whether the task succeeds or not.
    """
    if not video.exists():
        raise KinemaError(f"{video} is neither a data set nor a film")
    if not video.is_dir():
        if episodes is not None or track:
            raise KinemaError("--episodes and --track are for a set; a film is one episode, always tracked")
        if not instruction:
            raise KinemaError('a film needs --instruction "...": what is being done is not written in it')
        shown: Any = [_plain(video, instruction, _body(robot).control_hz)]
    elif instruction is not None:
        raise KinemaError(f"--instruction is for a film; the set in {video} has its own sentences")
    else:
        shown = _episodes(video, robot, episodes or 1)
    report = run(shown, robot, out, track=track)
    for row in report["episodes"]:
        print(
            f"{row['strip']}: {row['instruction']!r}; tool {row['tool_error_mm']:.2f} mm from the path "
            f"(at most {row['tool_error_max_mm']:.2f})"
            + (f", path {row['track_error_mm']:.1f} mm from the true one" if "track_error_mm" in row else "")
            + (f"; replayed: {'success' if row['replayed'] else 'failure'}" if "replayed" in row else "")
        )
    for number, fault in report.get("untracked", {}).items():
        print(f"episode {number} is left out: {fault}")
    print(f"composed by: {report['composed_by']}")
    if "replayed" in report:
        print(f"replayed in the true world: {report['replayed']} of {len(report['episodes'])} succeed")
    if "unseen" in report:
        print(f"not replayed, so success is not known; black in the data set: {', '.join(report['unseen'])}")
    if report["data_set"]:
        print(f"data set: {report['data_set']}")


def run(shown: Any, robot: str, out: Path, *, track: bool = False) -> dict[str, Any]:
    """Retarget every demonstration; writes strips, a data set and report.json, which it returns."""
    from kinema.data.video import encode
    from kinema.worlds.aligned import composite, robot_alone
    from kinema.worlds.retarget import fit
    from kinema.worlds.stage import StagedWorld
    from kinema.worlds.track import HandTracker, UntrackedError

    card = _body(robot)
    out.mkdir(parents=True, exist_ok=True)
    rows, recorded, untracked = [], [], {}
    worlds: dict[str, StagedWorld] = {}
    tracker: HandTracker | None = None
    for number, demo in enumerate(shown):
        size = next(iter(demo.human.values())).shape[1]
        if demo.family not in worlds:
            worlds[demo.family] = StagedWorld(card=card, family=demo.family, image_size=size)
            worlds[demo.family].reset(0)
        world, path = worlds[demo.family], demo.path
        if path is None or track:
            tracker = tracker or HandTracker(size)
            try:
                path = tracker.track(demo.human, card.control_hz)
            except UntrackedError as error:
                if demo.path is None:
                    raise
                untracked[number] = str(error)  # of a set the other episodes may do
                continue
        joints = fit(world, path)
        made = composite(world, joints, demo.empty)
        strip = _strip(demo.human, made, robot_alone(world, joints))
        name = out / f"{card.name}_{number:03d}.mp4"
        encode(name, strip, path.hz)
        row = _measured(demo, path, joints, made)
        replayed = _replayed(card, demo, joints, size)
        if replayed is not None:
            row["replayed"] = replayed["success"]
        recorded.append(replayed or _as_filmed(card, demo, joints, made))
        rows.append({"strip": str(name), "instruction": demo.instruction, "seed": demo.seed, **row})
    for opened in worlds.values():
        opened.close()
    if tracker is not None:
        tracker.close()
    report: dict[str, Any] = {"robot": card.name, "composed_by": COMPOSED_BY, "episodes": rows}
    if untracked:
        report["untracked"] = {str(number): fault for number, fault in untracked.items()}
    if any("replayed" in row for row in rows):
        report["replayed"] = sum(bool(row.get("replayed")) for row in rows)
    elif rows:
        report["unseen"] = [camera.name for camera in card.cameras if camera.tag != "ego"]
    report["data_set"] = _write(out / "data" / card.name, card, recorded)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report


def _episodes(root: Path, robot: str, count: int) -> Iterator[Shown]:
    """The first episodes of an aligned set."""
    from kinema.data.aligned import HAND, SCENE, camera_name, views_of
    from kinema.data.lerobot import Dataset
    from kinema.worlds.retarget import GraspPath
    from kinema.worlds.stage import FAMILIES

    dataset = Dataset.open(root)
    views = views_of(dataset)
    for begin, end in dataset.episode_bounds[:count]:
        steps = np.arange(begin, end)
        streams = {
            stream: {view: dataset.frames(camera_name(stream, view), steps) for view in views}
            for stream in ("human", "empty", "robot")
        }
        hand, (seed, family) = dataset.column(HAND)[begin:end].astype(float), dataset.column(SCENE)[begin]
        yield Shown(
            human=streams["human"],
            empty=streams["empty"],
            instruction=dataset.tasks[int(dataset.task_index[begin])],
            family=FAMILIES[int(family)],
            path=GraspPath(
                position_m=hand[:, :3], opening=hand[:, 3], gap_m=hand[:, 4], hz=float(dataset.fps)
            ),
            seed=int(seed),
            truth=streams["robot"] if dataset.card_name == robot else None,
        )


def _body(robot: str) -> EmbodimentCard:
    """The card of a body that can work at the hand's table. Raises KinemaError."""
    from kinema.card.load import load_card
    from kinema.commands.make_human import staged_robots
    from kinema.worlds.stage import reaches

    card = load_card(robot)
    if not reaches(card):
        raise KinemaError(
            f"{card.name} cannot work at the hand's table (one arm that reaches its corners); "
            f"choices: {', '.join(staged_robots())}"
        )
    return card


def _plain(path: Path, instruction: str, hz: float) -> Shown:
    """A film whose path is not known, one picture per control step: the median over time has no hand.

    Raises KinemaError, before a picture is decoded, for a film of another shape, rate or length.
    """
    from kinema.data.video import Decoders, probe
    from kinema.worlds.stage import VIEWS
    from kinema.worlds.track import background

    stream = probe(path)
    side = stream.height
    if stream.width != 2 * side or not _SIDE_PX[0] <= side <= _SIDE_PX[1]:
        raise KinemaError(
            f"{path} is {stream.width} x {side} px; a hand is tracked in two square views side by side, "
            f"{' | '.join(VIEWS)}, of {_SIDE_PX[0]} to {_SIDE_PX[1]} px each"
        )
    film = Decoders()[path].at(_control_steps(path, stream.times_s, hz), tolerance_s=0.01)
    human = {view: film[:, :, i * side : (i + 1) * side] for i, view in enumerate(VIEWS)}
    empty = {view: np.repeat(background(frames)[None], len(frames), 0) for view, frames in human.items()}
    return Shown(human=human, empty=empty, instruction=instruction, family="button")


def _control_steps(path: Path, times_s: np.ndarray, hz: float) -> np.ndarray:
    """When the pictures nearest to every control step are shown (T,). Raises KinemaError."""
    lasts_s = float(np.ptp(times_s)) if len(times_s) else 0.0
    steps = 1 + round(lasts_s * hz)
    if not _STEPS[0] <= steps <= _STEPS[1] or len(times_s) < 0.95 * steps:
        raise KinemaError(
            f"{path} has {len(times_s)} pictures in {lasts_s:.1f} s; needed are {hz:g} or more per second, "
            f"as often as the robot acts, for {_STEPS[0] / hz:g} to {_STEPS[1] / hz:g} s"
        )
    due_s = times_s[0] + np.arange(steps) / hz
    return times_s[np.abs(times_s[None] - due_s[:, None]).argmin(1)]


def _measured(
    demo: Shown, path: GraspPath, joints: JointPath, made: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    error_mm = 1e3 * joints.error_m
    row: dict[str, Any] = {
        "tool_error_mm": float(error_mm.mean()),
        "tool_error_max_mm": float(error_mm.max()),
    }
    if demo.path is not None and path is not demo.path:
        off_m = np.linalg.norm(path.position_m - demo.path.position_m, axis=1)
        row["track_error_mm"] = 1e3 * float(off_m.mean())
    if demo.truth is not None:
        squares = [np.square(made[v].astype(float) - demo.truth[v]).mean() for v in made]
        row["psnr_db"] = float(10 * np.log10(255**2 / max(float(np.mean(squares)), 1e-9)))
    return row


def _strip(*parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Human, retargeted and reference side by side, views below each other: (T, V S, 3 S, 3), enlarged."""
    rows = [np.concatenate([part[view] for part in parts], 2) for view in parts[0]]
    return np.concatenate(rows, 1).repeat(_SCALE, 1).repeat(_SCALE, 2)


def _replayed(card: Any, demo: Shown, joints: JointPath, size: int) -> dict[str, Any] | None:
    """The path's actions played in the true world, seen by the body's own cameras; None for a plain film."""
    from kinema.worlds.retarget import play
    from kinema.worlds.stage import StagedWorld

    if demo.seed is None:
        return None
    world = StagedWorld(card=card, family=demo.family, image_size=size, own_cameras=True)
    episode = play(world, demo.seed, joints)
    world.close()
    return episode | {"task": demo.instruction}


def _as_filmed(card: Any, demo: Shown, joints: JointPath, made: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What a plain film gives: the composed first view for every camera but the wrist's, which is black."""
    front = next(iter(made.values()))
    images = {camera.name: front if camera.tag == "ego" else np.zeros_like(front) for camera in card.cameras}
    arrays = {"images": images, "state": joints.state, "action": joints.action, "points": None}
    return arrays | {"success": True, "task": demo.instruction}


def _write(root: Path, card: Any, episodes: list[dict[str, Any]]) -> str:
    """A LeRobot set of the episodes that succeeded (all of a plain film's); its path, empty if none did."""
    from kinema.data.lerobot_write import Writer

    kept = [episode for episode in episodes if episode["success"]]
    if not kept:
        return ""
    with Writer(root, card=card, image_size=next(iter(kept[0]["images"].values())).shape[1]) as writer:
        for episode in kept:
            steps = len(episode["state"])
            writer.add_episode(**episode | {"success": np.arange(steps) == steps - 1})
    return str(root)
