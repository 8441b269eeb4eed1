"""From manifest to material: who is a pair, who is a pool, and that the test does not leak."""

import csv
import zlib

import numpy as np
import pytest

import setclip.data.material as material
from setclip.config import parse_config
from setclip.data.bad_items import TooManyBadItemsError
from setclip.data.held_out import HeldOut
from setclip.data.material import count_leaks, load_material
from setclip.data.pools import make_pools


class WordEncoder:
    """Features by the words of a text: equal texts are equal, others nearly orthogonal."""

    name = "words"
    modality = "text"
    dim = 64
    batch_size = 8
    fingerprint = "words:1"

    def prepare(self, item):
        return item

    def embed(self, prepared):
        rows = [
            np.random.default_rng(zlib.crc32(text.encode())).normal(size=self.dim)
            for text in prepared
        ]
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), self.dim)

    def encode(self, items, *, progress=False):
        return self.embed(items)


@pytest.fixture(autouse=True)
def words(monkeypatch, tmp_path):
    monkeypatch.setattr(material, "open_encoder", lambda options: WordEncoder())
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))


def load(tmp_path, rows, **data):
    path = tmp_path / "items.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["x", "y", "set", "group", "label", "split"])
        writer.writeheader()
        writer.writerows(rows)
    config = {
        "kind": "manifest",
        "path": str(path),
        "x": {"column": "x", "modality": "text"},
        "y": {"column": "y", "modality": "text"},
        **data,
    }
    return load_material(parse_config({"data": config, "method": "cca"}))


def pair(i, **more):
    return {"x": f"picture {i * 37}", "y": f"caption {i * 91}", **more}


def test_rows_become_pairs_sets_and_pools(tmp_path):
    rows = [pair(i) for i in range(20)]
    rows += [{"x": f"lone x {i}", "set": f"page {i % 3}"} for i in range(6)]
    rows += [{"y": f"lone y {i}", "set": f"page {i % 2}"} for i in range(4)]
    found = load(tmp_path, rows, set_column="set", test_fraction=0.25)
    pools = found.pools
    assert pools.n_pairs + len(found.x_test) == 20
    assert len(found.x_test) == 5
    assert (len(pools.x_pool), len(pools.y_pool)) == (6, 4)
    assert not any(found.held_out.left_out)
    assert len(pools.shared_sets) == 2
    assert len(found.x_shown) == pools.n_pairs + 6 + 5
    assert found.leaks == 0


def test_features_stay_with_their_rows(tmp_path):
    found = load(tmp_path, [pair(i) for i in range(12)], test_fraction=0.25)
    pools = found.pools
    shown = [s.caption for s in found.x_shown]
    expected = WordEncoder().embed(shown)
    np.testing.assert_array_equal(np.concatenate([pools.x_pairs, found.x_test]), expected)


def test_a_group_lies_on_one_side_with_its_unpaired_rows(tmp_path):
    rows = [pair(i, group=f"g{i // 2}") for i in range(20)]
    rows += [{"x": f"lone {i}", "group": f"g{i}"} for i in range(10)]
    found = load(tmp_path, rows, group_column="group", test_fraction=0.3)
    trained = {s.caption for s in found.x_shown[: -len(found.x_test)]}
    for shown in found.x_shown[-len(found.x_test) :]:
        i = int(shown.caption.split()[1]) // 37
        assert f"lone {i // 2}" not in trained
        assert f"picture {(i ^ 1) * 37}" not in trained


def test_what_is_held_out_is_counted(tmp_path):
    rows = [pair(i, group=f"page {i // 5}") for i in range(20)]
    rows += [{"x": f"lone x {i}", "group": f"page {i}"} for i in range(4)]
    found = load(tmp_path, rows, group_column="group", test_fraction=0.5)
    assert found.held_out == HeldOut(10, 2, grouped=True, left_out=(0, 2, 0))
    rows = [pair(i, split="test" if i < 6 else "train", group=f"p{i // 4}") for i in range(20)]
    found = load(tmp_path, rows, group_column="group", split_column="split")
    assert found.held_out.pairs == found.held_out.gallery == len(found.x_test) == 6
    assert not found.held_out.grouped
    assert found.held_out.left_out == (2, 0, 0)


def test_an_unpaired_copy_of_a_test_item_is_left_out(tmp_path):
    rows = [pair(i) for i in range(20)] + [{"x": f"picture {i * 37}"} for i in range(20)]
    found = load(tmp_path, rows, test_fraction=0.25)
    assert len(found.pools.x_pool) == 15
    assert found.leaks == 0


def test_a_split_column_is_obeyed_and_its_leaks_are_counted(tmp_path):
    rows = [pair(i, split="test" if i < 4 else "train") for i in range(12)]
    rows.append({"x": "picture 0", "split": "train"})
    found = load(tmp_path, rows, split_column="split")
    assert len(found.x_test) == 4
    assert found.leaks == 1


def test_pairs_of_a_group_that_the_test_holds_do_not_train(tmp_path):
    rows = [pair(i, split="test" if i < 4 else "train", group=f"g{i % 6}") for i in range(12)]
    found = load(tmp_path, rows, split_column="split", group_column="group")
    assert len(found.x_test) == 4
    assert found.pools.n_pairs == 4  # of the 8 train pairs, groups 0 to 3 are in the test


def test_labels_of_the_test_are_names(tmp_path):
    rows = [pair(i, label="cat" if i % 2 else "dog", split="test") for i in range(6)]
    rows += [pair(i, split="train") for i in range(6, 12)]
    found = load(tmp_path, rows, split_column="split", label_column="label")
    assert list(found.labels) == ["dog", "cat"] * 3


def test_too_few_pairs_hold_nothing_out(tmp_path):
    found = load(tmp_path, [pair(i) for i in range(5)], test_fraction=0.2)
    assert found.pools.n_pairs == 5
    assert len(found.x_test) == 0
    assert found.held_out.why == "a share of 0.2 of 5 pairs is less than 2"


def test_pairs_that_are_all_alike_hold_nothing_out(tmp_path):
    rows = [{"x": "same", "y": f"caption {i * 91}"} for i in range(20)]
    found = load(tmp_path, rows, test_fraction=0.2)
    assert len(found.x_test) == 0
    assert found.held_out.why.startswith("all 20 pairs are near-duplicates")


def test_too_many_bad_rows_stop_the_run(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("x,y\n" + "a b,c d\n" * 10 + "too,many,cells\n" * 5)
    with pytest.raises(TooManyBadItemsError, match=r"5 of 15.*bad_limit"):
        load_from(path)


def load_from(path):
    config = {
        "kind": "manifest",
        "path": str(path),
        "x": {"column": "x", "modality": "text"},
        "y": {"column": "y", "modality": "text"},
    }
    return load_material(parse_config({"data": config, "method": "cca"}))


def test_leaks_count_test_items_near_training_in_either_modality():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 40)), rng.normal(size=(6, 40))
    pools = make_pools(x_pool=x, y_pool=y)
    x_test, y_test = rng.normal(size=(2, 5, 40)).astype(np.float32)
    assert count_leaks(pools, x_test, y_test, threshold=0.9) == 0
    x_test[1], y_test[3] = x[2], 2 * y[4]
    assert count_leaks(pools, x_test, y_test, threshold=0.9) == 2
