"""Matches among the pools of a finished run: proposed, given a probability, written for review."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from setclip.data.atomic import write_text
from setclip.data.material import Material
from setclip.data.pools import FloatArray
from setclip.methods import Method
from setclip.mining.calibration import FEWEST_HELD_OUT, Trial, calibrate, estimate_coverage
from setclip.mining.candidates import Candidates
from setclip.mining.labelling import item_name
from setclip.mining.review import ReviewRow, review_page
from setclip.mining.trial import Say, propose, run_trial, trial_on_test
from setclip.model import AlignedModel
from setclip.run import run_config, run_material

MATCHES, PAGE = "matches.csv", "matches.html"
COLUMNS = ("x_row", "x", "y_row", "y", "probability", "similarity", "margin", "rank", "mutual")

# An estimate of the coverage that is open by more than this is worth less than the plain case.
COVERAGE_ERROR = 0.2
LEAST_COVERAGE = 0.01


@dataclass(frozen=True, eq=False)
class Mined:
    """What `setclip mine` found.

    Attributes:
        candidates: The most probable first.
        probability: Of each candidate; None where nothing could calibrate it. Shape [c].
        notes: What the probabilities rest on and assume, in sentences.
        csv: Where all of them are.
        page: Where the first of them can be reviewed.
    """

    candidates: Candidates
    probability: npt.NDArray[np.float64] | None
    notes: list[str]
    csv: Path
    page: Path


def mine_run(
    folder: Path,
    *,
    coverage: float | None = None,
    per_item: int = 3,
    folds: int = 5,
    shown: int = 300,
    progress: bool = False,
    say: Say = print,
) -> Mined:
    """Propose matches among the pools of a run and write ``matches.csv`` and ``matches.html``.

    Probabilities are calibrated by fitting the method again without parts of the pairs; one that
    trains encoders is not fitted again, and the run's test takes their place.

    Args:
        folder: A run that has ended.
        coverage: Share of the x whose partner is among the y, above 0 to 1. None estimates it from
            the scores where they tell, and assumes 1 inside sets and where they do not.
        per_item: Candidates for each x.
        folds: Fits without a part of the pairs, which the probabilities are calibrated by.
        shown: Matches on the page, the most probable first.
        progress: Show progress bars while data are read.
        say: Receives a sentence at each stage.

    Raises:
        FileNotFoundError: The folder holds no run that has ended.
        ValueError: The run has no pool on one side, its data have changed since it was fitted, or
            an argument is out of range.
    """
    _check(coverage, per_item, folds)
    config = run_config(folder)
    model = AlignedModel.load(folder, trust=True)
    material = run_material(config, progress=progress)
    pools = material.pools
    if not len(pools.x_pool) or not len(pools.y_pool):
        raise ValueError(
            f"{folder} has pools of {len(pools.x_pool):,} x and {len(pools.y_pool):,} y: matches "
            "are sought between items without a known partner, of which both sides need some."
        )
    x_pool, y_pool = pools.unpaired
    pool = model.encode_x(x_pool), model.encode_y(y_pool)
    found = propose(*pool, pools, per_item=per_item)
    if config.method.trains_encoders:
        trial, about = _by_test(model, material, pool, per_item, config.seed)
    else:
        trial, about = _by_folds(config.method, material, per_item, folds, config.seed, say)
    probability, notes = _probabilities(trial, found, coverage, in_sets=len(pools.shared_sets) > 0)
    strangers = len(pools.x_pool) - len(np.unique(found.x))
    if strangers:
        notes.append(
            f"{strangers:,} of {len(pools.x_pool):,} x are in no set with a y: matches are sought "
            "inside sets, so none is proposed for them."
        )
    notes = [about, *notes]
    # Isotonic probabilities come in steps: inside a step the margin decides.
    order = np.lexsort(
        (-found.margin, np.zeros(len(found)) if probability is None else -probability)
    )
    found = found.at(order)
    probability = None if probability is None else probability[order]
    mined = Mined(found, probability, notes, folder / MATCHES, folder / PAGE)
    write_text(mined.csv, _table(mined, material))
    write_text(mined.page, _page(mined, material, shown))
    return mined


def _check(coverage: float | None, per_item: int, folds: int) -> None:
    if coverage is not None and not 0 < coverage <= 1:
        raise ValueError(
            f"coverage is {coverage}: give the share of the x that have their partner among the "
            "y, above 0 and up to 1; or leave it out."
        )
    for name, value, least in (("per_item", per_item, 1), ("folds", folds, 2)):
        if value < least:
            raise ValueError(f"{name} is {value}: give {least} or more.")


def _by_folds(
    method: Method, material: Material, per_item: int, folds: int, seed: int, say: Say
) -> tuple[Trial | None, str]:
    """A trial by fits without some of the pairs, and what to tell of it."""
    pools, groups = material.pools, material.pair_groups
    if pools.n_pairs < FEWEST_HELD_OUT:
        return None, (
            f"No probability: {pools.n_pairs} pairs are too few to calibrate by, "
            f"{FEWEST_HELD_OUT} or more would do. The order is by margin."
        )
    trial = run_trial(method, pools, groups, per_item=per_item, folds=folds, seed=seed, say=say)
    if trial is None:
        return None, (
            "No probability: without a part of the pairs too little is left to learn from. The "
            "order is by margin."
        )
    return trial, (
        f"Calibrated on {trial.pairs:,} held-out pairs in {trial.folds} folds; each fold's model "
        "saw fewer pairs than the run's, so the probabilities are a little low."
    )


def _by_test(
    model: AlignedModel,
    material: Material,
    pool: tuple[FloatArray, FloatArray],
    per_item: int,
    seed: int,
) -> tuple[Trial | None, str]:
    """A trial on the run's test, which its model was not trained on, and what to tell of it."""
    count = len(material.x_test)
    if count < FEWEST_HELD_OUT:
        return None, (
            f"No probability: a run that trained encoders is calibrated on its test, and {count} "
            f"test pairs are too few, {FEWEST_HELD_OUT} or more would do (data.test_fraction). "
            "The order is by margin."
        )
    test = material.test_x, material.test_y
    trial = trial_on_test(model, test, pool, material.pools, per_item=per_item, seed=seed)
    return trial, (
        f"Calibrated on the {count:,} pairs of the run's test, which its encoders did not learn "
        "from as they did from the pools: where a match is doubtful, its probability may be too "
        "high."
    )


def _probabilities(
    trial: Trial | None, found: Candidates, coverage: float | None, *, in_sets: bool
) -> tuple[npt.NDArray[np.float64] | None, list[str]]:
    if trial is None:
        return None, []
    share, why = _coverage(coverage, trial, found, in_sets=in_sets)
    return calibrate(trial, coverage=share)(found), [why]


def _coverage(
    asked: float | None, trial: Trial, found: Candidates, *, in_sets: bool
) -> tuple[float, str]:
    """The share of x that have a partner, and what to tell of it."""
    if asked is not None:
        return asked, f"Taken as given: {asked:.0%} of the x have their partner among the y."
    if in_sets:
        return 1.0, "Assumed: every x has its partner in its set. Give --coverage if many do not."
    share, error = estimate_coverage(trial, found)
    if error <= COVERAGE_ERROR:
        return max(share, LEAST_COVERAGE), (
            f"Estimated from the scores: {share:.0%} ± {2 * error:.0%} of the x have their partner "
            "among the y. Give --coverage if you know better."
        )
    return 1.0, (
        "Assumed: every x has its partner among the y. The scores do not tell how many do; if it "
        "is about half of them, half the probabilities: give --coverage 0.5."
    )


def _table(mined: Mined, material: Material) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    found, pairs = mined.candidates, material.pools.n_pairs
    chance = [""] * len(found) if mined.probability is None else _decimals(mined.probability)
    cosine, margin = _decimals(found.similarity), _decimals(found.margin)
    for i, (x, y) in enumerate(zip(found.x.tolist(), found.y.tolist(), strict=True)):
        names = item_name(material.x_shown[pairs + x]), item_name(material.y_shown[pairs + y])
        place = int(found.rank[i]), "yes" if found.mutual[i] else "no"
        rows = material.row_of("x pool", x), material.row_of("y pool", y)
        found_at = rows[0], names[0], rows[1], names[1]
        writer.writerow((*found_at, chance[i], cosine[i], margin[i], *place))
    return buffer.getvalue()


def _page(mined: Mined, material: Material, shown: int) -> str:
    found, pairs = mined.candidates, material.pools.n_pairs
    rows = [
        ReviewRow(
            material.row_of("x pool", int(found.x[i])),
            material.x_shown[pairs + found.x[i]],
            material.row_of("y pool", int(found.y[i])),
            material.y_shown[pairs + found.y[i]],
            None if mined.probability is None else float(mined.probability[i]),
            float(found.similarity[i]),
            bool(found.mutual[i]),
        )
        for i in np.flatnonzero(found.rank == 1)[:shown]
    ]
    names = material.x_name, material.y_name
    return review_page(rows, names, notes=mined.notes, total=int((found.rank == 1).sum()))


def _decimals(values: npt.NDArray[np.floating]) -> list[str]:
    return [f"{value:.4f}" for value in values]
