"""One config: fitted, compared, measured, written."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from setclip.config import RunConfig
from setclip.data.atomic import write_json
from setclip.data.bad_items import BadItem, TooManyBadItemsError, located, write_bad_items
from setclip.data.material import Material, load_material
from setclip.methods import Method
from setclip.model import AlignedModel
from setclip.run.folder import (
    BAD_ITEMS,
    RESULTS,
    change_of_data,
    claim,
    claim_comparison,
    fingerprinted,
    run_config,
    run_material,
    start_anew,
)
from setclip.run.measure import Result, measure, method_names
from setclip.training.distributed import join, rank, wait
from setclip.training.journal import Journal

PACKAGES = ("setclip", "torch", "numpy", "scipy", "scikit-learn", "transformers")

Say = Callable[[str], None]


def run_fit(
    config: RunConfig, *, command: str = "", progress: bool = False, say: Say = print
) -> list[Result]:
    """Fit the config's method and those it is compared with, measure all, write the folder.

    Args:
        config: The run.
        command: The command that started it, for the report.
        progress: Show progress bars.
        say: Receives a sentence at each stage.

    Returns:
        Results, the run's own method first; empty recalls where the data hold no test.

    Raises:
        NotADirectoryError: The config's output is a file.
        ValueError: The data cannot be used, or the folder holds the weights of another config.
    """
    join()
    folder = config.output
    if rank() == 0:
        claim(config)
        material = _first_read(config, progress)
        change = change_of_data(folder, material)
        if change:
            start_anew(folder)
            say(f"The data have changed since {folder} was fitted: {change}. It is fitted anew.")
    wait()
    if rank():
        material = load_material(config)  # from the cache that the first process filled
    else:
        write_bad_items(folder / BAD_ITEMS, material.bad)
    say = say if rank() == 0 else _silent
    say(f"Learning from {material.pools.describe()}.")
    say(material.held_out.describe())
    journal = Journal(folder, progress=progress)
    journals = [journal]
    if material.leaks:
        journal.warn(
            "leak",
            f"{material.leaks:,} of {len(material.x_test):,} test items have a near-duplicate "
            "in training: the test flatters. Remove them or split by group; or raise "
            "data.near_duplicate, if they are distinct items.",
        )
    own_name, *names = method_names([config.method, *config.compare])
    own, model = _fit(own_name, config.method, material, config, journal, keep=folder)
    results = [own]
    for name, other in zip(names, config.compare, strict=True):
        say(f"Comparing with {name}.")
        side = folder / "compare" / name.replace(" ", "-")
        if not rank():
            claim_comparison(side, other)
        wait()
        journals.append(Journal(side, progress=progress))
        results.append(_compared(name, other, material, config, journals[-1]))
    if rank():
        return results
    _list_bad(folder, material, journals, say)
    model.card.metrics, model.card.test_items = own.metrics, len(material.x_test)
    if not model.trained_encoders:  # those name their own
        model.card.x_encoder, model.card.y_encoder = material.x_encoder, material.y_encoder
    model.save(folder)
    write_json(
        folder / RESULTS,
        {
            "command": command,
            "created": time.strftime("%Y-%m-%d %H:%M"),
            "versions": versions(),
            "gallery": len(material.x_test),
            "data": fingerprinted(material),
            "results": [asdict(result) for result in results],
        },
    )
    return results


def _first_read(config: RunConfig, progress: bool) -> Material:
    """The data of a run; where too many items are bad, all of them are listed in its folder."""
    try:
        return load_material(config, progress=progress)
    except TooManyBadItemsError as error:
        write_bad_items(config.output / BAD_ITEMS, error.items)
        raise


def _list_bad(folder: Path, material: Material, journals: Sequence[Journal], say: Say) -> None:
    """List what reading the data found and what training did, each item once."""
    found = [item for journal in journals for item in located(journal.bad, material.places)]
    # Several methods meet the same item, and may word differently what ails it.
    once = {(item.source, item.row, item.field): item for item in reversed(found)}
    bad: list[BadItem] = [*material.bad, *sorted(once.values(), key=lambda i: (i.source, i.row))]
    write_bad_items(folder / BAD_ITEMS, bad)
    if bad:
        say(f"Items that could not be read and were left out: {len(bad):,}, see {BAD_ITEMS}.")


def _silent(sentence: str) -> None:
    """Say nothing."""


def _fit(
    name: str,
    method: Method,
    material: Material,
    config: RunConfig,
    journal: Journal,
    *,
    keep: Path | None = None,
) -> tuple[Result, AlignedModel]:
    assert journal.directory is not None
    journal.directory.mkdir(parents=True, exist_ok=True)
    resumed = any((journal.directory / "checkpoints").glob("*"))
    started = time.perf_counter()
    model = method.fit(material.pools, seed=config.seed, journal=journal)
    seconds = None if resumed else time.perf_counter() - started
    if keep is not None and not rank():
        model.save(keep)  # whatever measuring it may meet
    return measure(name, model, material, config, seconds), model


def _compared(
    name: str, method: Method, material: Material, config: RunConfig, journal: Journal
) -> Result:
    """A compared method's result; that it cannot work here is a result too."""
    try:
        return _fit(name, method, material, config, journal)[0]
    except (ValueError, ImportError, OSError) as error:  # missing libraries and weights, too
        return Result(name, {}, None, None, {}, [], [], error=str(error))


def run_evaluate(folder: Path, *, progress: bool = False) -> Result:
    """Measure a fitted run again on its test.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The run's data hold no test, or have changed since it was fitted.
    """
    config = run_config(folder)
    material = run_material(config, progress=progress)
    if not len(material.x_test):
        raise ValueError(
            f"the data of {folder} hold no test: set data.test_fraction, a split column, or "
            "x_test and y_test."
        )
    model = AlignedModel.load(folder, trust=True)
    return measure(method_names([config.method])[0], model, material, config, None)


def versions() -> dict[str, str]:
    """Version by package, of those installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
