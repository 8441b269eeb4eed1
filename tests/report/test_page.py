"""The page: complete, self-contained, and inert whatever its captions hold."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from html.parser import HTMLParser

import pytest

from setclip.evaluation import Interval
from setclip.report import Column, Item, ReportContent, ResultTable, Row, Supervision
from setclip.report.page import clip, render, script_json

Decorated = Callable[..., ReportContent]

HOSTILE = (
    "</script><script>window.evil=1</script><img src=x onerror=window.evil=1>"
    "\"'><b onclick=evil()>{{ 7*7 }}{% raw %}<!--<style>*{}</style>\u2028&amp;🪿שלום"
)
# Elements that never close.
VOID = {"meta", "img", "input", "br", "line", "circle", "rect", "path"}


@dataclass
class Page(HTMLParser):
    """Every element with its attributes, every script, and the text a reader sees."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open_tags and self.open_tags[-1] == "script":
            attributes, body = self.scripts[-1]
            self.scripts[-1] = (attributes, body + data)
        elif "style" not in self.open_tags:
            self.text.append(data)


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open_tags == []
    return page


STILLS = dict.fromkeys(("joint-map.png", "density.png", "curves.png"), b"\x89PNG\r\n\x1a\n")


def rendered(content: ReportContent) -> Page:
    return parse(render(content, STILLS))


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    return {}


@pytest.fixture
def hostile(pages: dict[str, Page], decorated: Decorated) -> Page:
    if "hostile" not in pages:
        pages["hostile"] = rendered(decorated(lambda word: word + HOSTILE))
    return pages["hostile"]


@pytest.fixture
def plain(pages: dict[str, Page], content: ReportContent) -> Page:
    if "plain" not in pages:
        pages["plain"] = rendered(content)
    return pages["plain"]


def code(page: Page) -> list[str]:
    return [body for attributes, body in page.scripts if "type" not in attributes]


def test_hostile_words_add_no_element_and_no_attribute(hostile: Page, plain: Page) -> None:
    def shape(page: Page) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in page.elements]

    assert shape(hostile) == shape(plain)


def test_hostile_words_leave_the_code_as_it_is(hostile: Page, plain: Page) -> None:
    assert code(hostile) == code(plain)


def test_hostile_words_are_shown_as_they_are(hostile: Page) -> None:
    text = "".join(hostile.text)
    shown = ("Emoji and their names", "ridge", "R@10", "collapse", "goose, bird", "truncated")
    for word in shown:
        assert word + HOSTILE in text
    assert "49" not in text.replace(HOSTILE, "")


def test_hover_captions_survive_the_way_into_the_script(hostile: Page) -> None:
    (data,) = (json.loads(b) for a, b in hostile.scripts if a.get("id") == "map-data")
    assert data["items"]["y"][3][0] == "caption 3" + HOSTILE
    assert data["names"]["x"] == "image" + HOSTILE


def test_figures_parse(plain: Page) -> None:
    figures = [json.loads(b) for a, b in plain.scripts if a.get("class") == "figure"]
    assert len(figures) == 2 + 2 + 3


def test_nothing_is_loaded_from_anywhere(plain: Page) -> None:
    for tag, attributes in plain.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/"), (tag, name, value)
        style = attributes.get("style")
        assert style is None or re.fullmatch(
            r"--share: \d+%|background: var\(--[a-z0-9-]+\)", style
        )


def test_no_handler_stands_in_an_attribute(plain: Page) -> None:
    assert not [a for _, attributes in plain.elements for a in attributes if a.startswith("on")]


def test_the_policy_admits_exactly_the_scripts_of_the_page(plain: Page) -> None:
    (policy,) = (
        attributes["content"]
        for tag, attributes in plain.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    listed = re.findall(r"'sha256-([^']+)'", policy)
    digests = [base64.b64encode(hashlib.sha256(b.encode()).digest()).decode() for b in code(plain)]
    assert listed == digests
    assert len(digests) == 2
    script_rule = re.search(r"script-src ([^;]*);", policy)
    assert script_rule is not None
    assert "unsafe-inline" not in script_rule.group(1)


def test_plotly_is_there_once(plain: Page) -> None:
    assert sum("plotly.js v" in body for body in code(plain)) == 1


def test_our_script_never_writes_markup(plain: Page) -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in code(plain)[1]


def test_every_section_is_there(plain: Page) -> None:
    text = "".join(plain.text)
    for part in (
        "Emoji and their names",
        "Good for suggestions. Not for labels.",
        "The joint space",
        "Density agreement",
        "Retrieved: image → caption",
        "Retrieved: caption → image",
        "313 items were searched",
        "Training",
        "step 120, whose weights were kept",
        "Alignability",
        "Little shared geometry over 50 pairs",
        "0.12",
        "3 of 1,906 items could not be read",
        "row 17, image",
        "setclip bench emoji",
        "setclip fit emoji.yaml",
        "kind: setclip",
        "2.14.1",
    ):
        assert part in text


def test_supervision_is_counted_in_words(plain: Page) -> None:
    text = " ".join("".join(plain.text).split())
    for part in (
        "50 known pairs",
        "32 matched sets of 512 images and 1 caption",
        "640 unmatched images",
        "641 unmatched captions",
        "313 held out",
    ):
        assert part in text


def test_a_partner_further_down_is_shown_with_its_rank(plain: Page) -> None:
    missed = [a for tag, a in plain.elements if tag == "li" and "missed" in str(a.get("class"))]
    assert len(missed) == 1
    assert "far away" in "".join(plain.text)
    assert "37 partner" in "".join(plain.text)


def test_absent_sections_leave_no_trace() -> None:
    html = render(ReportContent("Just this", "Nothing was measured. Nothing is known."), {})
    page = parse(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"section", "h2", "table", "script", "img", "figure", "dl"}
    assert "script-src 'none'" in html.replace("&#39;", "'")
    assert len(html) < 30_000


@pytest.mark.parametrize(
    "name",
    [f.name for f in fields(ReportContent) if f.name not in {"title", "verdict"}],
)
def test_any_section_can_be_missing(name: str, content: ReportContent) -> None:
    default = getattr(ReportContent("t", "v"), name)
    kept = {f.name: getattr(content, f.name) for f in fields(content)} | {name: default}
    bare = ReportContent(**kept)
    assert len(render(bare, STILLS)) < len(render(content, STILLS))


def test_no_pairs_are_worth_saying() -> None:
    content = ReportContent("t", "v", supervision=Supervision(sets=1, x_pool=3))
    text = " ".join("".join(parse(render(content, {})).text).split())
    assert "0 known pairs 1 matched set 3 unmatched xs" in text


def test_long_captions_are_cut() -> None:
    assert clip("a" * 280) == "a" * 280
    assert clip("a" * 281) == "a" * 279 + "…"
    assert clip(Item("short").caption) == "short"


def test_script_json_is_json_without_markup() -> None:
    value = {"</script>": ["<!--", "&", "\u2028\u2029", "\ud83d", "\\u003c", 'quote"']}
    text = str(script_json(value))
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_a_method_that_could_not_work_says_why_across_its_row() -> None:
    columns = (Column("R@10", "%", "higher", main=True), Column("median rank"))
    rows = (
        Row("clip", (None, None), (), "needs pairs"),
        Row("cca", (Interval(2.0, 1.0, 3.0), 9.0)),
    )
    content = ReportContent("t", "v", tables=(ResultTable("none", columns, rows),))
    page = parse(render(content, {}))
    reasons = [a for tag, a in page.elements if tag == "td" and a.get("class") == "reason"]
    assert [a["colspan"] for a in reasons] == ["3"]  # two columns and the drawn one
    assert "needs pairs" in "".join(page.text)
