"""The command line. Every command lives in its own file under `commands/`; this one puts them together.

Heavy packages are imported inside the commands, so that `kinema --help` answers at once.
Exit codes: 0 done, 1 the thing was done and the answer is bad (a faulty data set, a missing package),
2 bad input (one line on stderr says what and which choices there are), 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Any

import typer

try:
    from typer.exceptions import Abort, TyperException
except ModuleNotFoundError:  # earlier releases of typer leave these to click
    from click.exceptions import Abort  # type: ignore[assignment]
    from click.exceptions import ClickException as TyperException  # type: ignore[assignment]

from kinema.commands import ask, bench, bench_ros, doctor, results, run
from kinema.commands.data import data, edit, fits, make_data
from kinema.commands.eval import evaluate
from kinema.commands.imagine import dream, imagine, retarget
from kinema.commands.reinforce import reinforce
from kinema.commands.robots import robots
from kinema.commands.serve import bench_hostile, bench_serve, client, keys, serve
from kinema.commands.teleop import calibrate, record, replay
from kinema.commands.terminal import examples, say_error
from kinema.commands.train import train

_DISK_FULL = os.strerror(errno.ENOSPC)

app = typer.Typer(
    name="kinema",
    help="One policy for every body described by a card: act, judge, train, and make the data for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=examples('kinema run "put the red block in the blue bowl"', "kinema doctor"),
)

app.command("run", epilog=run.EXAMPLES)(run.run)
app.command("ask", epilog=ask.EXAMPLES)(ask.ask)
app.command("eval", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("results", epilog=results.EXAMPLES)(results.results)
app.command("train", epilog=train.EXAMPLES)(train.train)
app.command("reinforce", epilog=reinforce.EXAMPLES)(reinforce.reinforce)
app.command("imagine", epilog=imagine.EXAMPLES)(imagine.imagine)
app.command("dream", epilog=dream.EXAMPLES)(dream.dream)
app.command("retarget", epilog=retarget.EXAMPLES)(retarget.retarget)
data.app.command("make", epilog=make_data.EXAMPLES)(make_data.make)
data.app.command("fits", epilog=fits.EXAMPLES)(fits.fits)
data.app.command("convert", epilog=fits.CONVERT_EXAMPLES)(fits.convert)
data.app.command("bags", epilog=fits.BAGS_EXAMPLES)(fits.bags)
data.app.add_typer(edit.app, name="edit")
app.add_typer(data.app, name="data")
app.add_typer(robots.app, name="robots")
bench.app.command("ros", epilog=bench_ros.EXAMPLES)(bench_ros.ros)
bench.app.command("serve", epilog=bench_serve.EXAMPLES)(bench_serve.serve)
bench.app.command("hostile", epilog=bench_hostile.EXAMPLES)(bench_hostile.hostile)
app.add_typer(bench.app, name="bench")
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("teleop", epilog=record.TELEOP_EXAMPLES)(record.teleop)
app.command("record", epilog=record.EXAMPLES)(record.record)
app.command("replay", epilog=replay.EXAMPLES)(replay.replay)
app.command("calibrate", epilog=calibrate.EXAMPLES)(calibrate.calibrate)
app.command("client", epilog=client.EXAMPLES)(client.client)
app.add_typer(keys.app, name="keys")
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs one command and exits with its code."""
    sys.exit(exit_code(sys.argv[1:] if arguments is None else arguments))


@cache
def command() -> Any:
    """The whole command line as one command of typer. Made once: reading every signature takes 0.1 s."""
    return typer.main.get_command(app)


def exit_code(arguments: Sequence[str]) -> int:
    """Run one command; bad input is one line on stderr, a fault of ours keeps its trace."""
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")  # the default of MuJoCo needs a screen
    try:
        words = list(arguments) or ["--help"]
        return command()(args=words, prog_name="kinema", standalone_mode=False) or 0
    except TyperException as error:  # wrong usage: unknown option, missing argument, value of another type
        say_error(f"{error.format_message()} (`{_command_path(error)} --help` shows how it is used)")
        return 2
    except Abort:
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "kinema").startswith("kinema"):
            raise
        say_error(
            f"this needs the package {error.name}, which is not installed; `kinema doctor` says how to get it"
        )
        return 2
    except Exception as error:  # sorted here: what the user can mend is said in one line, the rest is a bug
        error = _in_place_of(error)
        if os.environ.get("KINEMA_TRACEBACK") or not _is_users(error):
            traceback.print_exc()
            return 3
        say_error(_in_words(error))
        return 2


def _in_place_of(error: Exception) -> Exception:
    """The error itself, or where MuJoCo found no OpenGL what is the matter with this machine's."""
    from kinema.commands.rendering import is_about_drawing, require_rendering

    if is_about_drawing(error):
        try:
            require_rendering()
        except Exception as fault:  # in words, with what mends it
            return fault
    return error


def _command_path(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "kinema"


def _is_users(error: Exception) -> bool:
    from kinema.schema import KinemaError

    return isinstance(error, KinemaError | ValueError | OSError) or _DISK_FULL in str(error)


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if _DISK_FULL in str(error):  # some writers wrap the system's word in an error of their own
        return f"the disk is full: {error}"
    return str(error)
