"""What a report says, as plain data: the run fills it in, the writer only draws it.

Every section but the title and the verdict is optional; an absent one leaves no trace in the
report. The classes check that their parts fit each other, since a picture drawn from misaligned
rows looks as convincing as a right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from setclip.data.bad_items import BadItem
from setclip.evaluation.alignability import Alignability
from setclip.evaluation.confusion import Confusion
from setclip.evaluation.distribution import DensityAgreement
from setclip.evaluation.intervals import Interval

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]

Flag = Literal["this run", "baseline", "reference", "chance"]
Split = Literal["pair", "set", "pool", "test"]
Level = Literal["note", "warning", "failure"]

SPLITS: tuple[Split, ...] = ("pair", "set", "pool", "test")


Cell = str | float | Interval | None


@dataclass(frozen=True)
class Column:
    """One measure of a table.

    Attributes:
        name: Heading, for instance "R@10".
        unit: Printed small beside the heading, for instance "%".
        better: Which direction wins; None for a column without winners. With a direction, the
            best row and those whose interval overlaps the best one's are marked.
        decimals: Digits after the point.
        main: Draw this column as dots and intervals too.
    """

    name: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    decimals: int = 1
    main: bool = False


@dataclass(frozen=True)
class Row:
    """One method of a table; `cells` follow the table's columns, None for not measured.

    Rows flagged "reference" or "chance" are shown and never win.
    """

    method: str
    cells: tuple[Cell, ...]
    flags: tuple[Flag, ...] = ()
    note: str = ""

    @property
    def competes(self) -> bool:
        """Whether the row may be marked as best."""
        return not {"reference", "chance"} & set(self.flags)


@dataclass(frozen=True)
class ResultTable:
    """Methods by measures, with the command that made the numbers.

    Attributes:
        title: Heading of the section.
        columns: The measures.
        rows: The methods, in the order to print them.
        note: Data, split, gallery size, seeds: what the numbers mean.
        command: The command that makes the table again.
        row_header: Heading of the first column.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    command: str = ""
    row_header: str = "method"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: row {row.method!r} has {len(row.cells)} cells for "
                    f"{len(self.columns)} columns. Give None where nothing was measured."
                )


@dataclass(frozen=True)
class Number:
    """A labelled value, already formatted, with an optional sentence on what it means."""

    label: str
    value: str
    meaning: str = ""


@dataclass(frozen=True)
class Supervision:
    """How much of each kind of supervision the run had; zero kinds are not shown."""

    pairs: int = 0
    sets: int = 0
    x_in_sets: int = 0
    y_in_sets: int = 0
    x_pool: int = 0
    y_pool: int = 0
    test: int = 0


@dataclass(frozen=True)
class Notice:
    """A named finding: collapse, divergence, leak, few pairs; and what to do about it."""

    name: str
    message: str
    advice: str = ""
    level: Level = "warning"


@dataclass(frozen=True, eq=False)
class Curve:
    """Values by step; values that are not finite are drawn as gaps. Both of shape [t]."""

    steps: IntArray
    values: FloatArray

    def __post_init__(self) -> None:
        shapes = np.shape(self.steps), np.shape(self.values)
        if len(shapes[0]) != 1 or shapes[0] != shapes[1]:
            raise ValueError(
                f"a curve has steps of shape {list(shapes[0])} and values of shape "
                f"{list(shapes[1])}: give two vectors of one length."
            )


@dataclass(frozen=True, eq=False)
class Curves:
    """Training as it went, one small panel a loss term.

    Attributes:
        terms: Loss terms by name, in the order to draw them.
        criteria: What early stopping watched, by name; drawn first, in the same way.
        chosen_step: The step whose weights were kept.
        note: A sentence under the heading.
    """

    terms: Mapping[str, Curve] = field(default_factory=dict)
    criteria: Mapping[str, Curve] = field(default_factory=dict)
    chosen_step: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Item:
    """One thing as a person knows it: its words, its looks, or both.

    Attributes:
        caption: Its text or name.
        thumbnail: Its small picture, PNG or JPEG bytes.
        split: What training knew of it.
        label: Its class. Maps are drawn by class too where there are few.
        sequence: Letters without spaces, such as a protein's; both ends are shown.
        structure: Positions along a chain, drawn as a line. Shape [n, 3].
    """

    caption: str = ""
    thumbnail: bytes | None = None
    split: Split | None = None
    label: str = ""
    sequence: str = ""
    structure: FloatArray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.structure is not None and np.shape(self.structure)[1:] != (3,):
            raise ValueError(
                f"the structure of {self.caption[:60]!r} has shape "
                f"{list(np.shape(self.structure))}, expected [n, 3]: one position a residue."
            )
        if self.thumbnail is not None and image_type(self.thumbnail) is None:
            raise ValueError(
                f"the thumbnail of {self.caption[:60]!r} starts with {self.thumbnail[:8]!r}, which "
                "is neither PNG nor JPEG. Encode it first, see setclip.report.encode_thumbnail."
            )


@dataclass(frozen=True, eq=False)
class MapView:
    """Both modalities in the plane. `x` has shape [n, 2], `y` [m, 2]; NaN rows are not drawn."""

    x: FloatArray
    y: FloatArray
    title: str = ""
    how: str = ""


@dataclass(frozen=True, eq=False)
class JointMap:
    """The joint space before and after alignment, the same items in both.

    A few hundred points a side read best; thumbnails are embedded once an item.

    Attributes:
        x_items: The items behind the rows of `x`, n of them.
        y_items: The items behind the rows of `y`, m of them.
        after: Coordinates in the aligned space; see `setclip.report.project`.
        before: Coordinates before alignment, or None.
        pairs: Rows (x, y) of the known pairs, drawn as lines. Shape [p, 2].
        matches: Rows (x, y) that truly belong together though training did not know; shown only
            while one of them is pointed at. Shape [q, 2].
        note: A sentence under the heading.
    """

    x_items: tuple[Item, ...]
    y_items: tuple[Item, ...]
    after: MapView
    before: MapView | None = None
    pairs: IntArray | None = None
    matches: IntArray | None = None
    note: str = ""

    def __post_init__(self) -> None:
        sizes = (len(self.x_items), len(self.y_items))
        for name, view in (("before", self.before), ("after", self.after)):
            if view is None:
                continue
            for side, points, rows in (("x", view.x, sizes[0]), ("y", view.y, sizes[1])):
                shape = np.shape(points)
                if shape != (rows, 2):
                    raise ValueError(
                        f"joint map: {name}.{side} has shape {list(shape)} for {rows} {side} "
                        f"items, expected [{rows}, 2]: two coordinates an item."
                    )
        for name, links in (("pairs", self.pairs), ("matches", self.matches)):
            _check_links(name, links, sizes)


@dataclass(frozen=True, eq=False)
class Densities:
    """Whether each point is as likely under the other modality as under its own, by stage.

    Attributes:
        after: Densities in the aligned space.
        before: Densities before alignment, if the two were comparable then.
        note: A sentence under the heading.
    """

    after: DensityAgreement
    before: DensityAgreement | None = None
    note: str = ""


@dataclass(frozen=True)
class Retrieved:
    """One retrieved item, best first; `correct` when it is a true partner of the query."""

    item: Item
    score: float
    correct: bool = False


@dataclass(frozen=True)
class Query:
    """A query with what it retrieved.

    Attributes:
        item: What was asked.
        results: The nearest items of the other modality, best first.
        rank: Rank of the first true partner in the whole gallery, from 1; None if unknown.
        partner: The true partner, shown when it is not among the results.
    """

    item: Item
    results: tuple[Retrieved, ...]
    rank: int | None = None
    partner: Item | None = None


@dataclass(frozen=True)
class Gallery:
    """Queries of one direction.

    Attributes:
        asks: Modality of the queries, "x" or "y"; the results are of the other one.
        queries: The queries, in the order to show them.
        size: How many items were searched.
        note: How the queries were chosen.
    """

    asks: Literal["x", "y"]
    queries: tuple[Query, ...]
    size: int | None = None
    note: str = ""

    @property
    def has_structures(self) -> bool:
        """Whether chains are drawn in it."""
        items = [(query.item, *(r.item for r in query.results)) for query in self.queries]
        return any(item.structure is not None for row in items for item in row)


@dataclass(frozen=True, eq=False)
class ClassTable:
    """Which classes are found for which.

    Attributes:
        confusion: The counts.
        note: What was asked and what was searched.
    """

    confusion: Confusion
    note: str = ""


@dataclass(frozen=True)
class BadItems:
    """Items that could not be read: how many of how many, the first few, and the full list."""

    count: int
    total: int
    first: tuple[BadItem, ...] = ()
    file: str = "bad_items.jsonl"


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything a report shows.

    Attributes:
        title: Heading of the page.
        verdict: How far to trust the model, in two sentences.
        x_name: What an x is, singular: "image".
        y_name: What a y is, singular: "caption".
        supervision: What the run was given.
        headline: The two to four numbers a reader must not miss.
        notices: Warnings, by name.
        tables: Results, each with its command.
        curves: Training by step.
        joint_map: The space before and after.
        densities: Density agreement before and after.
        galleries: Retrieved items, either direction.
        classes: Classes of items and of what is found for them.
        alignability: The frozen spaces before training.
        bad_items: What was skipped.
        config: The validated config as YAML.
        versions: Version by package.
        command: The command that made the run.
        created: When, as text.
    """

    title: str
    verdict: str
    x_name: str = "x"
    y_name: str = "y"
    supervision: Supervision | None = None
    headline: tuple[Number, ...] = ()
    notices: tuple[Notice, ...] = ()
    tables: tuple[ResultTable, ...] = ()
    curves: Curves | None = None
    joint_map: JointMap | None = None
    densities: Densities | None = None
    galleries: tuple[Gallery, ...] = ()
    classes: ClassTable | None = None
    alignability: Alignability | None = None
    bad_items: BadItems | None = None
    config: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    created: str = ""


def image_type(data: bytes) -> str | None:
    """MIME type of an encoded picture by its first bytes: PNG, JPEG, or None for neither."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    return "image/jpeg" if data.startswith(b"\xff\xd8\xff") else None


def _check_links(name: str, links: IntArray | None, sizes: tuple[int, int]) -> None:
    if links is None:
        return
    rows = np.asarray(links)
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"joint map: {name} is {rows.dtype} of shape {list(rows.shape)}, expected whole "
            "numbers of shape [p, 2]: a row of x_items and a row of y_items."
        )
    outside = ((rows < 0) | (rows >= np.asarray(sizes))).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"joint map: {name}[{row}] is {rows[row].tolist()}, but there are {sizes[0]} x items "
            f"and {sizes[1]} y items."
        )
