"""`kinema retarget`: a demonstration by hand becomes one by a robot, as a film and as data to train on.

Of an episode of `kinema data make human` the hand's path and the scene without the hand are known. Of a plain
film (mp4, the table's two views side by side) the path is tracked and the scene is the still background;
whether the task was done is not known then, and cameras that do not look from the front stay black.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from kinema.commands.data.demonstrations import Shown, aligned_episodes, plain_film
from kinema.commands.imagine.compose import COMPOSERS, Compose, as_film, by_depth, composer
from kinema.commands.terminal import choose, examples, writable
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.worlds.hand.retarget import GraspPath, JointPath
    from kinema.worlds.hand.stage import StagedWorld

EXAMPLES = examples(
    "kinema retarget data/human/panda --robot ur5e --episodes 8 --out out/retarget",
    'kinema retarget film.mp4 --robot iiwa14 --instruction "press the red button" --out out/retarget',
)


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
    composed_by: Annotated[
        str | None,
        typer.Option(
            help="`model` (a trained one puts the robot into the scene) or `depth` (it is drawn "
            "over it, hidden by what is nearer). Default: the model, where one is shipped for this size."
        ),
    ] = None,
) -> None:
    """Put a robot in a person's place: film, joint path, replay in the true world, LeRobot data set.

    A plain mp4 is tracked, so it must come from the two calibrated cameras of the hand's table and show a
    hand of the shape that our hand world draws, away from every place for more than half of the film; any
    other film is refused. Nothing is replayed then: the data set holds it whether the task succeeds or not.
    """
    robot = _body(robot).name
    if composed_by is not None:
        choose("composer", composed_by, COMPOSERS)
    if not video.exists():
        raise KinemaError(f"{video} is neither a data set nor a film")
    if not video.is_dir():
        if episodes is not None or track:
            raise KinemaError("--episodes and --track are for a set; a film is one episode, always tracked")
        if not instruction:
            raise KinemaError('a film needs --instruction "...": what is being done is not written in it')
        shown: Any = [plain_film(video, instruction, _body(robot).control_hz)]
    elif instruction is not None:
        raise KinemaError(f"--instruction is for a film; the set in {video} has its own sentences")
    else:
        shown = aligned_episodes(video, robot, episodes or 1)
    report = run(shown, robot, writable(out), track=track, composed_by=composed_by)
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
    print(f"report: {out / 'report.html'}")


def run(
    shown: Any, robot: str, out: Path, *, track: bool = False, composed_by: str | None = None
) -> dict[str, Any]:
    """Retarget every demonstration; writes strips, a data set, report.html and report.json, its answer."""
    from kinema.bench.world.scene2robot import strip
    from kinema.commands.imagine.retarget_report import write_page
    from kinema.data.video import encode
    from kinema.worlds.hand.retarget import fit
    from kinema.worlds.hand.stage import StagedWorld
    from kinema.worlds.hand.track import HandTracker, UntrackedError

    card = _body(robot)
    out.mkdir(parents=True, exist_ok=True)
    rows, recorded, untracked = [], [], {}
    worlds: dict[str, StagedWorld] = {}
    tracker: HandTracker | None = None
    composing: tuple[str, Compose] | None = None
    for number, demo in enumerate(shown):
        size = next(iter(demo.human.values())).shape[1]
        who, compose = composing = composing or composer(composed_by, size)
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
        made = compose(world, joints, demo.empty)
        beside, reference = _reference(demo, world, joints, compose)
        name = out / f"{card.name}_{number:03d}.mp4"
        encode(name, strip([as_film(part) for part in (demo.human, made, reference)]), path.hz)
        row = _measured(demo, path, joints, made)
        replayed = _replayed(card, demo, joints, size)
        if replayed is not None:
            row["replayed"] = replayed["success"]
        recorded.append(replayed or _as_filmed(card, demo, joints, made))
        shows = f"the hand | {who.split(',')[0]} | {beside}"
        about = {"strip": str(name), "shows": shows, "instruction": demo.instruction, "seed": demo.seed}
        rows.append(about | row)
    for opened in worlds.values():
        opened.close()
    if tracker is not None:
        tracker.close()
    by = composing[0] if composing else None
    report: dict[str, Any] = {"robot": card.name, "composed_by": by, "episodes": rows}
    if untracked:
        report["untracked"] = {str(number): fault for number, fault in untracked.items()}
    if any("replayed" in row for row in rows):
        report["replayed"] = sum(bool(row.get("replayed")) for row in rows)
    elif rows:
        report["unseen"] = [camera.name for camera in card.cameras if camera.tag != "ego"]
    report["data_set"] = _write(out / "data" / card.name, card, recorded)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    write_page(out, report)
    return report


def _reference(
    demo: Shown, world: StagedWorld, joints: JointPath, compose: Compose
) -> tuple[str, Mapping[str, np.ndarray]]:
    """What a strip shows beside what was made, and its name: the best that is known of the truth."""
    from kinema.worlds.hand.aligned import robot_alone

    if demo.truth is not None:
        return "the true robot in the scene", demo.truth
    if compose is not by_depth:
        return "depth composite", by_depth(world, joints, demo.empty)
    return "the robot alone", robot_alone(world, joints)


def _body(robot: str) -> EmbodimentCard:
    """The card of a body that can work at the hand's table. Raises KinemaError."""
    from kinema.card.load import load_card
    from kinema.commands.data.make_human import staged_robots
    from kinema.worlds.hand.stage import reaches

    card = load_card(robot)
    if not reaches(card):
        raise KinemaError(
            f"{card.name} cannot work at the hand's table (one arm that reaches its corners); "
            f"choices: {', '.join(staged_robots())}"
        )
    return card


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


def _replayed(card: Any, demo: Shown, joints: JointPath, size: int) -> dict[str, Any] | None:
    """The path's actions played in the true world, seen by the body's own cameras; None for a plain film."""
    from kinema.worlds.hand.retarget import play
    from kinema.worlds.hand.stage import StagedWorld

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
