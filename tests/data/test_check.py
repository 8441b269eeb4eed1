"""What `check` says of data as people have them: nothing raised, everything named."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from setclip.config import parse_config
from setclip.data import check as check_module
from setclip.data.check import CheckResult, Finding, check
from setclip.data.check.advice import advise, method_findings, supervision_findings
from setclip.data.check.features import (
    grouping_findings,
    leak_findings,
    matrix_findings,
)
from setclip.data.check.findings import count_supervision
from setclip.data.pools import Pools
from setclip.diagnosis import overview
from setclip.linear.maps import AffineMap, Alignment
from setclip.methods.blind import BlindMap
from setclip.modalities import BadItemError

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)


def picture(path: Path, value: int = 0) -> str:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4), (value % 256, value // 256, 0)).save(path)
    return path.name


def check_table(
    folder: Path, table: str, *, features: bool = False, deep: bool = False, **fields: object
):
    path = folder / "m.csv"
    path.write_text(table, encoding="utf-8")
    data = {
        "kind": "manifest",
        "path": str(path),
        "x": {"column": "image", "modality": "image"},
        "y": {"column": "caption", "modality": "text"},
        **fields,
    }
    return check(parse_config({"data": data, "method": "cca"}), features=features, deep=deep)


def check_arrays(folder: Path, *, method: str = "cca", **arrays: np.ndarray) -> CheckResult:
    files = {}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        files[name] = str(folder / f"{name}.npy")
    return check(parse_config({"data": {"kind": "arrays", **files}, "method": method}))


def found(result: CheckResult, fragment: str) -> Finding:
    (finding,) = [f for f in result.findings if fragment in f.message]
    return finding


def printed(result: CheckResult) -> str:
    console = Console(width=300, file=io.StringIO())
    console.print(result.render())
    return console.file.getvalue()


def test_a_clean_table_has_counts_and_advice_only(tmp_path):
    lines = [f"{picture(tmp_path / f'{i}.png', i)},caption {i}," for i in range(10)]
    lines += [f"{picture(tmp_path / f'p{i}.png', 100 + i)},,r{i // 2}" for i in range(4)]
    lines += [f",text {i},r{i // 2}" for i in range(4)]
    result = check_table(tmp_path, "image,caption,room\n" + "\n".join(lines), set_column="room")
    assert result.findings == []
    assert result.ok
    counts = result.supervision
    assert counts is not None
    assert (counts.pairs, counts.test_pairs) == (8, 2)
    assert (counts.sets, counts.set_x, counts.set_y, counts.set_size) == (2, 4, 4, 2)
    assert (counts.uneven_sets, counts.strays) == (0, 0)
    text = printed(result)
    assert "about: fit draws them by group, and scores one of each" in text
    assert "2 sets, half of them up to 2 items a side" in text
    assert "With 8 pairs and 2 sets, start with method auto, which learns from both" in text
    assert "The test has about 2 pairs: a score comes with ± 69 points" in text


def test_unreadable_items_are_a_warning_below_the_limit_and_an_error_above(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    table = "image,caption\ngood.png,fine\nbroken.png,b\nmissing.png,c\ngood.png,  \n"
    table += "".join(f"{picture(tmp_path / f'{i}.png', i)},number {i}\n" for i in range(2))
    result = check_table(tmp_path, table)
    assert not result.ok
    error = found(result, "more than the limit of 1.00% (data.bad_limit)")
    assert "3 of 6 items (50.00%) cannot be read" in error.message
    assert "row 3, image: not a picture" in error.message
    assert f"row 4, image: there is no such file ('{tmp_path / 'missing.png'}')" in error.message
    assert "row 5, caption: only white space" in error.message
    assert error.remedy.startswith("Repair or remove them, or raise data.bad_limit")
    assert [(item.row, item.field) for item in result.bad] == [
        (3, "image"),
        (4, "image"),
        (5, "caption"),
    ]
    tolerant = check_table(tmp_path, table, bad_limit=0.8)
    assert tolerant.ok
    warning = found(tolerant, "3 of 6 items cannot be read: row 3, image: not a picture")
    assert "bad_items.jsonl" in warning.remedy
    assert tolerant.supervision is not None
    assert tolerant.supervision.y_pool == 2  # the captions of the two broken images


def test_a_test_that_is_given_or_too_small_is_not_drawn(tmp_path):
    rows = [f"{picture(tmp_path / f'{i}.png', i)},text {i},test" for i in range(4)]
    head = "image,caption,part\n"
    given = check_table(tmp_path, head + "\n".join(rows), split_column="part")
    few = check_table(tmp_path, head + "\n".join(rows))
    for result, held_out in ((given, 4), (few, 0)):
        assert result.supervision is not None
        assert result.supervision.test_pairs == held_out
        assert "fit draws them" not in printed(result)


def test_a_table_that_cannot_be_read_is_an_error_finding(tmp_path):
    result = check_table(tmp_path, "image,captoin\n")
    assert not result.ok
    assert result.supervision is None
    assert "there is no column 'caption'. Did you mean 'captoin'?" in result.findings[0].message
    assert "error" in printed(result)


def test_placeholders_and_open_quotes_are_pointed_at(tmp_path):
    name = picture(tmp_path / "a.png")
    swallowed = "\n".join(f"x{i}.png,caption {i}" for i in range(30))
    table = f'image,caption\n{name},nan\n,N/A\n{name},"open\n{swallowed}"\n'
    result = check_table(tmp_path, table)
    placeholder = found(result, "caption: 2 texts are a placeholder such as 'nan' (rows 2, 3).")
    assert "Leave these cells empty" in placeholder.remedy
    quote = found(result, "the text of row 4 runs over")
    assert "a quote before it is open and swallows rows" in quote.remedy


@pytest.mark.parametrize("name", ["nan", "None", "-1"])
def test_sets_and_groups_that_are_called_nothing_are_pointed_at(tmp_path, name):
    lines = [f"{picture(tmp_path / f'{i}.png', i)},,{name},a{i}" for i in range(2)]
    lines += [f",text {i},{name if i else 'room'},{name}" for i in range(3)]
    table = "image,caption,room,album\n" + "\n".join(lines) + "\n"
    result = check_table(tmp_path, table, set_column="room", group_column="album")
    sets = found(result, f"room: 4 rows are in one set called '{name}' (rows 2, 3, 5, 6).")
    assert sets.severity == "warning"
    assert "leave these cells empty" in sets.remedy
    assert found(result, f"album: 3 rows are in one group called '{name}'")


def test_a_text_that_no_caption_can_be_is_a_bad_item(tmp_path):
    name = picture(tmp_path / "a.png")
    result = check_table(tmp_path, f"image,caption\n{name},{'x' * 20_001}\n")
    (item,) = result.bad
    assert (item.row, item.field) == (2, "caption")
    assert "20,001 characters" in item.reason
    assert len(item.value) < 60


def test_repeated_rows_and_items(tmp_path):
    a, b = picture(tmp_path / "a.png", 1), picture(tmp_path / "b.png", 2)
    same = picture(tmp_path / "a_again.png", 1)
    result = check_table(
        tmp_path, f"image,caption\n{a},A cat\n{same},a  cat\n{b},a dog\n{b},hound\n"
    )
    rows = found(result, "1 rows repeat an earlier row (row 3)")
    assert rows.severity == "warning"
    images = found(result, "image: 2 images occur in several rows, most often")
    assert images.severity == "note"
    assert "its test holds one of them" in images.remedy
    assert "Remove them: they count double" in printed(result)
    assert "caption: 1 texts occur in several rows, most often 'A cat' (2 times)" in str(
        found(result, "texts occur").message
    )


def test_repeats_in_a_given_test_are_scored_row_by_row(tmp_path):
    names = [picture(tmp_path / f"{i}.png", i) for i in range(2)]
    lines = [f"{name},{text},test" for name in names for text in ("a cat", "a dog")]
    table = "\n".join(["image,caption,part", *lines]) + "\n"
    result = check_table(tmp_path, table, split_column="part")
    for found_of in ("images occur", "texts occur"):
        assert "only the partner in an item's own row" in found(result, found_of).remedy
    assert "merge_captions" in found(result, "images occur").remedy
    assert "merge_captions" not in found(result, "texts occur").remedy


def test_leaks_between_the_parts_of_a_split_column(tmp_path):
    a, again = picture(tmp_path / "a.png", 1), picture(tmp_path / "again.png", 1)
    b, c = picture(tmp_path / "b.png", 2), picture(tmp_path / "c.png", 3)
    table = (
        "image,caption,part,patient\n"
        f"{a},one,train,p1\n{b},two,train,p2\n"
        f"{again},three,test,p3\n{c},Two,test,p1\n,four,test,p4\n"
    )
    result = check_table(tmp_path, table, split_column="part", group_column="patient")
    group = found(result, "patient: 1 groups are in train and in test, the first is 'p1' (row 5)")
    assert group.severity == "warning"
    assert group.remedy.startswith("Their 1 rows in train will not be learned from.")
    assert "drop the split column" in group.remedy
    assert found(result, "image: 1 test images are also in train (row 4)").severity == "error"
    assert found(result, "caption: 1 test texts are also in train (row 5)").severity == "warning"
    lonely = found(result, "1 test rows have one side only (row 6)")
    assert "fill their other cell" in lonely.remedy
    assert result.supervision is not None
    assert (result.supervision.pairs, result.supervision.test_pairs) == (1, 2)
    assert result.supervision.y_pool == 0
    assert [f.severity for f in result.findings[:2]] == ["error", "error"]


def planted(kind: str, items: list[str], *, progress: bool) -> np.ndarray:
    """Features that both encoders agree on: a random direction for each number in a name."""
    numbers = ["".join(filter(str.isdigit, Path(item).name)) for item in items]
    rows = [np.random.default_rng(int(n)).normal(size=16) for n in numbers]
    return np.asarray(rows, dtype=np.float32).reshape(len(items), 16)


def test_features_show_shared_geometry_and_near_duplicates(tmp_path, monkeypatch):
    monkeypatch.setattr(check_module, "_encode", planted)
    pairs = "".join(f"{picture(tmp_path / f'{i}.png', i)},caption {i}\n" for i in range(30))
    twin = picture(tmp_path / "x3.png", 99)
    result = check_table(tmp_path, f"image,caption\n{pairs}{twin},word 3\n", features=True)
    assert result.alignability is not None
    assert result.alignability.level == "much"
    assert result.alignability.verdict in printed(result)
    note = found(result, "2 of 31 pairs have a near-duplicate (cosine above 0.9 in x or y)")
    assert note.severity == "note"
    parts = "".join(f"{i}.png,caption {i},train\n" for i in range(30))
    table = f"image,caption,part\n{parts}{twin},word 3,test\n"
    result = check_table(tmp_path, table, features=True, split_column="part")
    assert found(result, "image: 100% of 1 test items have a near-duplicate in train")
    assert found(result, "caption: 100% of 1 test items have a near-duplicate in train")


class Letters:
    """An encoder of texts by their letters, which refuses the word "refused"."""

    name, modality, dim, batch_size, fingerprint = "letters", "text", 26, 4, "letters-v1"

    def prepare(self, item: str) -> str:
        if item == "refused":
            raise BadItemError(item, "refused")
        return item

    def embed(self, prepared: list[str]) -> np.ndarray:
        counts = [[text.count(chr(97 + i)) for i in range(26)] for text in prepared]
        return np.asarray(counts, dtype=np.float32).reshape(len(prepared), 26)


def test_what_an_encoder_refuses_is_left_out_of_the_measure(tmp_path, monkeypatch):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(check_module, "open_encoder", lambda options: Letters())
    words = ["".join(RNG.choice(list("abcdefgh"), 6)) for _ in range(12)]
    table = "image,caption\n" + "".join(f"{word},{word}\n" for word in [*words, "refused"])
    x = {"column": "image", "modality": "text"}
    result = check_table(tmp_path, table, features=True, x=x)
    assert result.alignability is not None
    assert result.alignability.pairs == 12
    assert any((tmp_path / "cache").rglob("*.safetensors"))


def test_only_a_sample_of_many_pairs_is_encoded(tmp_path, monkeypatch):
    seen = []

    def encode(kind: str, items: list[str], *, progress: bool) -> np.ndarray:
        seen.append(len(items))
        return planted(kind, items, progress=progress)

    monkeypatch.setattr(check_module, "_encode", encode)
    monkeypatch.setattr(check_module, "ENCODED_PAIRS", 12)
    name = picture(tmp_path / "1.png")
    rows = "".join(f"{name},caption {i}\n" for i in range(20))
    check_table(tmp_path, f"image,caption\n{rows}", features=True)
    assert seen == [12, 12]


def test_a_map_without_pairs_is_tried_on_a_sample_of_the_pools(tmp_path, monkeypatch):
    monkeypatch.setattr(check_module, "_encode", planted)
    monkeypatch.setattr(check_module, "ENCODED_POOL", 6)
    shown = []

    def blind(pools: Pools, *, seed: int) -> BlindMap:
        shown.append((len(pools.x_pool), len(pools.y_pool)))
        identity = AffineMap(np.eye(8), np.zeros(8))
        return BlindMap(Alignment(identity, identity), agreement=0.03)

    monkeypatch.setattr(overview, "blind_map", blind)
    pictures = [picture(tmp_path / f"{i}.png", i) for i in range(10)]
    rows = "".join(f"{name},\n,caption {i}\n" for i, name in enumerate(pictures))
    table = f"image,caption\n{rows}"
    assert "`setclip check --deep`; minutes) shows it" in printed(
        check_table(tmp_path, table, features=True)
    )
    assert shown == []
    text = printed(check_table(tmp_path, table, features=True, deep=True))
    assert shown == [(6, 6)]
    assert "Zero pairs cannot work here, as far as can be told without one: two maps" in text
    few = check_table(tmp_path, f"image,caption\n{pictures[0]},\n", features=True, deep=True)
    assert found(few, "No map without pairs was tried: it needs 4 unpaired items a side").message


def test_a_missing_extra_would_stop_the_run(tmp_path, monkeypatch):
    def encode(kind: str, items: list[str], *, progress: bool) -> np.ndarray:
        raise ImportError('encoder needs: pip install "setclip[bundled]"')

    monkeypatch.setattr(check_module, "_encode", encode)
    rows = "".join(f"{picture(tmp_path / f'{i}.png', i)},number {i}\n" for i in range(3))
    result = check_table(tmp_path, f"image,caption\n{rows}", features=True)
    assert not result.ok
    assert 'pip install "setclip[bundled]"' in found(result, "encoder needs").message


def test_clean_arrays(tmp_path):
    x = RNG.normal(size=(200, 64))
    y = x @ RNG.normal(size=(64, 64))
    result = check_arrays(
        tmp_path,
        x_pairs=x[:50],
        y_pairs=y[:50],
        x_pool=x[50:60],
        y_pool=y[60:80],
        x_test=x[80:],
        y_test=y[80:],
    )
    assert result.findings == []
    assert result.alignability is not None
    assert result.supervision is not None
    assert result.supervision.test_pairs == 120
    assert "put that into a set column" in printed(result)


def test_arrays_that_leak_repeat_or_have_no_direction(tmp_path):
    x, y = RNG.normal(size=(20, 8)), RNG.normal(size=(20, 8))
    x[4] = 0
    x[6] = x[5]
    result = check_arrays(
        tmp_path, x_pairs=x, y_pairs=y, x_test=np.stack([x[3], 2 * x[7]]), y_test=-y[:2]
    )
    assert not result.ok
    leak = found(result, "x: 1 of 2 test rows are also in train, the first is test row 0")
    assert leak.severity == "error"
    assert "scores on them mean nothing" in leak.remedy
    assert found(result, "x: 100% of 1 test items have a near-duplicate").severity == "warning"
    zero = found(result, "x_pairs: 1 rows are all zeros, the first is row 4")
    assert "was the item empty?" in zero.remedy
    assert found(result, "x_pairs: 1 of 20 rows repeat an earlier row exactly").severity == "note"
    assert result.alignability is not None
    assert result.alignability.pairs == 18  # of the copy one is looked at


def test_arrays_without_variance_are_an_error_and_not_measured(tmp_path):
    result = check_arrays(tmp_path, x_pairs=np.ones((12, 3)), y_pairs=RNG.normal(size=(12, 3)))
    assert found(result, "x_pairs: all 12 rows are equal").severity == "error"
    assert result.alignability is None
    assert found(result, "Alignability was not measured")


def test_arrays_that_cannot_be_read_are_an_error_finding(tmp_path):
    result = check_arrays(tmp_path, x_pairs=np.ones((3, 2)), y_pairs=np.ones((4, 2)))
    assert "has 3 rows and y_pairs" in result.findings[0].message
    assert not result.ok


def test_of_large_data_a_sample_is_compared(monkeypatch):
    monkeypatch.setattr("setclip.data.check.features.TEST_CAP", 5)
    rows = RNG.normal(size=(40, 3)).astype(np.float32)
    (finding,) = leak_findings("x", rows, 2 * rows, threshold=0.9)
    assert finding.message.startswith("x: 100% of 5 test items have a near-duplicate in train")


def test_a_giant_group_is_a_warning_with_the_threshold_to_raise():
    x = np.abs(RNG.normal(size=(40, 4))).astype(np.float32) + 3
    y = RNG.normal(size=(40, 64)).astype(np.float32)
    (finding,) = grouping_findings(x, y, threshold=0.9)
    assert finding.message.startswith("100% of 40 pairs hang together as near-duplicates")
    assert finding.remedy.startswith("Raise data.near_duplicate")
    assert grouping_findings(y, y, threshold=0.9) == []
    assert grouping_findings(x[:0], y[:0], threshold=0.9) == []


def test_empty_matrices_have_nothing_to_say():
    none = np.zeros((0, 3), dtype=np.float32)
    assert matrix_findings("x", none) == []
    assert leak_findings("x", none, none, threshold=0.9) == []


def test_counts_of_sets():
    x = np.asarray([0, 0, 1, -1, 5, 7, 7, 7])
    y = np.asarray([0, 0, 1, 1, -1, 6, 7, 7])
    counts = count_supervision(3, x, y, test_pairs=1)
    assert (counts.x_pool, counts.y_pool) == (8, 8)
    assert (counts.sets, counts.set_x, counts.set_y) == (3, 6, 6)
    assert (counts.uneven_sets, counts.strays) == (2, 2)
    assert counts.set_size == 2
    strays, uneven = supervision_findings(counts)
    assert (strays.severity, strays.message) == ("note", "2 sets have items on one side only.")
    assert "check the spelling" in strays.remedy
    assert uneven.message == "2 of 3 sets hold more items on one side."


def test_sets_of_which_none_is_shared_are_a_warning():
    counts = count_supervision(0, np.asarray([0, 1]), np.asarray([2]), test_pairs=0)
    assert [f.severity for f in supervision_findings(counts)] == ["warning"]


def told(
    method: str, *compare: str, pairs: int = 0, sets: int = 0, pool: int = 0
) -> list[tuple[str, str]]:
    config = parse_config({"data": {"kind": "bundled"}, "method": method, "compare": list(compare)})
    ids = np.concatenate([np.arange(sets), np.full(pool, -1)])
    counts = count_supervision(pairs, ids, ids, test_pairs=9)
    found = method_findings(config.method, config.compare, counts)
    return [(f.severity, f.message) for f in found]


def test_a_method_without_anything_to_learn_from():
    assert told("ridge", "cca", pairs=5) == []
    there = "this data has no pair, 4 sets, and pools of 4 x and 4 y."
    assert told("cca", "ridge", "clip", sets=4) == [
        ("warning", f"method ridge needs 2 pairs: {there}"),
        ("warning", f"method clip needs 2 pairs: {there}"),
    ]
    assert told("clip", sets=4) == [("error", f"method clip needs 2 pairs: {there}")]
    ((severity, message),) = told("setclip", pairs=1, sets=1)
    assert severity == "error"
    assert message == (
        "method setclip needs 2 pairs or 2 sets or two pools of 4 items: "
        "this data has 1 pair, 1 set, and pools of 1 x and 1 y."
    )


def test_two_pools_are_enough_for_methods_that_compare_their_shapes():
    shape = ("auto", "setclip", "transport-procrustes", "wasserstein-procrustes", "mini-vec2vec")
    there = "this data has no pair, no set, and pools of 9 x and 9 y."
    assert told(*shape, pool=9) == []
    assert told("auto", "cca", "s-clip", pool=9) == [
        ("warning", f"method cca needs 2 pairs or 2 sets: {there}"),
        ("warning", f"method s-clip needs 2 pairs: {there}"),
    ]
    assert [told(method, pool=9)[0][0] for method in ("sotalign", "clip-towers")] == ["error"] * 2
    assert told("towers", pool=9) == []
    there = "this data has 9 pairs, no set, and pools of 0 x and 0 y."
    assert told("auto", "mini-vec2vec", "sue", pairs=9) == [
        ("warning", f"method mini-vec2vec needs two pools of 4 items: {there}"),
        ("warning", f"method sue needs 2 pairs and two pools of 4 items: {there}"),
    ]


def test_data_that_the_method_does_not_use():
    ((severity, message),) = told("ridge", pairs=5, sets=7)
    assert severity == "note"
    assert "learns from pairs only: 7 x and 7 y without a known partner are not used" in message
    assert told("setclip", pairs=5, sets=7) == []


def test_the_remedy_names_methods_that_can():
    counts = count_supervision(0, np.arange(3), np.arange(3), test_pairs=9)
    config = parse_config({"data": {"kind": "bundled"}, "method": "ridge"})
    (finding,) = method_findings(config.method, (), counts)
    assert "cca" in finding.remedy
    assert "siglip" not in finding.remedy


@pytest.mark.parametrize(
    ("pairs", "x_sets", "y_sets", "test_pairs", "expected"),
    [
        (0, [-1] * 9, [-1] * 9, 0, ["only two piles", "a set column", "No pair is held out"]),
        (0, [0, 1], [0, 1], 500, ["With no pair but 2 sets, start with method auto"]),
        (0, [0, 1] * 99, [0, 1] * 99, 500, ["but 2 sets", "sets are large (99 items a side)"]),
        (1, [0] * 9, [0] * 9, 500, ["With 1 pair and 1 set on both sides", "a set column"]),
        (50, [-1], [-1], 120, ["With 50 pairs, start with method auto", "a set column"]),
        (
            50,
            [0, 1],
            [0, 1],
            49,
            ["With 50 pairs and 2 sets", "a score comes with ± 14"],
        ),
        (500, [-1], [-1], 500, ["500 pairs are enough to train heads"]),
    ],
)
def test_advice_follows_from_the_counts(pairs, x_sets, y_sets, test_pairs, expected):
    counts = count_supervision(pairs, np.asarray(x_sets), np.asarray(y_sets), test_pairs=test_pairs)
    advice = advise(counts)
    assert len(advice) == len(expected)
    for sentence, fragment in zip(advice, expected, strict=True):
        assert fragment in sentence


def check_bundled(*, features: bool = False, **fields: object) -> CheckResult:
    data = {"kind": "bundled", **fields}
    return check(parse_config({"data": data, "method": "cca"}), features=features)


@pytest.mark.parametrize(
    ("condition", "pools", "sets"),
    [("disjoint", (737, 738), 0), ("overlapping", (1475, 1475), 0), ("sets", (1475, 1475), 93)],
)
def test_counts_of_each_bundled_condition(condition, pools, sets):
    result = check_bundled(condition=condition)
    assert result.ok
    counts = result.supervision
    assert counts is not None
    assert (counts.pairs, counts.test_pairs) == (50, 381)
    assert (counts.x_pool, counts.y_pool) == pools
    assert counts.sets == sets


def test_two_text_encoders_share_much_geometry():
    """Real features, those that ship with the package."""
    result = check_bundled(name="glosses", pairs=200, features=True)
    assert result.alignability is not None
    assert result.alignability.pairs == 200
    assert result.alignability.level == "much"


def test_more_pairs_than_a_bundled_set_has():
    result = check_bundled(pairs=5000)
    assert not result.ok
    assert result.findings[0].message == (
        "data.pairs is 5,000, but about 1,525 items are left to train on."
    )


def test_a_set_that_was_not_built_yet(tmp_path):
    result = check_bundled(name="mdi-icons", folder=str(tmp_path))
    assert not result.ok
    assert "setclip data build mdi-icons" in result.findings[0].message


def test_encoders_that_are_not_installed_would_stop_the_run(monkeypatch):
    def missing(self: object, *, progress: bool) -> None:
        raise ImportError('pip install "setclip[bundled]"')

    monkeypatch.setattr("setclip.data.datasets.Dataset.features", missing)
    result = check_bundled(features=True)
    assert found(result, "pip install").severity == "error"


def test_methods_that_train_encoders_need_more_than_arrays(tmp_path):
    rows = RNG.normal(size=(30, 4))
    result = check_arrays(tmp_path, method="towers", x_pairs=rows, y_pairs=rows[:, ::-1])
    assert found(result, "method towers trains encoders").severity == "error"
