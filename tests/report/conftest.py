"""A small report with every section, its words passed through a function of the test's choice."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from setclip.data.bad_items import BadItem
from setclip.evaluation import (
    Alignability,
    DensityAgreement,
    Interval,
    MutualKnn,
    confusion,
)
from setclip.report import (
    BadItems,
    ClassTable,
    Column,
    Curve,
    Curves,
    Densities,
    Gallery,
    Item,
    JointMap,
    MapView,
    Notice,
    Number,
    Query,
    ReportContent,
    ResultTable,
    Retrieved,
    Row,
    Supervision,
    canvas,
)

Words = Callable[[str], str]


def picture(colour: str = "red", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, format=kind)
    return buffer.getvalue()


def table(w: Words) -> ResultTable:
    columns = (
        Column(w("R@10"), w("%"), "higher", main=True),
        Column(w("median rank"), better="lower", decimals=0),
        Column(w("recipe")),
    )
    rows = (
        Row(w("random"), (3.2, 157.0, None), ("chance",)),
        Row(w("ridge"), (Interval(21.0, 18.8, 23.2), 55.0, w("closed form")), ("baseline",)),
        Row(w("clip"), (Interval(17.4, 15.0, 19.6), 60.0, w("head")), ("baseline",), w("diverged")),
        Row(w("setclip"), (Interval(24.3, 22.1, 26.5), 47.0, w("default")), ("this run",)),
        Row(w("siglip"), (None, None, w("head")), ("baseline",)),
        Row(w("all pairs"), (Interval(48.2, 46.0, 50.4), 12.0, None), ("reference",)),
    )
    return ResultTable(w("Fifty pairs"), columns, rows, w("five seeds"), w("setclip bench emoji"))


def curves(w: Words) -> Curves:
    steps = np.arange(20) * 10
    return Curves(
        terms={
            w("clip"): Curve(steps, np.linspace(4, 1, 20)),
            w("sdd"): Curve(steps, np.geomspace(900, 1, 20)),
        },
        criteria={w("R@10"): Curve(steps, np.linspace(10, 24, 20))},
        chosen_step=120,
        note=w("every ten steps"),
    )


def joint_map(w: Words) -> JointMap:
    rng = np.random.default_rng(0)
    splits = ["pair", "pair", "pool", "pool", "test", "test"]
    return JointMap(
        x_items=tuple(Item(w(f"picture {i}"), picture(), s) for i, s in enumerate(splits)),
        y_items=tuple(Item(w(f"caption {i}"), None, s) for i, s in enumerate(splits)),
        before=MapView(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), how=w("PCA of each")),
        after=MapView(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), how=w("PCA of both")),
        pairs=np.array([[0, 1], [1, 0]]),
        matches=np.array([[4, 5]]),
        note=w("six items a side"),
    )


def densities(w: Words) -> Densities:
    def agreement(seed: int) -> DensityAgreement:
        rng = np.random.default_rng(seed)
        return DensityAgreement(np.arange(9), np.arange(9), *rng.normal(-20, 3, size=(4, 9)))

    return Densities(after=agreement(1), before=agreement(2), note=w("nearer the diagonal"))


def galleries(w: Words) -> tuple[Gallery, ...]:
    shown, words = Item(w("a goose"), picture("blue")), Item(w("goose, bird"))
    hit = Query(shown, (Retrieved(words, 0.8, correct=True), Retrieved(words, 0.7)), rank=1)
    miss = Query(words, (Retrieved(shown, 0.6),), rank=37, partner=Item(w("far away"), picture()))
    return (
        Gallery("x", (hit,), size=313, note=w("not chosen by eye")),
        Gallery("y", (miss,), note=w("nor here")),
    )


def make_content(words: Words = str) -> ReportContent:
    w = words
    return ReportContent(
        title=w("Emoji and their names"),
        verdict=w("Good for suggestions. Not for labels."),
        x_name=w("image"),
        y_name=w("caption"),
        supervision=Supervision(50, 32, 512, 1, 640, 641, 313),
        headline=(Number(w("R@10"), w("24.3 %"), w("chance 3.2")),),
        notices=(Notice(w("collapse"), w("the spread fell to 0"), w("lower the rate"), "failure"),),
        tables=(table(w),),
        curves=curves(w),
        joint_map=joint_map(w),
        densities=densities(w),
        galleries=galleries(w),
        classes=ClassTable(confusion([w("face"), w("food")], [w("food")] * 2), w("by group")),
        alignability=Alignability(50, MutualKnn(Interval(0.12, 0.08, 0.16), 0.03, 10), 0.31),
        bad_items=BadItems(
            3, 1906, (BadItem(17, w("image"), w("a.png"), w("truncated")),), w("bad_items.jsonl")
        ),
        config=w("method:\n  kind: setclip\n"),
        versions={w("torch"): w("2.14.1")},
        command=w("setclip fit emoji.yaml"),
        created=w("2026-11-21"),
    )


@pytest.fixture(autouse=True)
def _coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the pixels: drawing them is most of the time these tests take."""
    monkeypatch.setattr(canvas, "DPI", 50)


@pytest.fixture
def content() -> ReportContent:
    return make_content()


@pytest.fixture
def decorated() -> Callable[[Words], ReportContent]:
    """The sample report with every word of the user's passed through a function."""
    return make_content


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """A tiny picture of a colour, encoded."""
    return picture
