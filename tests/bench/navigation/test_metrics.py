"""VLN-CE's metrics: cases computed by hand, an independent formula, and fastdtw where it is installed."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.bench.navigation.metrics import Walk, metrics, ndtw
from kinema.schema import KinemaError
from laws import examples

STRAIGHT = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]])
BESIDE = STRAIGHT + np.array([0, 0.5, 0])


def walk(places: np.ndarray, distances_m: list[float], *, stop: bool = True, truth=STRAIGHT) -> Walk:
    return Walk(places=places, distances_m=np.array(distances_m), truth=truth, stop_called=stop)


def test_the_experts_own_way_is_perfect() -> None:
    found = metrics(walk(STRAIGHT, [4, 3, 2, 1, 0]))
    assert found == {
        "ne_m": 0, "osr": 1, "sr": 1, "spl": 1, "ndtw": 1, "sdtw": 1, "path_length_m": 4,
    }  # fmt: skip


def test_a_detour_by_hand() -> None:
    """Up to (0, 3), across to (4, 3) and down: 10 m where 4 m are the shortest."""
    places = np.array([[0.0, 0, 0], [0, 3, 0], [4, 3, 0], [4, 0, 0]])
    found = metrics(walk(places, [4, 5, 3, 0]))
    assert found["path_length_m"] == 10
    assert found["spl"] == pytest.approx(0.4)
    assert found["ndtw"] == pytest.approx(np.exp(-best_match(places, STRAIGHT) / (5 * 3)))
    assert found["sdtw"] == found["ndtw"]


def test_warping_by_hand() -> None:
    """One place against five: their distances 0 + 1 + 2 + 3 + 4 over five times 3 m."""
    assert ndtw(STRAIGHT[:1], STRAIGHT) == pytest.approx(np.exp(-10 / 15))


def test_a_success_is_nearer_than_three_metres_and_stopped() -> None:
    for far, stop, sr in ((3.0, True, 0), (2.999, True, 1), (0.0, False, 0)):
        found = metrics(walk(STRAIGHT, [4, 4, 4, 4, far], stop=stop))
        assert (found["sr"], found["spl"] > 0, found["sdtw"] > 0) == (sr, bool(sr), bool(sr))
        assert found["ndtw"] == 1  # asked for without a stop, too
        assert found["osr"] == float(far < 3)


def test_an_oracle_counts_the_start_and_every_step() -> None:
    assert metrics(walk(STRAIGHT, [2.9, 5, 5, 5, 5]))["osr"] == 1
    assert metrics(walk(STRAIGHT, [5, 5, 2.9, 5, 5]))["osr"] == 1
    assert metrics(walk(STRAIGHT, [5, 5, 3.0, 5, 5]))["osr"] == 0


def test_who_is_quicker_than_the_shortest_way_gains_nothing() -> None:
    """Steps are straight lines, the start's distance is a way on foot: it may be the longer one."""
    assert metrics(walk(STRAIGHT, [4.2, 3, 2, 1, 0]))["spl"] == 1


def test_standing_still_changes_no_warping() -> None:
    stood = np.repeat(BESIDE, [1, 3, 1, 1, 4], axis=0)
    assert ndtw(stood, STRAIGHT) == ndtw(BESIDE, STRAIGHT)
    waited = np.repeat(STRAIGHT, [1, 1, 1, 1, 3], axis=0)  # but the expert's stands count
    assert ndtw(STRAIGHT[:1], waited) == pytest.approx(np.exp(-18 / 21))


@pytest.mark.parametrize("what", ["places", "distances_m", "truth"])
def test_a_walk_without_one_of_them_is_refused(what: str) -> None:
    told = {"places": STRAIGHT, "distances_m": np.arange(5.0), "truth": STRAIGHT} | {what: np.zeros((0, 3))}
    with pytest.raises(KinemaError, match="a walk needs a distance for each of its places"):
        Walk(**told, stop_called=True)


def best_match(a: np.ndarray, b: np.ndarray) -> float:
    """Dynamic time warping as its recursion is written down."""

    @cache
    def cost(i: int, j: int) -> float:
        here = float(np.linalg.norm(a[i] - b[j]))
        if i == j == 0:
            return here
        before = [(i - 1, j), (i, j - 1), (i - 1, j - 1)]
        return here + min(cost(*cell) for cell in before if min(cell) >= 0)

    return cost(len(a) - 1, len(b) - 1)


PATHS = st.lists(st.tuples(*[st.floats(-9, 9)] * 3), min_size=1, max_size=9, unique=True).map(np.array)


@examples(40)
@given(PATHS, PATHS)
def test_warping_is_its_recursion(places: np.ndarray, truth: np.ndarray) -> None:
    expected = np.exp(-best_match(places, truth) / (len(truth) * 3.0))
    assert ndtw(places, truth) == pytest.approx(expected, abs=1e-12)


def test_warping_is_fastdtws_on_paths_like_an_experts() -> None:
    fastdtw = pytest.importorskip("fastdtw", reason="VLN-CE's own warping, only compared with").fastdtw
    rng = np.random.default_rng(0)
    for _ in range(10):
        truth = np.cumsum(np.abs(rng.normal(0.2, 0.05, (40, 3))), axis=0)
        places = truth[::2] + rng.normal(0, 0.1, (20, 3))
        total = fastdtw(places, truth, dist=lambda a, b: float(np.linalg.norm(a - b)))[0]
        assert ndtw(places, truth) == pytest.approx(np.exp(-total / (len(truth) * 3.0)), rel=1e-6)
