"""The page: content in, one HTML text out that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from setclip.report.content import (
    ClassTable,
    Item,
    JointMap,
    Number,
    ReportContent,
    Supervision,
    image_type,
)
from setclip.report.figures_plotly import curve_figures, density_figures, map_figures
from setclip.report.inline_code import inline_code
from setclip.report.palette import DARK, LIGHT, chain_colour, css_variables
from setclip.report.panels import (
    SPLIT_NAMES,
    curve_panels,
    density_panels,
    map_classes,
    map_panels,
    splits_of,
)
from setclip.report.structures import PIECES, both_ends, trace_svg
from setclip.report.tables import table_view

if TYPE_CHECKING:
    from markupsafe import Markup

# Captions can be whole documents; a card that covers the page helps nobody.
CAPTION_LIMIT = 280
LABEL_LIMIT = 40
LETTERS = 48
# A map holds hundreds of chains, in its cards only.
MAP_PIECES = 12


@dataclass(frozen=True)
class PanelView:
    """One interactive figure and the words around it."""

    heading: str
    detail: str
    figure: Markup


def render(content: ReportContent, pictures: Mapping[str, bytes]) -> str:
    """The report as HTML.

    Args:
        content: What to show.
        pictures: PNG bytes by file name; those of the interactive figures are embedded for print
            and for readers without scripts.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("setclip.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline_code"] = inline_code
    environment.filters["picture"] = data_uri
    environment.filters["clip"] = clip
    environment.filters["looks"] = looks
    environment.filters["letters"] = letters
    panels = _panels(content)
    scripts = [Markup(text) for text in (_scripts() if panels else [])]
    return environment.get_template("report.html").render(
        content=content,
        tables=[table_view(table) for table in content.tables],
        supervision=_supervision(content),
        alignability=_alignability(content),
        panels=panels,
        splits=_splits(content.joint_map),
        map_classes={} if content.joint_map is None else map_classes(content.joint_map),
        class_rows=_class_rows(content.classes),
        map_data=script_json(_map_data(content)),
        pictures=pictures,
        style=Markup(_style()),
        scripts=scripts,
        policy=_policy(scripts),
    )


def _panels(content: ReportContent) -> dict[str, list[PanelView]]:
    """The interactive figures by section, only sections that have some."""
    found: dict[str, list[PanelView]] = {}
    if content.joint_map is not None:
        maps = zip(map_panels(content.joint_map), map_figures(content.joint_map), strict=True)
        found["map"] = [PanelView(p.title, p.how, _escape_json(f)) for p, f in maps]
    if content.densities is not None:
        views = zip(
            density_panels(content.densities), density_figures(content.densities), strict=True
        )
        found["density"] = [PanelView(p.title, p.detail, _escape_json(f)) for p, f in views]
    if content.curves is not None:
        lines = zip(curve_panels(content.curves), curve_figures(content.curves), strict=True)
        found["curves"] = [PanelView(p.name, p.detail, _escape_json(f)) for p, f in lines]
    return {section: panels for section, panels in found.items() if panels}


def _splits(joint: JointMap | None) -> list[tuple[str, str]]:
    return [] if joint is None else [(split, SPLIT_NAMES[split]) for split in splits_of(joint)]


def _map_data(content: ReportContent) -> dict[str, Any]:
    """What the hover card of the maps needs: items of either side and who belongs to whom."""
    joint = content.joint_map
    if joint is None:
        return {}
    links = [
        [int(row[0]), int(row[1]), known]
        for known, rows in ((1, joint.pairs), (0, joint.matches))
        for row in (() if rows is None else rows)
    ]
    return {
        "names": {"x": content.x_name, "y": content.y_name},
        "items": {
            "x": [_card(item) for item in joint.x_items],
            "y": [_card(item) for item in joint.y_items],
        },
        "links": links,
    }


def _card(item: Item) -> list[str]:
    known = (SPLIT_NAMES[item.split] if item.split else "", clip(item.label, LABEL_LIMIT))
    words = (clip(item.caption), letters(item.sequence))
    return [
        "\n".join(filter(None, words)),
        " · ".join(filter(None, known)),
        looks(item, small=True),
    ]


@dataclass(frozen=True)
class ClassRow:
    """One class: its name, and for each class found how often and as what share of the row."""

    label: str
    cells: list[tuple[int, float]]


def _class_rows(table: ClassTable | None) -> list[ClassRow]:
    if table is None:
        return []
    found = zip(table.confusion.labels, table.confusion.counts, strict=True)
    return [
        ClassRow(label, [(int(n), float(n) / max(1, int(row.sum()))) for n in row])
        for label, row in found
    ]


def _supervision(content: ReportContent) -> list[tuple[str, str, str]]:
    """Tiles of what the run was given: kind, count, words."""
    given = content.supervision
    if given is None:
        return []
    x, y = content.x_name, content.y_name
    tiles = [
        ("set", given.sets, _set_words(given, x, y)),
        ("x", given.x_pool, f"unmatched {_plural(x, given.x_pool)}"),
        ("y", given.y_pool, f"unmatched {_plural(y, given.y_pool)}"),
        ("test", given.test, "held out to test on"),
    ]
    # No pair at all is worth saying; no sets is the rule.
    pairs = (
        "pair" if given.pairs else "none",
        f"{given.pairs:,}",
        _plural("known pair", given.pairs),
    )
    return [pairs, *((kind, f"{count:,}", words) for kind, count, words in tiles if count)]


def _alignability(content: ReportContent) -> list[Number]:
    """The numbers behind the sentence, none if there were too few pairs to measure them."""
    measured = content.alignability
    if measured is None or measured.mutual_knn is None:
        return []
    found = measured.mutual_knn
    cka = [] if measured.cka is None else [Number("CKA", f"{measured.cka:.2f}", "linear, debiased")]
    return [
        Number(
            "neighbour overlap",
            f"{found.overlap.mean:.2f}",
            f"95 % interval {found.overlap.low:.2f}–{found.overlap.high:.2f}, "
            f"chance {found.chance:.2f}, {found.k} neighbours",
        ),
        *cka,
    ]


def _set_words(given: Supervision, x: str, y: str) -> str:
    words = _plural("matched set", given.sets)
    if not (given.x_in_sets or given.y_in_sets):
        return words
    held = [(given.x_in_sets, x), (given.y_in_sets, y)]
    return f"{words} of {' and '.join(f'{n:,} {_plural(name, n)}' for n, name in held)}"


def _plural(name: str, count: int) -> str:
    if count == 1 or name.endswith("s"):
        return name
    return f"{name[:-1]}ies" if name.endswith("y") and name != "y" else f"{name}s"


def clip(text: str, limit: int = CAPTION_LIMIT) -> str:
    """The text, shortened to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def letters(sequence: str) -> str:
    """Both ends of a sequence and its length."""
    return f"{both_ends(sequence, LETTERS)} ({len(sequence):,})" if sequence else ""


def looks(item: Item, small: bool = False) -> str:
    """Address of an item's picture or of its drawn chain, empty where it has neither."""
    if item.thumbnail is not None:
        return data_uri(item.thumbnail)
    if item.structure is None:
        return ""
    drawing = trace_svg(
        item.structure, title=clip(item.caption, 80), pieces=MAP_PIECES if small else PIECES
    )
    encoded = base64.b64encode(drawing.encode("utf-8", errors="replace")).decode("ascii")
    return f"data:image/svg+xml;base64,{encoded}"


def data_uri(picture: bytes) -> str:
    """An encoded picture as the address of itself."""
    return f"data:{image_type(picture)};base64,{base64.b64encode(picture).decode('ascii')}"


def script_json(value: object) -> Markup:
    """JSON that is safe inside a script element, whatever the strings hold."""
    return _escape_json(json.dumps(value))


def _escape_json(text: str) -> Markup:
    """Keep `</script>` and `<!--` from ending the element; they occur only in strings."""
    from markupsafe import Markup

    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _style() -> str:
    rules = _resource("report.css")
    ramp = ", ".join(chain_colour(place / 3) for place in range(4))
    return (
        f":root {{ color-scheme: light dark; {css_variables(LIGHT)} --chain: {ramp}; }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {css_variables(DARK)} }} }}\n"
        f"{rules}"
    )


def _scripts() -> list[str]:
    from plotly.offline import get_plotlyjs

    return [get_plotlyjs(), _resource("report.js")]


def _policy(scripts: list[Markup]) -> str:
    """A content policy under which only our scripts run and nothing is fetched.

    Escaping is the first line of defence against hostile captions, this is the second: a script
    that is not listed by its hash does not run, and no address but `data:` is ever loaded.
    """
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in scripts
    ]
    return (
        f"default-src 'none'; script-src {' '.join(hashes) or repr('none')}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _resource(name: str) -> str:
    return resources.files("setclip.report").joinpath("templates", name).read_text("utf-8")
