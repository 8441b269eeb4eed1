"""Bad items: written one a line, and too many of them stop the run with the first few named."""

import json
from dataclasses import replace

import numpy as np
import pytest

from setclip.data.bad_items import (
    BadItem,
    Places,
    TooManyBadItemsError,
    enforce_bad_limit,
    located,
    read_bad_items,
    write_bad_items,
)

ITEMS = [BadItem(i, "image", f"é{i}.png", "there is no such file") for i in range(2, 9)]


def test_one_object_a_line(tmp_path):
    path = tmp_path / "run" / "bad_items.jsonl"
    write_bad_items(path, ITEMS)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [BadItem(**line) for line in lines] == ITEMS
    assert read_bad_items(path) == ITEMS
    write_bad_items(path, [])
    assert path.read_text() == ""
    odd = [BadItem(1, "image", "http://x/a\u2028b\x85c.jpg", "a web address")]
    write_bad_items(path, odd)
    assert read_bad_items(path) == odd


def test_items_of_a_stream_are_found_where_they_were_read():
    places = {
        "x pool": Places("picture", np.array([7, 9]), ("a.csv", "b.csv")),
        "y pool": Places("text", np.array([4])),
    }
    found = located(
        [BadItem(1, "x pool", "v", "r"), BadItem(0, "y pool", "w", "s"), ITEMS[0]], places
    )
    assert found == [
        BadItem(9, "picture", "v", "r", "b.csv"),
        BadItem(4, "text", "w", "s"),
        ITEMS[0],
    ]


def test_at_the_limit_the_run_goes_on():
    enforce_bad_limit(ITEMS, total=700)
    enforce_bad_limit([], total=0)
    enforce_bad_limit(ITEMS, total=7, limit=1.0)


def test_above_the_limit_it_stops_with_share_limit_items_and_remedy():
    with pytest.raises(TooManyBadItemsError) as caught:
        enforce_bad_limit(ITEMS, total=699, source="m.csv")
    message = str(caught.value)
    assert message.startswith("m.csv: 7 of 699 items (1.00%) cannot be read, more than the limit")
    assert "row 2, image: there is no such file ('é2.png')" in message
    assert "and 2 more" in message
    assert "row 8" not in message
    assert "raise data.bad_limit" in message
    assert caught.value.items == ITEMS


def test_a_caption_of_several_is_no_item():
    partly = [replace(item, partly=True) for item in ITEMS]
    enforce_bad_limit(partly, total=7, limit=0.0)
    with pytest.raises(TooManyBadItemsError, match="1 of 7 items"):
        enforce_bad_limit([*partly, ITEMS[0]], total=7)


def test_limit_zero_forgives_nothing():
    with pytest.raises(TooManyBadItemsError, match="1 of 1,000 items"):
        enforce_bad_limit(ITEMS[:1], total=1000, limit=0.0)
