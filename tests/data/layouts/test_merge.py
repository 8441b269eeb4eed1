"""Merged sets: who is a pair, who is a pool, who is measured, and what the seed decides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setclip.data.bad_items import BadItem
from setclip.data.layouts.merge import Known, Member, merge
from setclip.data.layouts.rows import Row, Rows
from setclip.data.tables import ManifestError


def rows(name="a", train=20, test=5, validation=3, unsaid=0):
    parts = ["train"] * train + ["test"] * test + ["validation"] * validation + [None] * unsaid
    found = [
        Row(i + 1, f"/{name}/{i}.png", (f"{name} {i}", f"{name} again {i}"), part)
        for i, part in enumerate(parts)
    ]
    return Rows(Path(f"/{name}.json"), found)


def sides(manifest, positions):
    return [(manifest.x[i], manifest.y[i]) for i in positions]


def counts(manifest):
    train = ~manifest.test
    return [
        int(train[part].sum()) for part in (manifest.pairs, manifest.x_only, manifest.y_only)
    ] + [int(manifest.test.sum())]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Known(), [20, 0, 0, 5]),
        (Known(pairs=4), [4, 16, 16, 5]),
        (Known(share=0.1), [2, 18, 18, 5]),
        (Known(pairs=4, rest="disjoint"), [4, 8, 8, 5]),
        (Known(pairs=4, rest="x"), [4, 16, 0, 5]),
        (Known(pairs=4, rest="y"), [4, 0, 16, 5]),
        (Known(pairs=4, rest="none"), [4, 0, 0, 5]),
        (Known(pairs=4, rest="disjoint", pool=10), [4, 5, 5, 5]),
        (Known(pairs=0, rest="x", pool=100), [0, 20, 0, 5]),
    ],
)
def test_what_stays_known(known, expected):
    assert counts(merge([Member("a", rows())], known)) == expected


def test_an_item_whose_pairing_is_hidden_keeps_row_and_cells():
    manifest = merge([Member("a", rows())], Known(pairs=4))
    named = {row.number: row for row in rows().rows}
    for i in range(len(manifest)):
        row = named[int(manifest.rows[i])]
        assert manifest.x[i] in (None, row.image)
        assert manifest.y[i] in (None, row.captions)
    x_rows, y_rows = (manifest.rows[p] for p in (manifest.x_only, manifest.y_only))
    assert sorted(x_rows) == sorted(y_rows)
    assert list(x_rows) != list(y_rows)  # the order would give the pairing away
    assert not set(x_rows) & set(manifest.rows[manifest.pairs])


def test_matched_sets_hold_the_same_items_on_both_sides():
    manifest = merge([Member("a", rows())], Known(pairs=4, rest="sets", set_size=5))
    x, y = manifest.x_only, manifest.y_only
    assert set(manifest.sets[x]) == {0, 1, 2, 3}
    for s in range(4):
        own = [set(manifest.rows[part[manifest.sets[part] == s]]) for part in (x, y)]
        assert own[0] == own[1]
    assert manifest.set_names == ["0", "1", "2", "3"]
    assert (manifest.sets[manifest.pairs] == -1).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 100))
def test_fewer_pairs_of_a_seed_are_a_subset_of_more(few, many, seed):
    few, many = sorted((few, many))
    found = [merge([Member("a", rows())], Known(pairs=n), seed=seed) for n in (few, many)]
    chosen = [set(m.rows[m.pairs[~m.test[m.pairs]]].tolist()) for m in found]
    assert chosen[0] <= chosen[1]


def test_the_seed_decides():
    found = [merge([Member("a", rows())], Known(pairs=4), seed=s) for s in (0, 0, 1)]
    assert found[0].x == found[1].x
    assert found[0].x != found[2].x


def test_validation_is_left_out_unless_wanted():
    numbers = set(range(26, 29))
    left_out = merge([Member("a", rows())], Known())
    assert not numbers & set(left_out.rows.tolist())
    assert counts(merge([Member("a", rows())], Known(), use_validation=True)) == [23, 0, 0, 5]


def test_sets_are_merged_and_rows_know_theirs():
    members = [Member("a", rows("a")), Member("b", rows("b", train=10, test=2))]
    manifest = merge(members, Known(pairs=6))
    assert counts(manifest) == [6, 24, 24, 7]
    for i in range(len(manifest)):
        cell = manifest.x[i] or manifest.y[i][0]
        assert manifest.origins[i] in str(cell)
    item = manifest.bad_item(0, "image", "v", "r")
    assert str(item).startswith("a, row ")


def test_shift_takes_pairs_of_one_set_and_pools_of_another():
    members = [
        Member("a", rows("a"), learn="pairs"),
        Member("b", rows("b", train=10), learn="pools"),
        Member("c", rows("c"), learn="nothing"),
        Member("d", rows("d"), learn="nothing", measure=False),
    ]
    manifest = merge(members, Known(pairs=6))
    assert counts(manifest) == [6, 10, 10, 15]
    train = ~manifest.test
    origins = np.asarray(manifest.origins)
    pairs = manifest.pairs[train[manifest.pairs]]
    assert set(origins[pairs]) == {"a"}
    assert set(origins[manifest.x_only]) == {"b"}
    assert set(origins[manifest.test]) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("part", "expected"), [(None, [8, 0, 0, 2]), ("train", [10, 0, 0, 0]), ("test", [0, 0, 0, 10])]
)
def test_a_set_that_says_nothing_of_its_parts(part, expected):
    member = Member("a", rows(train=0, test=0, validation=0, unsaid=10), part=part)
    assert counts(merge([member], Known())) == expected


def test_a_set_with_a_test_has_nothing_more_held_out():
    assert counts(merge([Member("a", rows(unsaid=10))], Known())) == [30, 0, 0, 5]


def test_pictures_and_captions_alone_are_pools_unless_only_pairs_are_wanted():
    found = rows(train=4, test=0, validation=0)
    found.rows.append(Row(9, "/lone.png", (), "train", "owl"))
    found.rows.append(Row(10, None, ("lone",), "train"))
    assert counts(merge([Member("a", found)], Known())) == [4, 1, 1, 0]
    assert counts(merge([Member("a", found, learn="pairs")], Known())) == [4, 0, 0, 0]
    assert counts(merge([Member("a", found, learn="pools")], Known())) == [0, 5, 5, 0]
    labelled = merge([Member("a", found)], Known())
    assert labelled.label_names == ["owl"]
    assert sorted(labelled.labels.tolist()) == [-1] * 5 + [0]


def test_bad_items_name_their_set():
    found = replace(rows(), bad=[BadItem(3, "caption", "", "empty caption")])
    manifest = merge([Member("a", found)], Known())
    assert str(manifest.bad[0]) == "a, row 3, caption: empty caption ('')"
    assert manifest.n_read == 29


def test_more_pairs_than_there_are():
    with pytest.raises(ManifestError, match=r"data\.pairs is 21, .* holds 20 pairs"):
        merge([Member("a", rows())], Known(pairs=21))
