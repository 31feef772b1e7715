"""Where a round body's middle can be, and how far it is from there to a goal.

A grid of square cells. Distances are those of the shortest way over the grid with sixteen moves from a cell
(king's and knight's), at most 2.8 % longer than the straight line. Axes: H rows (y), W columns (x), N points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinema.worlds.house.house import House, Rectangle

CELL_M = 0.10
RADIUS_M = 0.18  # VLN-CE's agent
_KING = [(0, 1), (1, 0), (1, 1), (1, -1)]
_KNIGHT = [(1, 2), (2, 1), (1, -2), (2, -1)]
_MOVES = [(sign * y, sign * x) for y, x in (*_KING, *_KNIGHT) for sign in (1, -1)]


class FreeSpace:
    """free: bool (H, W)"""

    def __init__(self, house: House, radius_m: float = RADIUS_M, *, sight: bool = False) -> None:
        """sight: what a body sees over is free, furniture that is; only walls are in the way"""
        extent = house.extent
        self._low = np.array(extent.low)
        self.free = np.ones(np.round(np.array(extent.size)[::-1] / CELL_M).astype(int), bool)
        blocks = [floor for _, floor in house.walls()]
        blocks += [] if sight else [thing.footprint for thing in house.things]
        for block in blocks:
            self._block(block.grown(radius_m))
        self._cost_m = {
            (dy, dx): np.where(self._may_move(dy, dx), CELL_M * np.hypot(dy, dx), np.inf) for dy, dx in _MOVES
        }

    def _block(self, block: Rectangle) -> None:
        """Cells whose middle lies inside."""
        x0, y0 = np.ceil((block.low - self._low) / CELL_M - 0.5).astype(int).clip(0)
        x1, y1 = np.floor((block.high - self._low) / CELL_M - 0.5).astype(int) + 1
        self.free[y0 : max(y1, 0), x0 : max(x1, 0)] = False

    def _may_move(self, dy: int, dx: int) -> np.ndarray:
        """From which cells (H, W) a move ends in a free cell and passes only free ones."""
        passed = [(dy, dx), *_between(dy, dx)]
        return self.free & np.logical_and.reduce([_shifted(self.free, *cell) for cell in passed])

    def cell(self, place: np.ndarray) -> tuple[int, int]:
        """Row and column of the cell in which a place (2,) lies, or of the nearest one."""
        x, y = np.floor((np.asarray(place) - self._low) / CELL_M).astype(int)
        return int(np.clip(y, 0, self.free.shape[0] - 1)), int(np.clip(x, 0, self.free.shape[1] - 1))

    def place(self, cell: Sequence[int]) -> np.ndarray:
        """The middle (2,) of a cell."""
        return self._low + CELL_M * (np.array([cell[1], cell[0]]) + 0.5)

    def places(self) -> np.ndarray:
        """The middle of every cell (H, W, 2)."""
        y, x = np.indices(self.free.shape)
        return self._low + CELL_M * (np.stack([x, y], -1) + 0.5)

    def is_free(self, place: np.ndarray) -> bool:
        x, y = (place - self._low) / CELL_M
        inside = 0 <= x < self.free.shape[1] and 0 <= y < self.free.shape[0]
        return bool(inside and self.free[int(y), int(x)])

    def distances(self, goal: np.ndarray) -> np.ndarray:
        """How far every cell is from the nearest of the goal cells, both (H, W) [m]; inf where no way is.

        Bellman and Ford's rounds over all cells at once and in place, until none comes nearer.
        """
        rows, columns = self.free.shape
        padded = np.full((rows + 4, columns + 4), np.inf)  # so that every move stays inside
        far = padded[2:-2, 2:-2]
        far[goal & self.free] = 0.0
        while True:
            before = far.copy()
            for (dy, dx), cost_m in self._cost_m.items():
                through = padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns] + cost_m
                np.minimum(far, through, out=far)
            if (far == before).all():
                return before

    def way(self, distances: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The shortest way (N, 2) from a place to the goal, cell by cell, the place itself first.

        Ends where it cannot get nearer: at the goal, or at once where no way is.
        """
        cell, way = self.cell(place), [np.asarray(place, float)]
        while np.isfinite(distances[cell]) and distances[cell] > 0:
            moves = {
                (cell[0] + dy, cell[1] + dx): cost_m[cell]
                for (dy, dx), cost_m in self._cost_m.items() if np.isfinite(cost_m[cell])
            }  # fmt: skip
            cell = min(moves, key=lambda there: distances[there] + moves[there])
            way.append(self.place(cell))
        return np.array(way)

    def sees(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether the straight line from a to b passes free cells alone."""
        count = 2 + int(np.linalg.norm(b - a) / (0.5 * CELL_M))
        return all(self.is_free(a + t * (b - a)) for t in np.linspace(0, 1, count))


def _between(dy: int, dx: int) -> list[tuple[int, int]]:
    """The cells that a slanting move touches on its way."""
    y, x = int(np.sign(dy)), int(np.sign(dx))
    if not y or not x:
        return []
    if abs(dy) == abs(dx):
        return [(0, x), (y, 0)]
    return [(0, x) if abs(dx) == 2 else (y, 0), (y, x)]


def _shifted(grid: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """What lies (dy, dx) further in a grid (H, W) of flags, for every cell; False outside."""
    rows, columns = grid.shape
    return np.pad(grid, 2)[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns]
