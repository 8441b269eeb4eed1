"""The user's own config as a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_encoders
from tiny import write_arrays

from setclip.benchmark import cells_of
from setclip.benchmark.cells import ALL, Cell
from setclip.benchmark.conditions import draw
from setclip.benchmark.own import FEWEST, own_data, own_suite
from setclip.benchmark.suites import named_method
from setclip.config import RunConfig, parse_config
from setclip.data.pools import NO_SET
from setclip.methods import CCA, CLIP, Auto
from setclip.methods.towers import Towers


def config(folder: Path, *, pools: bool = True, pairs: int = 60) -> RunConfig:
    data = write_arrays(folder, pairs=pairs)
    if not pools:
        del data["x_pool"], data["y_pool"]
    return parse_config({"data": data, "method": {"kind": "clip", "steps": 7}})


def test_the_pairs_are_the_items_and_the_test_is_left_alone(tmp_path: Path) -> None:
    data = own_data(config(tmp_path), name="mine.yaml", progress=False)
    np.testing.assert_array_equal(data.x, np.load(tmp_path / "x_pairs.npy"))
    np.testing.assert_array_equal(data.y, np.load(tmp_path / "y_pairs.npy"))
    own = data.own
    assert own is not None
    np.testing.assert_array_equal(own.x_pool, np.load(tmp_path / "x_pool.npy"))
    np.testing.assert_array_equal(own.y_pool, np.load(tmp_path / "y_pool.npy"))


def test_the_suite_goes_as_far_as_the_pairs_and_holds_the_method_of_the_config(
    tmp_path: Path,
) -> None:
    made = config(tmp_path)
    data = own_data(made, name="mine.yaml", progress=False)
    suite = own_suite(made, data, name="mine.yaml")
    cells = [c for c in cells_of(suite, seeds=1) if c.pairs != ALL]
    assert {c.pairs for c in cells} == {0, 5, 10, 20, 45}
    assert {c.condition for c in cells} == {"own"}
    methods = {c.name: c.method for c in cells}
    assert {"cca", "cca (pairs alone)", "kernel cca (pairs alone)", "clip"} < methods.keys()
    assert methods["clip (config)"] == CLIP(steps=7)
    assert {c.name for c in cells_of(suite, methods=["config"], seeds=1) if c.pairs != ALL} == {
        "clip (config)"
    }


def test_a_method_that_is_there_already_has_one_row(tmp_path: Path) -> None:
    made = config(tmp_path)
    data = own_data(made, name="mine.yaml", progress=False)
    for method in (Auto(), CLIP()):
        suite = own_suite(made.model_copy(update={"method": method}), data, name="mine.yaml")
        names = {cell.name for cell in cells_of(suite, seeds=1)}
        assert not any("(config)" in name for name in names)
        (asked,) = {c.name for c in cells_of(suite, methods=["config"], seeds=1) if c.pairs != ALL}
        assert asked == f"{method.kind} (config)"


def test_without_pools_the_hidden_pairs_make_them(tmp_path: Path) -> None:
    made = config(tmp_path, pools=False)
    data = own_data(made, name="mine.yaml", progress=False)
    assert data.own is None
    suite = own_suite(made, data, name="mine.yaml")
    assert {s.condition for s in suite.settings} == {"disjoint"}


def test_too_few_pairs_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"mine.yaml knows {FEWEST - 1} pairs") as error:
        own_data(config(tmp_path, pairs=FEWEST - 1), name="mine.yaml", progress=False)
    assert "compare:" in str(error.value)


def grouped(folder: Path, groups: int) -> RunConfig:
    texts = tiny_encoders.items(96)[1]
    rows = [f"{texts[i]},{texts[48 + i]},{i % groups},train" for i in range(48)]
    (folder / "texts.csv").write_text("\n".join(["x,y,page,part", *rows]) + "\n")
    data = {"kind": "manifest", "path": str(folder / "texts.csv"), "near_duplicate": 1.0}
    data |= {side: {"column": side, "modality": "text"} for side in "xy"}
    return parse_config(
        {
            "data": {**data, "group_column": "page", "split_column": "part"},
            "encoders": dict.fromkeys("xy", tiny_encoders.Y),
            "method": "cca",
        }
    )


def test_groups_of_a_table_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    data = own_data(grouped(tmp_path, 12), name="mine.yaml", progress=False)
    pages = [set(data.groups[page::12]) for page in range(12)]
    assert [len(page) for page in pages] == [1] * 12
    with pytest.raises(ValueError, match="or of one group"):
        own_data(grouped(tmp_path, 1), name="mine.yaml", progress=False)


def test_a_kernel_cca_of_the_config_is_measured_with_its_pools(tmp_path: Path) -> None:
    made = config(tmp_path)
    kernel = named_method("kernel-cca-pairs")[1]
    made = made.model_copy(update={"method": kernel})
    suite = own_suite(made, own_data(made, name="m.yaml", progress=False), name="m.yaml")
    cells = [c for c in cells_of(suite, seeds=1) if c.method == kernel and c.pairs == 20]
    assert {(c.name, c.view) for c in cells} == {
        ("kernel cca (pairs alone)", "pairs"),
        ("cca (config)", "own"),
    }


def test_a_method_that_trains_encoders_is_left_to_the_config(tmp_path: Path) -> None:
    made = config(tmp_path).model_copy(update={"method": Towers()})
    suite = own_suite(made, own_data(made, name="m.yaml", progress=False), name="m.yaml")
    assert "config" not in suite.methods
    assert "towers trains encoders" in suite.title


def test_distinct_items_are_tied_by_their_concepts_alone() -> None:
    made = parse_config(
        {"data": {"kind": "bundled", "name": "proteins", "pairs": 300}, "method": "cca"}
    )
    data = own_data(made, name="p.yaml", progress=False)
    assert len(np.unique(data.groups)) > 20
    assert data.near == np.inf


def test_few_groups_make_no_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"are 4 groups .* A benchmark takes 8 or more"):
        own_data(grouped(tmp_path, 4), name="mine.yaml", progress=False)


def test_no_more_pairs_are_asked_than_a_training_part_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    made = grouped(tmp_path, 9)
    data = own_data(made, name="mine.yaml", progress=False)
    for cell in cells_of(own_suite(made, data, name="mine.yaml"), methods=["cca"]):
        draw(cell, data)


def test_unpaired_items_of_a_group_that_is_held_out_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    made = grouped(tmp_path, 12)
    texts = tiny_encoders.items(160)[1][96:]
    pages = [*range(12), "", "elsewhere"]
    alone = [f"{text},,{pages[i % 14]},train" for i, text in enumerate(texts[:56])]
    with (tmp_path / "texts.csv").open("a") as file:
        file.write("\n".join(alone) + "\n")
    data = own_data(made, name="mine.yaml", progress=False)
    assert data.x_pool is not None
    assert data.x_pool_groups is not None
    assert data.y_pool_groups is None
    assert data.x_pool_groups.tolist()[:14] == [*data.groups[:12], NO_SET, NO_SET]
    drawn = draw(Cell("mine.yaml", "own", 20, 0, CCA()), data)
    held = data.groups[drawn.test]
    same = {row.tobytes() for row in data.x[np.isin(data.groups, held)]}
    rows = zip(data.x_pool, data.x_pool_groups, strict=True)
    kept = [group not in held and row.tobytes() not in same for row, group in rows]
    np.testing.assert_array_equal(drawn.pools.x_pool[-sum(kept) :], data.x_pool[kept])
    assert 0 < len(drawn.pools.x_pool) - sum(kept) < 48  # halves of the pairs that are hidden


def test_pairs_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    made = config(tmp_path)
    for side in ("x", "y"):
        rows = np.load(tmp_path / f"{side}_pairs.npy")
        np.save(tmp_path / f"{side}_pairs.npy", np.repeat(rows[:1], len(rows), axis=0))
    with pytest.raises(ValueError, match=r"near-duplicates of each other \(cosine above 0.9\)"):
        own_data(made, name="mine.yaml", progress=False)


def test_how_near_ready_features_may_be_is_for_the_config_to_say(tmp_path: Path) -> None:
    made = config(tmp_path)
    for side in ("x", "y"):
        path = tmp_path / f"{side}_pairs.npy"
        np.save(path, np.load(path) + 30.0)  # an offset that all share
    with pytest.raises(ValueError, match=r"raise data\.near_duplicate"):
        own_data(made, name="mine.yaml", progress=False)
    raised = made.model_copy(
        update={"data": made.data.model_copy(update={"near_duplicate": 0.9999})}
    )
    data = own_data(raised, name="mine.yaml", progress=False)
    assert len(np.unique(data.groups)) > 20
