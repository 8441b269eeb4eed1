"""Set-CLIP end to end on tiny encoders: any mixture, kept beginnings, captions, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch

from setclip.data.pools import Pools, RawItems
from setclip.data.splits import draw_rows_of_pools
from setclip.evaluation import retrieval
from setclip.methods.towers import CLIPTowers, Towers
from setclip.model import AlignedModel
from setclip.training.journal import Journal

X, Y = tiny.items(200)
TRAIN, TEST = np.arange(140), np.arange(140, 200)
SHORT: dict[str, Any] = {
    "x": tiny.X,
    "y": tiny.Y,
    "x_blocks": 2,
    "y_blocks": 2,
    "steps": 3,
    "batch": 16,
    "batch_pairs": 12,
    "batch_views": 6,
    "start": "cca",
    "variants": 1,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))


def drawn(pairs: int = 40, condition: Any = "disjoint", x: Any = X, y: Any = Y) -> Pools:
    rows = draw_rows_of_pools(TRAIN, pairs=pairs, condition=condition, set_size=4)
    blank = np.zeros((200, 1), dtype=np.float32)  # features of another encoder: not looked at
    items = RawItems(
        *([side[i] for i in rows.pairs] for side in (x, y)),
        [x[i] for i in rows.x_pool],
        [y[i] for i in rows.y_pool],
    )
    return replace(rows.pools(blank, blank), items=items)


def recall(model: AlignedModel) -> float:
    zx, zy = model.encode_x([X[i] for i in TEST]), model.encode_y([Y[i] for i in TEST])
    return float(retrieval(zx, zy, ks=(10,)).per_item(10).mean())


def weights(model: AlignedModel) -> dict[str, torch.Tensor]:
    assert model.x_backbone is not None
    assert model.y_backbone is not None
    parts = {
        "xe": model.x_backbone.network,
        "ye": model.y_backbone.network,
        "xh": model.x_tower,
        "yh": model.y_tower,
    }
    return {f"{p}.{n}": t for p, m in parts.items() for n, t in m.state_dict().items()}


@pytest.mark.parametrize(
    ("pairs", "condition", "terms"),
    [
        (40, "disjoint", {"clip", "sdd", "mmd", "ssl x", "ssl y"}),
        (0, "sets", {"sdd", "mmd", "match", "ssl x", "ssl y"}),
        (40, "sets", {"clip", "sdd", "mmd", "match", "ssl x", "ssl y"}),
    ],
)
def test_any_mixture_trains_the_terms_that_it_allows(
    pairs: int, condition: str, terms: set[str]
) -> None:
    journal = Journal()
    model = Towers(**SHORT).fit(drawn(pairs, condition), seed=1, journal=journal)
    assert set(journal.curves["towers"]) == terms | {"loss"}
    z = model.encode_x(X[:5])
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)
    assert model.card.notes == journal.notes
    assert recall(model) > 30  # chance is 17


def test_training_improves_on_frozen_encoders() -> None:
    few = {**SHORT, "x_blocks": "all", "y_blocks": "all", "lr": 1e-2, "head_rate": 1.0}
    few |= {"weight_ssl": 0.0, "augment": False}
    data = drawn(100, "sets")
    frozen = Towers(**{**few, "steps": 0, "start": "random"}).fit(data)
    trained = Towers(**{**few, "steps": 60, "start": "random"}).fit(data)
    assert recall(trained) > recall(frozen) + 20


@pytest.mark.parametrize(("sharpness", "kind"), [(0.0, "linear"), (2.0, "kernel")])
def test_encoders_learn_through_either_kind_of_fitted_head(sharpness: float, kind: str) -> None:
    few = {**SHORT, "sharpness": sharpness, "lr": 1e-2, "wise": 1.0}
    before, after = (Towers(**{**few, "steps": steps}).fit(drawn()) for steps in (0, 2))
    assert before.x_tower.spec.kind == after.y_tower.spec.kind == kind
    start, end = weights(before), weights(after)
    changed = {name[:2] for name in start if not torch.equal(start[name], end[name])}
    assert changed == {"xe", "ye"}


def test_only_the_last_blocks_change() -> None:
    before = tiny.pictures().network.state_dict()
    after = Towers(**{**SHORT, "x_blocks": 1}).fit(drawn()).x_backbone.network.state_dict()  # type: ignore[union-attr]
    changed = {name for name in after if not torch.equal(before[name[8:]], after[name])}
    assert changed == {"network.layers.2.1.weight", "network.layers.2.1.bias"}


@pytest.mark.parametrize("start", ["cca", "procrustes"])
def test_pools_are_not_compared_along_the_one_direction_of_two_pairs(start: str) -> None:
    with pytest.raises(ValueError, match="on 2 pairs gives every item one of two embeddings"):
        Towers(**{**SHORT, "start": start}).fit(drawn(pairs=2))
    Towers(**{**SHORT, "start": start}).fit(drawn(pairs=2).without_pools())
    Towers(**{**SHORT, "start": start}).fit(drawn(pairs=2, condition="sets"))


def test_unpaired_rows_are_negatives_also_where_clip_is_the_only_loss() -> None:
    alone = {f"weight_{name}": 0.0 for name in ("sdd", "mmd", "ssl", "match")}
    found = [
        weights(Towers(**{**SHORT, **alone, "start": "random"}, extra_negatives=wanted).fit(data))
        for wanted, data in ((True, drawn()), (False, drawn()))
    ]
    assert any(not torch.equal(found[0][name], tensor) for name, tensor in found[1].items())


def test_a_kept_beginning_changes_nothing_without_views() -> None:
    # Kernel axes of a hundred rows magnify what the two ways round differently.
    plain = {**SHORT, "augment": False, "weight_ssl": 0.0, "sharpness": 0.0}
    kept = Towers(**plain).fit(drawn(condition="sets"), seed=2)
    raw = Towers(**plain, keep_prefix=False).fit(drawn(condition="sets"), seed=2)
    for name, tensor in weights(kept).items():
        torch.testing.assert_close(weights(raw)[name], tensor, rtol=0, atol=1e-6)


def test_same_seed_same_model_and_another_seed_another() -> None:
    first, again, other = (Towers(**SHORT).fit(drawn(), seed=s) for s in (3, 3, 4))
    assert all(torch.equal(t, weights(again)[n]) for n, t in weights(first).items())
    assert not all(torch.equal(t, weights(other)[n]) for n, t in weights(first).items())


@pytest.mark.parametrize("kind", [Towers, CLIPTowers])
def test_a_saved_model_reads_raw_items_like_the_one_that_was_saved(
    tmp_path: Path, kind: Any
) -> None:
    real = {"x": {"kind": "efficientnet-lite0", "size": 32}, "y": "minilm-l6", "x_blocks": 1}
    few = {"y_blocks": 1, "steps": 1, "variants": 0, "start": "cca", "device": "cpu", "lr": 1e-2}
    model = kind(**real, **few).fit(drawn(8))
    assert model.card.x_encoder == real["x"]
    model.save(tmp_path / "model")
    loaded = AlignedModel.load(tmp_path / "model")
    for ours, theirs, some in (
        (model.encode_x, loaded.encode_x, X[:3]),
        (model.encode_y, loaded.encode_y, Y[:3]),
    ):
        np.testing.assert_array_equal(theirs(some), ours(some))


def test_a_model_of_somebodys_own_module_is_not_opened_from_a_file(tmp_path: Path) -> None:
    model = Towers(**SHORT).fit(drawn())
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"^this model .* not run because a file says so"):
        AlignedModel.load(tmp_path / "model")
    trusted = AlignedModel.load(tmp_path / "model", trust=True)
    np.testing.assert_array_equal(trusted.encode_x(X[:3]), model.encode_x(X[:3]))


def test_features_alone_are_refused() -> None:
    pools = replace(drawn(), items=None)
    for method in (Towers(), CLIPTowers()):
        with pytest.raises(ValueError, match="trains encoders on raw items and was given features"):
            method.fit(pools)


def test_a_trained_model_refuses_features() -> None:
    model = Towers(**SHORT).fit(drawn())
    with pytest.raises(ValueError, match="pass raw items"):
        model.encode_x(np.zeros((2, 12)))


def test_clip_towers_see_the_pairs_alone() -> None:
    options = {k: v for k, v in SHORT.items() if k not in ("batch", "batch_views")}
    first, second = (
        CLIPTowers(**options).fit(drawn(condition=c), seed=1) for c in ("disjoint", "sets")
    )
    assert all(torch.equal(t, weights(second)[n]) for n, t in weights(first).items())
    assert first.card.method["kind"] == "clip-towers"
    with pytest.raises(ValueError, match="learns from pairs alone and was given 1"):
        CLIPTowers(**options).fit(drawn(1))


def test_held_out_pairs_choose_the_step_and_start_no_head() -> None:
    journal = Journal()
    Towers(**SHORT, validation=0.25, check_every=1).fit(drawn(), journal=journal)
    values = [value for _, value in journal.curves["towers"]["criterion"]]
    assert len(values) == 4
    # The closed form of all 40 pairs would rank the held-out ones first of all.
    assert values[0] > 0.5


def test_one_caption_of_several_is_drawn_and_all_count_when_encoding() -> None:
    several = [(text, text.replace("a", "a a")) for text in Y]
    for keep in (True, False):
        model = Towers(**SHORT, keep_prefix=keep).fit(drawn(y=several))
        both = model.encode_y([several[0]])[0]
        each = model.encode_y(list(several[0]))
        mean = each.sum(axis=0) / np.linalg.norm(each.sum(axis=0))
        np.testing.assert_allclose(both, mean, atol=1e-6)


def test_texts_that_were_cut_to_be_kept_are_told_of() -> None:
    given = drawn(y=[text if i % 2 else "owl " * 100 for i, text in enumerate(Y)])
    for keep, told in ((True, 1), (False, 0)):
        journal = Journal()
        options = {**SHORT, "steps": 0, "start": "random", "y": {"kind": "minilm-l6"}}
        Towers(**options, keep_prefix=keep).fit(given, journal=journal)
        cut = [line for line in journal.warnings if line.startswith("texts were cut: ")]
        assert len(cut) == told


@pytest.mark.parametrize("keep", [True, False])
def test_items_that_cannot_be_read_are_left_out_and_listed_by_their_row(keep: bool) -> None:
    broken = [b"no picture" if i in (3, 70, 71) else item for i, item in enumerate(X)]
    pools, journal = drawn(x=broken), Journal()
    model = Towers(**SHORT, keep_prefix=keep).fit(pools, journal=journal)
    assert recall(model) > 30
    assert pools.items is not None
    expected = {
        (f"x {part}", row)
        for part, items in (("pairs", pools.items.x_pairs), ("pool", pools.items.x_pool))
        for row, item in enumerate(items)
        if item == b"no picture"
    }
    assert expected
    assert {(item.field, item.row) for item in journal.bad} == expected
    assert len(journal.bad) == len(expected)
    assert sum(f"left out: {len(expected)}, the first" in note for note in journal.notes) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_what_fails_only_while_training_is_listed_by_the_row_of_the_given_pools(keep: bool) -> None:
    # One of two captions fails: rows of which it is drawn for the start's features go up front,
    # the others meet it in a later step, where they are counted among fewer rows.
    several: list[Any] = [(text, " ") if i < 70 else (text, text) for i, text in enumerate(Y)]
    pools = drawn(y=several)
    first, journal = Journal(), Journal()
    Towers(**{**SHORT, "steps": 0}, keep_prefix=keep).fit(pools, journal=first)
    Towers(**{**SHORT, "steps": 8}, keep_prefix=keep).fit(pools, journal=journal)
    assert set(first.bad) < set(journal.bad)
    assert pools.items is not None
    for item in journal.bad:
        items = pools.items.y_pairs if item.field == "y pairs" else pools.items.y_pool
        assert items[item.row][1] == " "
        assert item.reason == "empty caption"


def test_the_paper_recipe_has_its_constants() -> None:
    paper = Towers(recipe="paper")
    assert (paper.weight_sdd, paper.weight_mmd, paper.weight_ssl) == (0.6, 0.1, 0.1)
    assert (paper.batch_pairs, paper.start, paper.balance) == (22, "random", False)
    assert Towers(recipe="paper", weight_sdd=0.1).weight_sdd == 0.1


def test_the_towers_of_a_pretrained_clip_start_as_they_are() -> None:
    data = drawn()
    model = Towers(**{**SHORT, "start": "own", "steps": 0}).fit(data)
    backbone = tiny.pictures()
    with torch.no_grad():
        z = backbone.network.eval()(backbone.collate([backbone.prepare(item) for item in X[:4]]))
    expected = torch.nn.functional.normalize(z, dim=-1).numpy()
    np.testing.assert_allclose(model.encode_x(X[:4]), expected, atol=1e-6)
    wider = replace(data, items=replace(data.items, x_encoder=None, y_encoder=None))  # type: ignore[type-var]
    blank = replace(wider, y_pairs=np.zeros((40, 3), np.float32), y_pool=wider.y_pool[:, [0] * 3])
    other = {**SHORT, "start": "own", "x": None, "y": None}
    items = replace(blank.items, x_encoder=tiny.X, y_encoder=tiny.Y)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="x has 1 dimensions and y 3"):
        Towers(**other).fit(replace(blank, items=items))
