"""Chains of alpha carbons as small drawings: a smooth line, blue at its start, orange at its end.

Line widths and paleness show depth, and a nearer stretch leaves a white rim where it crosses a
farther one. How a chain lies in space does not matter: it is turned onto its own axes first.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.proteins.chains import joined
from setclip.report.palette import chain_colour

Points = npt.NDArray[np.float64]

# Residues over which a position is averaged: helices stay waves, the zigzag of strands goes.
SMOOTHING = 0.8
# Points between two residues before smoothing.
FINE = 4
PIECES = 28
"""Stretches of one colour and width: more are smoother and larger."""
POINTS_A_PIECE = 6
# A file of loose fragments would otherwise make a drawing of any size.
MOST_RUNS = 12
# Side of the drawing in its own units: whole numbers are exact enough and short.
VIEW = 400
MARGIN = 16
THIN, THICK, RIM = 8.0, 17.0, 10.0
# How much of its colour the farthest stretch loses to the white ground.
PALEST = 0.5


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of a drawn chain.

    Attributes:
        points: Its line in the unit square, y upwards. Shape [p, 2].
        colour: As "#rrggbb", depth included.
        nearness: From 0, farthest, to 1, nearest.
    """

    points: Points
    colour: str
    nearness: float

    @property
    def width(self) -> float:
        """Width of the line as a share of the drawing's side."""
        return (THIN + (THICK - THIN) * self.nearness) / VIEW

    @property
    def rim(self) -> float:
        """Width of the white line beneath it."""
        return self.width + RIM / VIEW


def trace_svg(
    ca: npt.NDArray[np.floating], *, title: str = "", size: int = 120, pieces: int = PIECES
) -> str:
    """A chain as SVG of a few kilobytes that stands by itself.

    Args:
        ca: Alpha carbons in A, in the order of the chain; rows that are not finite are left out.
            Shape [n, 3].
        title: What a screen reader says first.
        size: Width and height in pixels.
        pieces: About how many stretches of one colour to draw; bytes grow with it.

    Raises:
        ValueError: Not of shape [n, 3].
    """
    words = f"{title}: " if title else ""
    label = html.escape(f"{words}chain of {len(ca):,} residues, from blue to orange")
    drawn = "".join(_svg_piece(piece) for piece in trace_pieces(ca, pieces=pieces))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" '
        f'viewBox="0 0 {VIEW} {VIEW}" role="img"><title>{label}</title>'
        f'<g fill="none" stroke-linecap="round" stroke-linejoin="round">{drawn}</g></svg>'
    )


def both_ends(sequence: str, limit: int) -> str:
    """A sequence of at most `limit` letters, or its first and last ones with … between them."""
    if len(sequence) <= limit:
        return sequence
    tail = limit // 3
    return f"{sequence[: limit - tail - 1]}…{sequence[-tail:]}"


def trace_pieces(ca: npt.NDArray[np.floating], *, pieces: int = PIECES) -> list[Piece]:
    """The stretches of a chain, farthest first; none where no position is finite.

    Args:
        ca: Shape [n, 3].
        pieces: About how many.

    Raises:
        ValueError: Not of shape [n, 3].
    """
    positions = np.asarray(ca, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ValueError(f"a chain has shape {list(positions.shape)}, expected [n, 3].")
    runs = _runs(positions)
    if not runs:
        return []
    turned = _turned(positions)
    budget = pieces * POINTS_A_PIECE / sum(len(run) for run in runs)
    curves = [_curve(turned, run, round(budget * len(run))) for run in runs]
    lines = _fitted([line for line, _ in curves])
    cut = [
        (line[start : start + POINTS_A_PIECE + 1], place[start : start + POINTS_A_PIECE + 1])
        for line, (_, place) in zip(lines, curves, strict=True)
        for start in range(0, max(1, len(line) - 1), POINTS_A_PIECE)
    ]
    found = [_piece(line, float(place.mean()) / max(1, len(ca) - 1)) for line, place in cut]
    return sorted(found, key=lambda piece: piece.nearness)


def _runs(positions: Points) -> list[npt.NDArray[np.int64]]:
    """Rows of each unbroken stretch; the longest ones if there are too many."""
    rows = np.arange(len(positions))
    # A distance to NaN is no bond, so rows that are not finite stand alone and are dropped.
    with np.errstate(invalid="ignore"):
        breaks = np.flatnonzero(~joined(positions.astype(np.float32))) + 1
    finite = np.asarray(np.isfinite(positions).all(axis=1))
    runs = [run for run in np.split(rows, breaks) if len(run) and finite[run].all()]
    longest = sorted(runs, key=len, reverse=True)[:MOST_RUNS]
    return sorted(longest, key=lambda run: int(run[0]))


def _turned(positions: Points) -> Points:
    """Positions on the chain's own axes: the longest across, the next one up, the last in depth.

    Signs make the chain run rightwards and upwards on the whole. The third axis follows from the
    others, since a mirror image would be another molecule.
    """
    rows = np.flatnonzero(np.isfinite(positions).all(axis=1))
    centred = positions - positions[rows].mean(axis=0)
    _, _, axes = np.linalg.svd(centred[rows])
    along = (rows - rows.mean()) @ centred[rows] @ axes[:2].T
    first, second = axes[:2] * np.where(along < 0, -1.0, 1.0)[:, None]
    frame = np.stack([first, second, np.cross(first, second)])
    # Element by element and not a matrix product, which would spread NaN with a warning.
    return np.stack([(centred * axis).sum(axis=1) for axis in frame], axis=1)


def _curve(positions: Points, run: npt.NDArray[np.int64], points: int) -> tuple[Points, Points]:
    """A smooth line through one stretch, and the row of the chain that each point stands for."""
    from scipy.ndimage import gaussian_filter1d

    if len(run) == 1:
        return positions[run], run.astype(np.float64)
    steps = np.linspace(0, len(run) - 1, FINE * (len(run) - 1) + 1)
    dense = np.stack([np.interp(steps, np.arange(len(run)), c) for c in positions[run].T], axis=1)
    smooth = gaussian_filter1d(dense, SMOOTHING * FINE, axis=0, mode="nearest")
    kept = np.linspace(0, len(steps) - 1, min(max(points, 2), len(steps))).round().astype(np.int64)
    return smooth[kept], run[0] + steps[kept]


def _fitted(lines: list[Points]) -> list[Points]:
    """Lines scaled together into the unit square, depth into 0 to 1."""
    every = np.concatenate(lines)
    low, high = every.min(axis=0), every.max(axis=0)
    side = float((high - low)[:2].max()) or 1.0
    depth = float((high - low)[2]) or 1.0
    inner = 1 - 2 * MARGIN / VIEW
    middle = (low + high) / 2
    scale = np.array([inner / side, inner / side, 1 / depth])
    return [(line - middle) * scale + 0.5 for line in lines]


def _piece(line: Points, place: float) -> Piece:
    nearness = float(line[:, 2].mean())
    return Piece(line[:, :2], chain_colour(place, PALEST * (1 - nearness)), nearness)


def _svg_piece(piece: Piece) -> str:
    line = _path(piece.points)
    # The rim ends short of the piece, or it would cut into its neighbours along the chain.
    rim = (
        f'<path d="{_path(piece.points[1:-1])}" stroke="#fff" '
        f'stroke-width="{VIEW * piece.rim:.0f}" stroke-linecap="butt"/>'
        if len(piece.points) > 3
        else ""
    )
    return (
        f'{rim}<path d="{line}" stroke="{piece.colour}" stroke-width="{VIEW * piece.width:.0f}"/>'
    )


def _path(points: Points) -> str:
    corners = np.rint(points * VIEW).astype(np.int64)
    corners[:, 1] = VIEW - corners[:, 1]
    (x, y), steps = corners[0], np.diff(corners, axis=0)
    # A line of no length has round ends: a dot.
    moves = " ".join(f"{dx} {dy}" for dx, dy in steps) or "0 0"
    return f"M{x} {y}l{moves}".replace(" -", "-")
