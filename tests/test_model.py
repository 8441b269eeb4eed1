"""Pins the model: unit rows in constant memory, files that come back bit for bit, damage named."""

from __future__ import annotations

import io
import json
import pickletools
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, layer_norm, normalize

from setclip import encoders
from setclip.linear.maps import AffineMap, Kernel, unit_rows
from setclip.model import (
    FORMAT_VERSION,
    ROWS_AT_A_TIME,
    AlignedModel,
    HeadSpec,
    ModelCard,
    Tower,
    unit,
)


def model(kind: str = "linear", *, dim: int = 4, weights: int = 0, **card: Any) -> AlignedModel:
    torch.manual_seed(weights)
    towers = (Tower(HeadSpec(kind, d, dim, 0.2, 9)) for d in (6, 5))  # type: ignore[arg-type]
    return AlignedModel(*towers, ModelCard(**card))


def features(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)


def parameters(found: AlignedModel) -> dict[str, torch.Tensor]:
    towers = {"x": found.x_tower, "y": found.y_tower}
    return {f"{s}.{k}": t for s, tower in towers.items() for k, t in tower.state_dict().items()}


@pytest.mark.parametrize("kind", ["linear", "projection", "kernel"])
def test_rows_come_out_unit_and_float32(kind: str) -> None:
    found = model(kind)
    x, y = features(7, 6), features(3, 5)
    zx, zy = found.encode_x(x), found.encode_y(y)
    assert (zx.shape, zy.shape) == ((7, found.dim), (3, found.dim)) == ((7, 4), (3, 4))
    assert zx.dtype == zy.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(zx, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found.similarity(x, y), zx @ zy.T)
    np.testing.assert_array_equal(zx, found.encode_x(x))  # no dropout in use


def test_projection_head_is_the_papers() -> None:
    tower = model("projection").x_tower
    weights = tower.state_dict()
    x = torch.from_numpy(features(3, 6))
    p = x @ weights["head.project.weight"].T + weights["head.project.bias"]
    mixed = gelu(p) @ weights["head.mix.weight"].T + weights["head.mix.bias"]
    z = layer_norm(p + mixed, (4,))
    torch.testing.assert_close(tower(x), z / z.norm(dim=1, keepdim=True))
    tower.train()
    assert not torch.equal(tower(x), tower(x))  # dropout


@pytest.mark.parametrize("landmarks", [0, 9])
def test_a_closed_form_becomes_a_tower(landmarks: int) -> None:
    rng = np.random.default_rng(0)
    marks = unit_rows(rng.standard_normal((landmarks, 6)))
    kernel = Kernel(rng.standard_normal(6), marks, 2.0) if landmarks else None
    affine = AffineMap(rng.standard_normal((landmarks or 6, 3)), rng.standard_normal(3), kernel)
    tower = Tower.from_map(affine)
    x = features(5, 6)
    expected = affine(x) / np.linalg.norm(affine(x), axis=1, keepdims=True)
    np.testing.assert_allclose(tower(torch.from_numpy(x)).detach(), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 37.0, 1e4])
def test_rows_of_ordinary_scale_keep_every_bit(scale: float) -> None:
    z = scale * torch.from_numpy(features(300, 37))
    z[3] = 0
    ours, torchs = z.clone().requires_grad_(), z.clone().requires_grad_()
    found, expected = unit(ours), normalize(torchs, dim=-1)
    assert torch.equal(found, expected)
    for rows in (found, expected):
        (rows * torch.from_numpy(features(300, 37)).flip(0)).sum().backward()
    assert torch.equal(ours.grad, torchs.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [-100, -70, 70, 120])
def test_rows_of_any_scale_become_unit(exponent: int) -> None:
    z = torch.from_numpy(features(50, 12))
    assert torch.equal(unit(torch.ldexp(z, torch.tensor(exponent))), unit(z))
    assert torch.equal(unit(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("landmarks", [0, 9])
@pytest.mark.parametrize("exponent", [-115, 115])
def test_a_closed_form_of_features_of_any_scale(exponent: int, landmarks: int) -> None:
    rng = np.random.default_rng(0)
    marks = unit_rows(rng.standard_normal((landmarks, 6)))
    centre, shape = rng.standard_normal(6), (landmarks or 6, 3)
    # A kernel undoes the scale of the features; without one the weights have to.
    undo = 0 if landmarks else -exponent
    weight, bias = np.ldexp(rng.standard_normal(shape), undo), rng.standard_normal(3)
    kernel = Kernel(np.ldexp(centre, exponent), marks, 2.0) if landmarks else None
    tower = Tower.from_map(AffineMap(weight, bias, kernel))
    x = np.ldexp(features(5, 6), exponent)
    expected = AffineMap(weight, bias, kernel)(x)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(tower(torch.from_numpy(x)).detach(), expected, atol=1e-5)


def test_a_map_that_float32_cannot_hold_keeps_its_directions() -> None:
    weight, bias = np.diag([3e45, 1e45]), np.array([2e3, -1e3])
    tower = Tower.from_map(AffineMap(weight, bias))
    x = torch.tensor([[1e-37, 2e-37]])
    torch.testing.assert_close(tower(x), torch.tensor([[3.0, 2.0]]) / 13**0.5)


def test_a_map_that_float32_holds_is_kept_as_it_is() -> None:
    weight, bias = np.diag([3e20, 1e-20]), np.array([1e10, 0.1])
    head = Tower.from_map(AffineMap(weight, bias)).head
    np.testing.assert_array_equal(head.weight.detach(), weight.T.astype(np.float32))  # type: ignore[arg-type]
    np.testing.assert_array_equal(head.bias.detach(), bias.astype(np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.tolist(),
        torch.from_numpy,
        lambda x: torch.from_numpy(x).requires_grad_(),
        lambda x: x[:, ::-1][:, ::-1],
        np.asfortranarray,
    ],
    ids=["float64", "list", "tensor", "with grad", "negative strides", "fortran"],
)
def test_takes_any_array(convert: Callable[[np.ndarray], Any]) -> None:
    x = features(4, 6)
    np.testing.assert_allclose(model().encode_x(convert(x)), model().encode_x(x), rtol=0, atol=1e-6)


def test_takes_bfloat16() -> None:
    x = torch.from_numpy(features(4, 6)).bfloat16()
    np.testing.assert_array_equal(model().encode_x(x), model().encode_x(x.float()))


@pytest.mark.filterwarnings("error")
def test_takes_read_only_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", features(4, 6))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(model().encode_x(mapped), model().encode_x(features(4, 6)))


def test_no_rows_in_no_rows_out() -> None:
    assert model().encode_x(np.zeros((0, 6))).shape == (0, 4)


def test_blocks_do_not_show() -> None:
    x = features(ROWS_AT_A_TIME + 3, 6)
    found = model()
    whole = found.encode_x(x)
    parts = np.concatenate([found.encode_x(x[:5000]), found.encode_x(x[5000:])])
    np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-6)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones((400_000, 6)))  # 19 MB as it stands, 10 MB as float32
    mapped = np.load(path, mmap_mode="r")
    found = model(dim=1)
    found.encode_x(mapped[:10])
    tracemalloc.start()
    out = found.encode_x(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - out.nbytes < 3 << 20


def test_towers_must_meet_in_one_space() -> None:
    towers = Tower(HeadSpec("linear", 3, 4)), Tower(HeadSpec("linear", 3, 5))
    with pytest.raises(ValueError, match="x tower ends in 4 dimensions and the y tower in 5"):
        AlignedModel(*towers)


@pytest.mark.parametrize(
    ("items", "shape"), [(np.ones((2, 7)), r"\[2, 7\]"), (np.ones(6), r"\[6\]"), ([], r"\[0\]")]
)
def test_other_widths_are_refused(items: Any, shape: str) -> None:
    with pytest.raises(
        ValueError, match=rf"x features have shape {shape}, this model takes \[n, 6\]: use the"
    ):
        model().encode_x(items)


def spoilt(value: float, *rows: int) -> np.ndarray:
    x = np.ones((ROWS_AT_A_TIME + 40, 6))
    x[list(rows), 2] = value
    return x


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (spoilt(np.nan, 8195, 8200), r"x has NaN .* in 2 rows, the first is row 8195. Drop these"),
        (spoilt(-np.inf, 0), "x has NaN or infinite .* in 1 rows, the first is row 0"),
        (spoilt(1e300, 7, 8200), "x has NaN .*as float32. in 2 rows, .* is row 7"),
        (spoilt(-1e37, 8201), r"x reaches 1.0e\+37 in row 8201"),
        (1j * np.ones((2, 6)), "x holds complex128, expected numbers"),
        (np.full((2, 6), "1"), "x holds <U1, expected numbers"),
        ([[1] * 6, [1] * 5], "x cannot be read as one array"),
        (np.ma.masked_equal(np.eye(6), 1), "x is a masked array with masked values"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_align_refuses_is_refused_by_row(items: Any, message: str) -> None:
    found = model()
    with pytest.raises(ValueError, match=message):
        found.encode_x(items)
    with pytest.raises(ValueError, match=message):
        found.similarity(items, features(2, 5))


@pytest.mark.parametrize("items", [["a text"], [b"bytes"], [Path("image.png")]])
def test_raw_items_need_an_encoder(items: list[Any]) -> None:
    message = r"fitted on ready y features and knows no encoder .* array of shape \[n, 5\]"
    with pytest.raises(ValueError, match=message):
        model().encode_y(items)


def test_raw_items_go_through_the_encoder_of_their_side(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lengths:
        def encode(self, items: list[str]) -> np.ndarray:
            return np.array([[len(item)] * 6 for item in items], dtype=np.float32)

    monkeypatch.setattr(encoders, "get", {"lengths": Lengths()}.__getitem__)
    found = model(x_encoder="lengths")
    np.testing.assert_array_equal(
        found.encode_x(["one", "three"]), found.encode_x(np.array([[3.0] * 6, [5.0] * 6]))
    )
    np.testing.assert_allclose(
        found.encode_x([("one", "three"), "four"]), found.encode_x([[4.0] * 6] * 2), rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"item 1 is \(\), without a caption"):
        found.encode_x(["one", ()])
    for several in (np.array(["one", "three"]), np.array(["one", "three"], dtype=object)):
        np.testing.assert_array_equal(found.encode_x(several), found.encode_x(["one", "three"]))
    with pytest.raises(ValueError, match="x is one item, 'one': give a list"):
        found.encode_x("one")
    with pytest.raises(ValueError, match="ready y features"):
        found.encode_y(["one"])


def test_an_encoder_with_options_is_kept_and_opened_again(tmp_path: Path) -> None:
    options = {"kind": "efficientnet-lite0", "size": 32}
    before = model(x_encoder=options)
    before.save(tmp_path)
    after = AlignedModel.load(tmp_path)
    assert after.card.x_encoder == options
    assert '- x: `{"kind": "efficientnet-lite0", "size": 32}`, 6-d' in (
        (tmp_path / "README.md").read_text()
    )
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    with pytest.raises(ValueError, match=r"shape \[1, 1280\], this model takes \[n, 6\]"):
        after.encode_x([picture.getvalue()])


@pytest.mark.parametrize("kind", ["linear", "projection", "kernel"])
def test_files_come_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    card = {
        "method": {"kind": "cca", "penalty": 1 / 3},
        "data": "20 pairs — and pools",
        "seed": 7,
        "notes": ["a note"],
        "warnings": ["a warning"],
        "metrics": {"r@1": 0.1 + 0.2},
        "x_encoder": "minilm",
    }
    before = model(kind, **card)
    before.save(tmp_path / "new" / "run")
    after = AlignedModel.load(tmp_path / "new" / "run")
    assert after.card == before.card
    assert after.x_tower.spec == before.x_tower.spec
    found, expected = parameters(after), parameters(before)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    x, y = features(9, 6), features(9, 5)
    np.testing.assert_array_equal(after.similarity(x, y), before.similarity(x, y))
    assert not after.x_tower.training


def test_building_and_loading_leave_the_callers_generator(tmp_path: Path) -> None:
    model("projection").save(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    Tower.from_map(AffineMap(np.ones((6, 3)), np.ones(3)))
    AlignedModel.load(tmp_path)
    assert torch.equal(torch.rand(2), expected)


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        model().save(tmp_path / name)
    for file in ("model.safetensors", "model.json", "README.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_folder_holds_three_plain_files_and_no_pickle(tmp_path: Path) -> None:
    model().save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError):
            list(pickletools.genops(path.read_bytes()))
    assert json.loads((tmp_path / "model.json").read_text())["format_version"] == FORMAT_VERSION


def test_the_card_says_what_was_done(tmp_path: Path) -> None:
    model(
        method={"kind": "cca", "penalty": 3.0},
        data="20 pairs",
        seed=7,
        notes=["cca took penalty 3."],
        warnings=["collapse: all fell together."],
        metrics={"r@1": 12.34567},
        test_items=1200,
        x_encoder="minilm",
    ).save(tmp_path)
    text = (tmp_path / "README.md").read_text()
    for part in (
        "one space of 4 dimensions, fitted by setclip with method `cca`, seed 7.",
        "- x: minilm, 6-d, linear head\n- y: ready features, 5-d, linear head",
        "## Data\n20 pairs",
        "## How it was fitted\n- cca took penalty 3.",
        "## Warnings\n- collapse: all fell together.",
        '"penalty": 3.0',
        "## Held-out metrics on 1,200 test items",
        "| r@1 | 12.35 |",
        'setclip.load("this folder")',
    ):
        assert part in text
    model().save(tmp_path)
    empty = (tmp_path / "README.md").read_text()
    assert "not recorded" in empty
    assert "Warnings" not in empty
    assert "metric" not in empty


def test_a_readme_of_ones_own_is_kept(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Notes of a year")
    for _ in range(2):
        model().save(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# Notes of a year"
    assert "Aligned model" in (tmp_path / "MODEL.md").read_text()


@pytest.mark.parametrize("file", ["model.safetensors", "README.md", "model.json"])
def test_an_interrupted_save_never_leaves_a_description_of_other_weights(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the renames is the last that happens, a folder that loads loads one model."""
    first, second = model(weights=0, data="first"), model(weights=1, data="second")
    first.save(tmp_path)
    replace = Path.replace

    def broken(path: Path, target: Path) -> Path:
        if Path(target).name == file:
            raise OSError("no space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="no space left"):
        second.save(tmp_path)
    assert not list(tmp_path.glob(".*"))  # nothing half-written stays
    with pytest.raises(FileNotFoundError):
        AlignedModel.load(tmp_path)
    monkeypatch.undo()
    second.save(tmp_path)
    assert AlignedModel.load(tmp_path).card.data == "second"


def test_a_failed_write_of_the_weights_keeps_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(weights=0, data="first").save(tmp_path)

    def broken(path: Path, content: bytes) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="no space left"):
        model(weights=1).save(tmp_path)
    assert AlignedModel.load(tmp_path).card.data == "first"


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.json does not exist: give the folder"):
        AlignedModel.load(tmp_path)


def test_other_format_versions_are_refused(tmp_path: Path) -> None:
    model().save(tmp_path)
    path = tmp_path / "model.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format_version": 2, "setclip": "9.9"}))
    with pytest.raises(ValueError, match="format version 2, this setclip reads 1: install setcl"):
        AlignedModel.load(tmp_path)
    del content["setclip"]
    path.write_text(json.dumps({**content, "format_version": 0}))
    with pytest.raises(ValueError, match="install setclip of the writer to read it"):
        AlignedModel.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '"x"', b"\xff\xfe", '{"format_version": 1']
)
def test_a_broken_description_is_named(text: str | bytes, tmp_path: Path) -> None:
    model().save(tmp_path)
    content = text.encode() if isinstance(text, str) else text
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.json is not a model description"):
        AlignedModel.load(tmp_path)


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no x": lambda d: d.pop("x"),
    "no card": lambda d: d.pop("card"),
    "other width": lambda d: d["x"].update(d_in=7),
    "negative width": lambda d: d["x"].update(d_in=-1),
    "width in words": lambda d: d["x"].update(d_in="six"),
    "other head": lambda d: d["x"].update(kind="projection"),
    "unknown head": lambda d: d["x"].update(kind="quadratic"),
    "unknown field": lambda d: d["y"].update(depth=2),
    "x is a list": lambda d: d.update(x=[1, 2]),
    "impossible dropout": lambda d: d["x"].update(kind="projection", dropout=7.0),
    "unknown card field": lambda d: d["card"].update(colour="blue"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_description_that_does_not_fit_is_named(
    damage: Callable[[dict[str, Any]], Any], tmp_path: Path
) -> None:
    model().save(tmp_path)
    path = tmp_path / "model.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"does not fit model\.json, one of them is damaged: .+"):
        AlignedModel.load(tmp_path)


def test_missing_and_mixed_weights_are_named(tmp_path: Path) -> None:
    model().save(tmp_path)
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    message = "one of them is damaged.*Fit the model again or restore both files"
    for change in (
        lambda: weights.unlink(),
        lambda: save_file({**tensors, "x.head.extra": torch.ones(1)}, weights),
        lambda: save_file({k: t for k, t in tensors.items() if k[0] == "x"}, weights),
        lambda: save_file({k: t.reshape(-1) for k, t in tensors.items()}, weights),
    ):
        change()
        with pytest.raises(ValueError, match=message):
            AlignedModel.load(tmp_path)


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_weights_are_named(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    model().save(folder)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="one of them is damaged"):
        AlignedModel.load(folder)
