"""The pool's laws, with processes of this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from workers import Squaring

from kinema.pool.pool import Lost, Pool
from kinema.pool.processes import Processes, without_ctrl_c
from kinema.schema import KinemaError

PLAIN = [("square", number) for number in range(20)]


def pool(notes: Path, count: int = 2, **settings) -> Pool:
    return Pool(Processes(), Squaring(notes=str(notes)), count, **settings)


def test_every_item_comes_back_once_in_its_order_and_a_worker_that_dies_costs_one_more_try(
    tmp_path, monkeypatch
):
    # the second worker of a busy machine may still be importing when all is done
    monkeypatch.setattr("kinema.pool.processes._PATIENCE_S", 120.0)
    items = [*PLAIN[:5], ("die once", 5), *PLAIN[6:]]
    with pool(tmp_path) as workers:
        assert list(workers.run_in_order(items)) == [(item, item[1] ** 2) for item in items]
        assert len(list(tmp_path.glob("die once5.*"))) == 2
        assert not [path for path in tmp_path.glob("square*") if not path.name.endswith(".0")], "done twice"
        assert sorted(workers.run(PLAIN)) == [(item, item[1] ** 2) for item in PLAIN], "open for more"
    assert len(list(tmp_path.glob("close.*"))) == 2, "sent home, not killed"


def test_an_item_that_kills_two_workers_is_lost_and_the_rest_is_done(tmp_path):
    items = [("die", 0), *PLAIN[1:5]]
    with pool(tmp_path) as workers:
        found = dict(workers.run_in_order(items))
    assert found[items[0]] == Lost("the worker process died with exit code -9, and so did the one before")
    assert [found[item] for item in items[1:]] == [1, 4, 9, 16]
    assert len(list(tmp_path.glob("die*"))) == 2


def test_an_item_that_takes_too_long_is_lost_at_once(tmp_path):
    with pool(tmp_path, count=1, limit_s=1.0) as workers:
        assert list(workers.run([("hang", 0), ("square", 3)])) == [
            (("hang", 0), Lost("ran longer than 1 s and was stopped")),
            (("square", 3), 9),
        ]


def test_few_items_are_begun_before_an_old_one_is_done(tmp_path):
    with pool(tmp_path) as workers:
        results = workers.run_in_order([("hang", 0), *PLAIN])
        workers._limit_s = 3.0
        assert next(results) == (("hang", 0), Lost("ran longer than 3 s and was stopped"))
        assert len(list(tmp_path.glob("square*"))) < 10


@pytest.mark.parametrize(
    ("what", "kind", "told"),
    [
        ("refuse", KinemaError, "^1 is refused$"),
        ("refuse oddly", KinemaError, "^1 and more$"),
        ("crash", ZeroDivisionError, "^1 broke$"),
    ],
)
def test_what_a_worker_raises_is_raised_here_with_its_trace(what, kind, told, tmp_path):
    with pool(tmp_path, count=1) as workers, pytest.raises(kind, match=told) as caught:
        list(workers.run([("square", 0), (what, 1)]))
    assert "workers.py" in str(caught.value.__cause__)


def test_a_worker_that_cannot_begin_says_why(tmp_path):
    unfit = Squaring(notes=str(tmp_path), unfit="nothing is there")
    with pytest.raises(KinemaError, match=r"^nothing is there$"), Pool(Processes(), unfit, 2):
        pass


def test_workers_never_see_ctrl_c() -> None:
    """Whatever they are doing, importing included: the signal is blocked before they exist."""
    script = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with without_ctrl_c():
        child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
