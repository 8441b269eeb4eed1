"""Labelled items: maps by class, the table of classes, chains and sequences in galleries."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
import pytest

from setclip.evaluation import confusion
from setclip.report import (
    ClassTable,
    Gallery,
    Item,
    JointMap,
    MapView,
    Query,
    ReportContent,
    Retrieved,
    branch,
)
from setclip.report.figures_plotly import map_figures
from setclip.report.figures_png import png_figures
from setclip.report.page import render
from setclip.report.palette import CLASSES, DARK, LIGHT
from setclip.report.panels import map_classes, map_panels

STRAIGHT = np.arange(30)[:, None] * np.array([[3.8, 0.0, 0.0]])
EVIL = "</script><script>evil()</script>\"'&{{ 7*7 }}"


def joint(labels: Sequence[str]) -> JointMap:
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    items = tuple(Item(f"item {i}", label=label) for i, label in enumerate(labels))
    return JointMap(items, items[::-1], MapView(points, points + 0.1))


def labelled(word: str = "") -> ReportContent:
    chain = Item(f"1abc_A{word}", structure=STRAIGHT, label=f"3.40.50{word}")
    letters = Item(f"2xyz_B{word}", sequence="MKT" * 40, label="1.10.10")
    true, found = ["3.40.50", "1.10.10", f"a{word}"] * 4, ["3.40.50", "3.40.50", "1.10.10"] * 4
    return ReportContent(
        f"Proteins{word}",
        "v",
        joint_map=JointMap(
            (letters, letters), (chain, chain), MapView(np.zeros((2, 2)), np.ones((2, 2)))
        ),
        galleries=(Gallery("x", (Query(letters, (Retrieved(chain, 0.9),)),)),),
        classes=ClassTable(confusion(true, found, limit=2), f"Nearest others{word}."),
    )


@pytest.mark.parametrize(
    ("label", "depth", "expected"),
    [
        ("3.40.50.720", 1, "3"),
        ("3.40.50.720", 3, "3.40.50"),
        ("1.1.1.-", 3, "1.1.1"),
        ("v1.2", 1, "v1.2"),
        ("0.25", 1, "0.25"),
        ("2024.05", 1, "2024.05"),
        ("2024", 1, "2024"),
        ("dr. who", 1, "dr. who"),
    ],
)
def test_only_dotted_numbers_have_branches(label: str, depth: int, expected: str) -> None:
    assert branch(label, depth) == expected


def test_a_map_of_few_classes_is_drawn_by_class_too() -> None:
    content = joint(["10.1.1", "2.1.1", "2.7.7", ""])
    assert map_classes(content) == {"2": "class-1", "10": "class-2"}
    after, by_class = map_panels(content)
    assert (after.title, by_class.title) == ("After", "After, by class")
    assert after.groups[0].colours is None
    x, y = by_class.groups
    assert x.colours == ["class-2", "class-1", "class-1", "faint"]
    assert y.colours == x.colours[::-1]
    np.testing.assert_array_equal(x.points, after.groups[0].points)
    trace = json.loads(map_figures(content)[1])["data"][0]
    assert trace["marker"]["color"][0] == "var(--class-2)"
    assert trace["meta"] == {"side": "x", "split": "pool"}


@pytest.mark.parametrize("labels", [["a", "a"], ["", ""], [str(i) for i in range(13)]])
def test_one_class_or_too_many_are_not(labels: list[str]) -> None:
    assert len(map_panels(joint(labels))) == 1


def test_twelve_classes_have_colours_of_their_own_in_light_and_dark() -> None:
    for palette in (LIGHT, DARK):
        assert len({palette[name] for name in CLASSES}) == 12
    assert len(set(map_classes(joint([str(i) for i in range(12)])).values())) == 12


def test_the_page_shows_chains_sequences_and_classes() -> None:
    content = labelled()
    page = render(content, png_figures(content))
    drawn = re.findall(r'class="thumb chain" src="data:image/svg\+xml;base64,([^"]+)"', page)
    title = ET.fromstring(base64.b64decode(drawn[0])).findtext("{http://www.w3.org/2000/svg}title")
    assert title == "1abc_A: chain of 30 residues, from blue to orange"
    letters = re.search(r'<code class="letters"[^>]*>([^<]+)</code>', page)
    assert letters is not None
    assert re.fullmatch(r"MKT[MKT]+…[MKT]+MKT \(120\)", letters[1])
    assert "a chain from its start to its end" in page
    assert 'style="background: var(--class-2)"></i> 3</span>' in page
    table = page[page.index('<table class="classes">') :]
    assert re.findall(r'<th scope="row">([^<]*)', table) == ["1.10.10", "3.40.50"]
    assert re.findall(r"<td[^>]*--share: (\d+)%\">(\d*)", table) == [
        *(("0", ""), ("100", "4"), ("0", "")),
        *(("0", ""), ("100", "4"), ("0", "")),
    ]
    assert "33 % found their own class; 33 % would by chance." in page
    assert "4 items of rarer classes" in page


def test_labels_and_names_of_chains_stay_words() -> None:
    content = labelled(EVIL)
    page = render(content, png_figures(content))
    assert "<script>evil" not in page
    assert "49" not in re.findall(r'<small class="class">([^<]*)', page)
    for svg in re.findall(r"data:image/svg\+xml;base64,([^\"\\]+)", page):
        assert b"<script" not in base64.b64decode(svg)


def test_pictures_hold_classes_and_chains() -> None:
    pictures = png_figures(labelled())
    assert sorted(pictures) == ["classes.png", "joint-map.png", "retrieved-1.png"]
    assert len(pictures["retrieved-1.png"]) > 1000
