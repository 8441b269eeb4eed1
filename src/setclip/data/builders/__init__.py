"""Public data sets made on the user's machine from packages: a folder with a manifest each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from setclip.data.builders import mdi, openclipart, protein_chains
from setclip.data.builders.folder import Built
from setclip.suggest import nearest

__all__ = ["BUILDERS", "Built", "build"]

BUILDERS: dict[str, Callable[..., Built]] = {
    "openclipart": openclipart.build,
    "mdi-icons": mdi.build,
    "protein-chains": protein_chains.build,
}


def build(
    name: str, target: str | Path, *, source: str | Path | None = None, progress: bool = True
) -> Built:
    """Build the data set `name` in the folder `target`.

    Args:
        name: A key of `BUILDERS`.
        target: A folder that does not exist yet, or is empty.
        source: A folder that holds the packages, or their unpacked contents; None downloads them.
        progress: Show a progress bar.

    Raises:
        ValueError: No data set has that name.
        FileExistsError: `target` holds something already.
        SourceError: The packages cannot be fetched, or `source` lacks what is needed.
        ImportError: A library for reading or drawing pictures is not installed.
    """
    if name not in BUILDERS:
        raise ValueError(
            f"no data set is called {name!r}.{nearest(name, BUILDERS)} Choose one of: "
            f"{', '.join(BUILDERS)}."
        )
    return BUILDERS[name](
        Path(target), source=None if source is None else Path(source), progress=progress
    )
