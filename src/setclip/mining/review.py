"""The page on which people accept or reject proposed matches; it asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from setclip.data.material import Shown
from setclip.mining.labelling import item_name
from setclip.report import encode_thumbnail
from setclip.report.palette import DARK, LIGHT, css_variables

THUMBNAIL = 96
CAPTION_LIMIT = 280
MOST = 0.99
"""No higher probability is shown: three held-out matches of three make no certainty."""


@dataclass(frozen=True)
class ReviewRow:
    """One proposed match.

    Attributes:
        x_row: Row in the data, see :meth:`setclip.data.material.Material.row_of`.
        x: How the x looks.
        y_row: Likewise.
        y: How the y looks.
        probability: That they belong together; None if not known.
        similarity: Cosine.
        mutual: Whether each is the other's best.
    """

    x_row: int
    x: Shown
    y_row: int
    y: Shown
    probability: float | None
    similarity: float
    mutual: bool


def review_page(
    rows: Sequence[ReviewRow], names: tuple[str, str], *, notes: Sequence[str], total: int
) -> str:
    """One HTML text with a row a match; a button saves the accepted ones as CSV.

    What was ticked is kept in the browser under a key of these matches, so that a long review can
    be interrupted.

    Args:
        rows: Matches in the order to show them.
        names: What an x and a y are called.
        notes: What the probabilities rest on.
        total: Matches there are in all.
    """
    template = Template(resources.files(__package__).joinpath("review.html").read_text("utf-8"))
    key = hashlib.sha256("|".join(f"{r.x_row},{r.y_row}" for r in rows).encode()).hexdigest()[:16]
    return template.substitute(
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        x_name=escape(names[0]),
        y_name=escape(names[1]),
        shown=f"{len(rows):,}",
        total=f"{total:,}",
        notes="".join(f"<li>{escape(note)}</li>" for note in notes),
        rows="\n".join(_row(row) for row in rows),
        key=key,
    )


def _row(row: ReviewRow) -> str:
    chance = "–" if row.probability is None else f"{100 * row.probability:.0f} %"
    if row.probability is not None and row.probability > MOST:
        chance = f"> {100 * MOST:.0f} %"
    width = 0.0 if row.probability is None else 100 * row.probability
    mutual = '<span class="mutual">mutual best</span>' if row.mutual else ""
    data = f'data-x-row="{row.x_row}" data-y-row="{row.y_row}"'
    return (
        f"<tr {data}>"
        f'<td class="chance"><b>{chance}</b><i style="width:{width:.0f}%"></i></td>'
        f'<td class="x">{_item(row.x)}</td><td class="y">{_item(row.y)}</td>'
        f"<td>{row.similarity:.2f}{mutual}</td>"
        '<td><label class="yes"><input type="checkbox" name="accept">accept</label>'
        '<label class="no"><input type="checkbox" name="reject">reject</label></td></tr>'
    )


def _item(item: Shown) -> str:
    text = item.caption or item.sequence
    text = text if len(text) <= CAPTION_LIMIT else text[: CAPTION_LIMIT - 1] + "…"
    picture = ""
    if item.picture is not None:
        data = base64.b64encode(_thumbnail(item.picture)).decode("ascii")
        picture = f'<img alt="" src="data:image/png;base64,{data}">'
    return f'<div data-name="{escape(item_name(item))}">{picture}<span>{escape(text)}</span></div>'


@lru_cache(maxsize=512)
def _thumbnail(picture: bytes | Path) -> bytes:
    from setclip.modalities.image import read_image

    return encode_thumbnail(read_image(picture), size=THUMBNAIL)
