"""What a benchmark folder holds: what was asked of each suite, and tables of all that is there.

Results lie under keys that say what decided them; which of them belong to a suite, and under which
labels, stands in ``asked/<name>.json``. A suite that is measured piece by piece thus ends in one
table, which can be made again without measuring anything.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setclip.benchmark.cells import Asked, Cell
from setclip.benchmark.curves import curves_page
from setclip.benchmark.glance import at_a_glance
from setclip.benchmark.measure import Result
from setclip.benchmark.replaced import FIRST_CHOICE, pairs_replaced, replaced_tables
from setclip.benchmark.rivals import against_rivals, against_twice_the_pairs
from setclip.benchmark.runner import read_results
from setclip.benchmark.sets_worth import what_sets_gave
from setclip.benchmark.suites import SUITES, baseline_of, command, label_of
from setclip.benchmark.table import summarise, to_csv, to_markdown
from setclip.benchmark.timings import spoken
from setclip.data.atomic import write_json, write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """One suite in a benchmark folder.

    Attributes:
        folder: Of the benchmark.
        name: Of the files.
        suite: What `setclip bench` is given: a suite's name or a config's path.
        asked: Everything that was ever asked of it, the order of the first time kept.
    """

    folder: Path
    name: str
    suite: str
    asked: tuple[Asked, ...] = ()

    @classmethod
    def read(cls, folder: str | Path, name: str, suite: str = "") -> Archive:
        """What is there of a suite; nothing yet if it was never asked for.

        Raises:
            ValueError: Its file is damaged.
        """
        path = _path(Path(folder), name)
        if not path.is_file():
            return cls(Path(folder), name, suite)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            asked = tuple(Asked(*row) for row in content["asked"])
            return cls(Path(folder), name, suite or content["suite"], asked)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): remove it and run `setclip bench` on the suite "
                "again; results that are there are kept."
            ) from error

    def with_cells(self, cells: Sequence[Cell]) -> Archive:
        """With more asked of it, and written down; what is asked again takes its new key.

        What was measured of another method under a name that now means this one is forgotten: a row
        of both would be neither.
        """
        new = {cell.asked[1:]: cell.asked for cell in cells}
        meant: dict[tuple[str, str], list[Any]] = {}
        for cell in {(c.dataset, c.name, c.key): c for c in cells}.values():
            method = json.loads(json.dumps(cell.decisive()["method"]))
            meant.setdefault((cell.dataset, cell.name), []).append(method)
        old = {each[1:]: each for each in self.asked}
        every = {p: e for p, e in old.items() if p in new or not self._other(e, meant)} | new
        more = Archive(self.folder, self.name, self.suite, tuple(every.values()))
        content = {"suite": self.suite, "asked": [list(each) for each in more.asked]}
        write_json(_path(self.folder, self.name), content, indent=None)
        return more

    def _other(self, each: Asked, meant: Mapping[tuple[str, str], list[Any]]) -> bool:
        """Whether what was measured is of another method than its name means now, by data."""
        methods = meant.get((each.dataset, each.label))
        found = read_results([each], self.folder) if methods else []
        return bool(found) and found[0]["cell"]["method"] not in (methods or ())

    def results(self, fresh: Sequence[Result] = ()) -> list[Result]:
        """Everything measured, in order; `fresh` ones also where they failed and left no file."""
        found = {_place(r): r for r in read_results(self.asked, self.folder)}
        found |= {_place(r): r for r in fresh}
        places = [each[1:] for each in self.asked]
        return [found[place] for place in places if place in found]

    def write(self, fresh: Sequence[Result] = (), *, baseline: str = "") -> list[Path]:
        """Write ``<name>.md``, ``.csv`` and, with the report extra, ``.html``.

        Args:
            fresh: Results of the run that has just ended.
            baseline: Label of the method that differences are taken to; by default, and where it
                was not measured, the suite's.

        Returns:
            The files.

        Raises:
            ValueError: Nothing was measured yet.
        """
        results = self.results(fresh)
        if not results:
            raise ValueError(
                f"{self.folder} holds no finished result of {self.suite}: run "
                f"`{command(self.suite)} --output {self.folder}` first."
            )
        labels = {r["cell"]["label"] for r in results}
        if baseline not in labels:
            usual = baseline_of(self.suite)
            if baseline:
                log.warning(
                    "%s holds no result of %r: measured are %s. Differences are to %s, as usual.",
                    *(self.suite, baseline, "; ".join(sorted(labels)), usual),
                )
            baseline = usual
        rows = summarise(results, suite=self.suite, baseline=baseline)
        note, title = _note(results, len(self.asked)), self.suite
        if self.suite in SUITES:
            title = SUITES[self.suite].title
            note = " ".join(filter(None, [_limits(self.suite), note]))
        claims = [
            claim(results, FIRST_CHOICE) for claim in (against_rivals, against_twice_the_pairs)
        ]
        note = "\n\n".join(filter(None, [self._took(results), *claims, note]))
        made_by = command(self.suite)
        small = filter(
            None,
            [
                at_a_glance(rows),
                replaced_tables(pairs_replaced(rows, FIRST_CHOICE)),
                what_sets_gave(results, FIRST_CHOICE),
            ],
        )
        files = {
            ".md": to_markdown(
                rows, command=made_by, note=note, glance="\n\n".join(small), baseline=baseline
            ),
            ".csv": to_csv(rows),
        }
        for ending, text in files.items():
            write_text(self.folder / f"{self.name}{ending}", text)
        paths = [self.folder / f"{self.name}{ending}" for ending in files]
        if find_spec("plotly") is None or find_spec("jinja2") is None:
            log.warning('no HTML page: pip install "setclip[report]" brings what it is made with')
            return paths
        page = curves_page(
            rows,
            self.folder,
            name=self.name,
            title=title,
            command=made_by,
            note=note,
            baseline=baseline,
        )
        return [*paths, page]

    def _took(self, results: Sequence[Result]) -> str:
        """What it took to measure these; nothing where nothing could be fitted."""
        keys: dict[tuple[object, ...], str] = {each[1:]: each.key for each in self.asked}
        spent = {keys[_place(r)]: r["cost"]["cpu_seconds"] for r in results if "metrics" in r}
        if not spent:
            return ""
        return (
            f"{len(results):,} cells; those that see the same thing share one of {len(spent):,} "
            f"fits, {spoken(sum(spent.values()))} of processor time in all."
        )


def archives(folder: str | Path) -> list[Archive]:
    """Every suite that a benchmark folder holds something of.

    Raises:
        ValueError: It is no folder of a benchmark.
    """
    paths = sorted((Path(folder) / "asked").glob("*.json"))
    if not paths:
        raise ValueError(
            f"{folder} holds no benchmark: give a folder that `setclip bench` wrote, by default "
            "runs/bench."
        )
    return [Archive.read(folder, path.stem) for path in paths]


def _path(folder: Path, name: str) -> Path:
    return folder / "asked" / f"{name}.json"


def _place(result: Result) -> tuple[object, ...]:
    cell = result["cell"]
    return tuple(cell[field] for field in Asked._fields[1:])


def _note(results: Sequence[Result], asked: int) -> str:
    """What a reader must know of how these results came together."""
    parts = []
    if len(results) < asked:
        parts.append(f"Not finished: {len(results):,} of {asked:,} cells are measured.")
    made = {r["versions"]["setclip"] for r in results if "versions" in r}
    if len(made) > 1:
        parts.append(f"Results of several versions of setclip: {', '.join(sorted(made))}.")
    data = {(r["cell"]["dataset"], r["data"]) for r in results if "data" in r}
    mixed = sorted({name for name, _ in data if sum(name == other for other, _ in data) > 1})
    if mixed:
        parts.append(f"Results on data that have changed in between: {', '.join(mixed)}.")
    return " ".join(parts)


def _limits(suite: str) -> str:
    limited = SUITES[suite]
    if not limited.fewer:
        return ""
    said: dict[str, list[str]] = {}
    for name, less in limited.fewer.items():
        said.setdefault(str(less), []).append(label_of(name, limited.known))
    listed = "; ".join(f"{', '.join(names)} at {less}" for less, names in said.items())
    return f"To bound the time, measured in fewer places: {listed}."
