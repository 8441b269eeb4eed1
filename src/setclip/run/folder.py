"""The folder of a run: whose it is, what it was fitted to, what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from setclip.config import RunConfig, changed_fields
from setclip.data.atomic import write_json
from setclip.data.material import Material, load_material
from setclip.data.pools import digest, make_pools
from setclip.methods import AnyMethod

CONFIG, RESULTS, BAD_ITEMS = "config.json", "results.json", "bad_items.jsonl"
METHOD = "method.json"
"""In the folder of a compared method: its options."""
# Of what fingerprints look at: those of another version say nothing.
_VERSION = 2


def claim(config: RunConfig) -> None:
    """Take the folder for this config, or refuse if it holds a run of another one."""
    folder = config.output
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if there.is_file():
        raise NotADirectoryError(
            f"output is {folder}, but {there} is a file: give a folder, for instance "
            "output=runs/first."
        )
    path = folder / CONFIG
    changed = changed_fields(run_config(folder), config) if path.is_file() else {}
    if changed and _holds_weights(folder):
        listed = "; ".join(f"{n}: {old!r} → {new!r}" for n, (old, new) in changed.items())
        raise ValueError(
            f"{folder} holds a run of another config ({listed}). Choose another folder "
            f"with output=…, or delete {folder} to start again."
        )
    if changed:  # a fit that failed: its curves are not to be read as this one's
        start_anew(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, config.model_dump(mode="json"))


def start_anew(folder: Path) -> None:
    """Remove what an earlier fit left, the own one's and those compared with."""
    for one in (folder, *folder.glob("compare/*")):
        forget_training(one)
    # Results that outlived their data would make every restart begin anew.
    for path in (folder / RESULTS, *folder.glob("model.*")):
        path.unlink(missing_ok=True)


def forget_training(folder: Path) -> None:
    """Remove curves and checkpoints of one method's fit."""
    (folder / "log.jsonl").unlink(missing_ok=True)
    if (folder / "checkpoints").is_dir():
        shutil.rmtree(folder / "checkpoints")


def claim_comparison(folder: Path, method: AnyMethod) -> None:
    """Take the folder of a compared method; what it learned with other options is forgotten."""
    path = folder / METHOD
    decisive = json.loads(json.dumps(method.decisive()))
    before = json.loads(path.read_bytes()) if path.is_file() else None
    if before is not None and before != decisive:
        forget_training(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, decisive)


def _holds_weights(folder: Path) -> bool:
    """Whether a fit came as far as to leave a model or a checkpoint."""
    left = ("model.*", RESULTS, "checkpoints/*", "compare/*/checkpoints/*")
    return any(path for pattern in left for path in folder.glob(pattern))


def run_config(folder: Path) -> RunConfig:
    """The config that a run folder was made from.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: Its ``config.json`` is not that of a run.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no run ({CONFIG} is missing): give a folder that `setclip fit` wrote."
        )
    try:
        config = RunConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        problem = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise ValueError(
            f"{path} is not the config of a run of this version ({problem}). Give a folder that "
            "`setclip fit` wrote, or fit into another one with output=…"
        ) from None
    return config.model_copy(update={"output": folder})


def run_results(folder: Path) -> dict[str, Any]:
    """What ``results.json`` of a run holds.

    Raises:
        FileNotFoundError: The run has not ended.
        ValueError: The file does not hold what a run writes.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, the run has not ended: `setclip fit` with the same config "
            "goes on where it stopped."
        )
    try:
        results: dict[str, Any] = json.loads(path.read_bytes())
        lacking = {"command", "created", "versions", "gallery", "results"} - set(results)
    except ValueError as error:
        raise _not_results(path, str(error)) from None
    if lacking:
        raise _not_results(path, f"it lacks {', '.join(sorted(lacking))}")
    return results


def _not_results(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{path} does not hold the results of a run ({why}): delete it, and `setclip fit` with "
        "the same config writes it again."
    )


def run_material(config: RunConfig, *, progress: bool = False) -> Material:
    """The data of a run, in the very parts that it was fitted to and is tested on.

    Raises:
        ValueError: They have changed since: a split drawn anew tests on what was learned.
    """
    material = load_material(config, progress=progress)
    change = change_of_data(config.output, material)
    if change:
        raise ValueError(
            f"the data have changed since {config.output} was fitted: {change}. Its model may have "
            "learned from what would be its test now. Fit again, into another folder (output=…), "
            "or give the run the data that it had."
        )
    return material


def change_of_data(folder: Path, material: Material) -> str:
    """How the data differ from those that a run was fitted to; empty where none is known to."""
    # A run that has not ended, or is of an earlier version, has not written what it was fitted to.
    fitted = run_results(folder).get("data") if (folder / RESULTS).is_file() else None
    found = fingerprinted(material)
    if not fitted or fitted["digest"] == found["digest"]:
        return ""
    if not fitted["digest"].startswith(f"{_VERSION}:"):
        return ""  # of an earlier version, which looked at other things
    same = ", of other content" if fitted["parts"] == found["parts"] else ""
    return f"then {fitted['parts']}, now {found['parts']}{same}"


def fingerprinted(material: Material) -> dict[str, str]:
    """What a run is fitted to and tested on: in words, and as a fingerprint."""
    return {
        "parts": f"{material.pools.describe()}; {len(material.x_test):,} test items",
        "digest": f"{_VERSION}:{_fingerprint(material)}",
    }


def _fingerprint(material: Material) -> str:
    """Of ready features their bytes; of raw items their texts, names and places, and the sets.

    What an encoder makes of the same items differs in its last digits between machines.
    """
    if not material.x_encoder and not material.y_encoder:
        parts = material.pools, make_pools(material.x_test, material.y_test)
        return "/".join(map(digest, parts))
    hasher = hashlib.sha256()
    for stream, places in sorted(material.places.items()):
        hasher.update(os.fsencode("\0".join([stream, *places.sources])))
        hasher.update(np.ascontiguousarray(places.rows).data)
    pools = material.pools
    for ids in (pools.x_sets, pools.y_sets):
        hasher.update(np.ascontiguousarray(ids).data)
    known = pools.items
    learned = (known.x_pairs, known.y_pairs, known.x_pool, known.y_pool) if known else ()
    for items in (*learned, material.x_test_items, material.y_test_items):
        for item in items:
            raw = item.name if isinstance(item, Path) else item
            # Names of files need not be UTF-8, and texts may hold halves of characters.
            hasher.update(
                raw if isinstance(raw, bytes) else str(raw).encode("utf-8", "surrogatepass")
            )
    return hasher.hexdigest()[:16]
