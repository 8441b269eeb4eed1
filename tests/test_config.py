"""Configs: what may be written, and the sentence each mistake gets."""

import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from setclip import encoders
from setclip.config import (
    ConfigError,
    RunConfig,
    changed_fields,
    load_config,
    parse_config,
    schema_json,
)
from setclip.config.errors import explain
from setclip.config.source import Source
from setclip.encoders.bge_small import BgeSmall
from setclip.encoders.efficientnet_lite0 import EfficientNetLite0
from setclip.encoders.minilm import MiniLM

MANIFEST = """\
data:
  kind: manifest
  path: table.csv
  x: {column: image, modality: image}
  y:
    column: caption
    modality: text
method: cca
"""


def write(folder: Path, text: str = MANIFEST) -> Path:
    path = folder / "moths.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert str(caught.value).startswith(f"{path} has {len(caught.value.problems)} problem")
    return caught.value.problems


def problem(path: Path, *overrides: str) -> str:
    (only,) = problems(path, *overrides)
    return only


def kinds(config):
    return {side: options.kind for side, options in config.encoder_options.items()}


def test_a_manifest_run(tmp_path):
    config = load_config(write(tmp_path))
    assert config.data.kind == "manifest"
    assert config.data.path == str(tmp_path / "table.csv")
    assert config.data.columns.x_modality == "image"
    assert config.data.held_out == 0.2
    assert config.method.kind == "cca"
    assert kinds(config) == {"x": "efficientnet-lite0", "y": "minilm-l6"}
    assert config.output == Path("runs/moths")


def test_an_arrays_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, "data: {kind: arrays, x_pool: x.npy, y_pool: y.st#z}\nmethod: ridge\n")
    config = load_config(Path("moths.yaml"))
    assert config.data.files == {
        "x_pool": str(tmp_path / "x.npy"),
        "y_pool": str(tmp_path / "y.st#z"),
    }
    assert config.encoder_options == {}
    assert problem(path, "encoders.x=minilm-l6") == (
        "encoders: arrays are features already; remove encoders"
    )


def test_a_bundled_run_is_two_lines(tmp_path):
    assert (
        problem(write(tmp_path, "data: {kind: bundled}\nmethod: cca\nencoders: {x: minilm-l6}\n"))
        == "encoders: bundled data name their own; remove encoders"
    )
    config = load_config(write(tmp_path, "data: {kind: bundled}\nmethod: {kind: setclip}\n"))
    assert config.data.name == "emoji"
    assert config.data.pairs == 50


def test_overrides_count_from_the_working_folder_and_the_file_from_its_own(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "configs")
    assert load_config(path).data.path == str(tmp_path / "configs" / "table.csv")
    assert load_config(path, ["data.path=t.csv"]).data.path == str(tmp_path / "t.csv")
    assert load_config(path, ["data.path=/abs/t.csv"]).data.path == "/abs/t.csv"
    whole = "data={kind: arrays, x_pool: x.npy, y_pool: y.npy}"
    assert load_config(path, [whole]).data.x_pool == str(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda c: c.seed == 7),
        ("seed=4294967295", lambda c: c.seed == 2**32 - 1),
        ("method=ridge", lambda c: c.method.kind == "ridge"),
        ("method.penalty=1e-4", lambda c: c.method.penalty == 1e-4),
        ("method={kind: setclip, lr: 3e-2}", lambda c: c.method.lr == 3e-2),
        ("compare=[ridge, {kind: cca, penalty: 2}]", lambda c: c.compare[1].penalty == 2),
        ("report=off", lambda c: c.report is False),
        ("data.set_column=room", lambda c: c.data.columns.set == "room"),
        ("evaluation.ks=[1, 3]", lambda c: c.evaluation.ks == (1, 3)),
        ("encoders.y=minilm-l6", lambda c: c.encoders.y.kind == "minilm-l6"),
        ("data.x.modality=text", lambda c: kinds(c)["x"] == "minilm-l6"),
        ("output=elsewhere", lambda c: c.output == Path("elsewhere")),
    ],
)
def test_overrides(tmp_path, override, read):
    assert read(load_config(write(tmp_path), [override]))


def test_later_overrides_reach_into_what_earlier_ones_wrote(tmp_path):
    config = load_config(write(tmp_path), ["compare=[ridge, cca]", "compare.1.rank=8"])
    assert config.compare[1].rank == 8


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "modality: text",
            "modality: txt",
            "line 7, data.y.modality: 'txt' is not allowed. Did you mean 'text'? "
            "Allowed: image, text",
        ),
        (
            "  path: table.csv",
            "  path: table.csv\n  seed: 3",
            "line 4, data.seed: there is no such field. It belongs at the top level.",
        ),
        (
            "method: cca",
            "method: cca\nset_column: room",
            "line 9, set_column: there is no such field. It belongs under data. Fields here: data,",
        ),
        (
            "kind: manifest",
            "kind: manifst",
            "line 2, data.kind: there is no kind 'manifst'. "
            "Did you mean 'manifest'? Allowed: manifest, arrays, bundled",
        ),
        (
            "  kind: manifest\n",
            "",
            "line 1, data: needs a kind. Allowed: manifest, arrays, bundled",
        ),
        (
            "method: cca",
            "method: setclp",
            "line 8, method: there is no kind 'setclp'. Did you mean 'setclip'? Allowed: ",
        ),
        (
            "method: cca",
            "method: {kind: cca, penalty: -1}",
            "line 8, method.penalty: -1: input should be greater than 0",
        ),
        (
            "method: cca",
            "method: {kind: cca, penality: 1}",
            "line 8, method.penality: there is no such field. Did you mean 'penalty'? ",
        ),
        (
            "method: cca",
            "method: cca\ncompare: [ridge, {kind: cca, penalty: x}]",
            "line 9, compare.1.penalty: 'x': input should be a valid number",
        ),
        ("method: cca\n", "", "method: is missing and has no default"),
        (
            "method: cca",
            "method: cca\ncompare: [ridge, {kind: cca, penality: 1}]",
            "line 9, compare.1.penality: there is no such field. Did you mean 'penalty'?",
        ),
        (
            "  x: {column: image, modality: image}",
            "  x: image",
            "line 4, data.x: 'image' where fields were expected: column, modality",
        ),
        ("    column: caption\n", "", "line 5, data.y.column: is missing and has no default"),
        (
            "column: caption",
            "column: image",
            "line 1, data: x and y are both column 'image'; give one column each",
        ),
        (
            "column: caption",
            "column: no",
            "line 6, data.y.column: False is not text; write it in quotes",
        ),
        (
            "path: table.csv",
            "path: table.csv\n  bad_limit: 2",
            "line 4, data.bad_limit: 2: input should be less than or equal to 1",
        ),
        (
            "path: table.csv",
            "path: t.csv\n  encoding: utf-88",
            "line 4, data.encoding: no such encoding; common ones: utf-8, latin-1",
        ),
        (
            "path: table.csv",
            "path: t.csv\n  split_column: part\n  test_fraction: 0.1",
            "line 1, data: split_column ('part') and test_fraction (0.1) both say what the test is",
        ),
        (
            "method: cca",
            "method: cca\nencoders: {y: efficientnet-lite0}",
            "encoders.y: 'efficientnet-lite0' reads image, but y of the data is text; "
            "choose one that reads text, such as minilm-l6",
        ),
        (
            "method: cca",
            "method: cca\nevaluation: {templates: [a photo]}",
            "line 9, evaluation.templates: 'a photo' needs {} once, where the class name goes",
        ),
        (
            "method: cca",
            "method: cca\nseed: 1\nseed: 2",
            "line 10, seed: written before, in line 9",
        ),
        ("method: cca", "method: [cca", "line 9: not valid YAML (expected ',' or ']'"),
    ],
)
def test_each_mistake_is_told_with_line_field_value_and_what_is_allowed(
    tmp_path, old, new, expected
):
    assert old in MANIFEST
    assert problem(write(tmp_path, MANIFEST.replace(old, new))).startswith(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "override 'seed': write it as field=value, such as seed=1"),
        (".seed=1", "override '.seed=1': write it as field=value"),
        ("seed=[", "override 'seed=[': line 1: not valid YAML"),
        ("data.path.x=1", "it has no field 'x'"),
        (
            "compare.0=cca",
            "override 'compare.0=cca', compare: {0: 'cca'}: input should be a valid list",
        ),
        ("seed=-1", "override 'seed=-1', seed: -1: input should be greater than or equal to 0"),
        ("seed=4294967296", "seed: 4294967296: input should be less than or equal to 4294967295"),
        (
            "method.penality=1",
            "override 'method.penality=1', method.penality: there is no such field. "
            "Did you mean 'penalty'?",
        ),
        (
            "data.kind=manifst",
            "override 'data.kind=manifst', data.kind: there is no kind 'manifst'",
        ),
        ("method={kind: foo}", "override 'method={kind: foo}', method: there is no kind 'foo'"),
        (
            "data.x.modality=imge",
            "override 'data.x.modality=imge', data.x.modality: 'imge' is not allowed. "
            "Did you mean 'image'?",
        ),
    ],
)
def test_a_wrong_override_is_quoted(tmp_path, override, expected):
    assert expected in problem(write(tmp_path), override)


def test_an_override_is_named_before_the_lines_that_it_replaced(tmp_path):
    text = MANIFEST + "compare:\n  - ridge\n  - clip\n"
    assert "override 'compare=[foo]', compare.0" in problem(write(tmp_path, text), "compare=[foo]")


def test_an_override_beyond_a_list_says_how_long_it_is(tmp_path):
    message = problem(write(tmp_path, MANIFEST + "compare: [ridge]\n"), "compare.1.penalty=2")
    assert "compare is a list of 1, counted from 0, it has no field 1" in message


def test_a_misspelt_required_field_is_named_next_to_the_missing_one(tmp_path):
    missing, unknown = problems(write(tmp_path, MANIFEST.replace("path:", "paht:")))
    assert missing == "line 1, data.path: is missing and has no default"
    assert unknown.startswith(
        "line 3, data.paht: there is no such field. Did you mean 'path'? Fields here: kind, path, x"
    )


def test_all_problems_come_at_once(tmp_path):
    text = MANIFEST.replace("modality: text", "modality: txt") + "seeed: 1\n"
    assert len(problems(write(tmp_path, text), "report=perhaps")) == 3


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "data: is missing"),
        (b"- a\n- b\n", "it holds a list, expected fields such as data: and method:"),
        (b"data: \xe9\n", "it is not UTF-8"),
        (b"data: \x01\n", "not valid YAML (unacceptable character #x0001"),
        (b"data: m.csv\n", "data: 'm.csv' where fields were expected: kind, path, x, y"),
        (b"a: !!python/object/apply:os.system [true]\n", "not valid YAML (could not determine"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, expected):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    assert expected in problems(path)[0]


def test_a_missing_file(tmp_path):
    assert problem(tmp_path / "c.yaml") == "it cannot be read (No such file or directory)"


def test_the_branches_of_a_union_make_one_sentence():
    class Model(BaseModel):
        penalty: float | Literal["auto"]

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"penalty": "atuo"})
    assert explain(caught.value, Source("c.yaml", {"penalty": "atuo"}), Model) == [
        "penalty: 'atuo': input should be a valid number, unable to parse string as a number; "
        "or 'atuo' is not allowed. Did you mean 'auto'? Allowed: auto"
    ]


def test_endless_yaml_ends(tmp_path):
    assert "there is no such field" in problem(write(tmp_path, MANIFEST + "a: &a [*a]\n"))


def test_arrays_need_both_halves_and_both_sides():
    def message(**data: str) -> str:
        with pytest.raises(ConfigError) as caught:
            parse_config({"data": {"kind": "arrays", **data}, "method": "cca"})
        return str(caught.value)

    assert "data: x_pairs is given without y_pairs; they come together" in message(x_pairs="x.npy")
    assert "no y to learn from; give y_pairs or y_pool" in message(x_pool="x.npy")


def test_what_is_saved_is_read_back(tmp_path):
    text = MANIFEST.replace("method: cca", "method: {kind: setclip, recipe: paper, steps: 5}")
    text += "compare: [ridge]\nencoders: {x: efficientnet-lite0}\n"
    text = text.replace("path: table.csv", "path: t.csv\n  split_column: part")
    config = load_config(write(tmp_path, text))
    again = RunConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.method.weight_sdd == 0.6
    assert again.method.steps == 5
    assert changed_fields(again, config) == {}


def test_parse_config_leaves_its_argument_alone():
    values = {"data": {"kind": "bundled"}, "method": "cca"}
    assert parse_config(values, ["method.rank=3"]).method.rank == 3
    assert values == {"data": {"kind": "bundled"}, "method": "cca"}


def test_only_what_decides_the_weights_counts_as_changed(tmp_path):
    path = write(tmp_path)
    config = load_config(path)
    for same in (
        "output=x",
        "report=off",
        "compare=[ridge]",
        "evaluation.ks=[1]",
        "encoders.y=minilm-l6",
    ):
        other = load_config(path, [same])
        assert changed_fields(other, config) == {}
        assert changed_fields(config, other) == {}
    for different in ("seed=1", "method.penalty=2", "method=ridge", "data.path=other.csv"):
        assert changed_fields(load_config(path, [different]), config)


def test_how_a_run_of_encoders_is_computed_does_not_count_as_changed(tmp_path):
    config = load_config(write(tmp_path), ["method=towers"])
    for same in ("method.shard=true", "method.workers=3", "method.device=cpu"):
        assert changed_fields(load_config(write(tmp_path), ["method=towers", same]), config) == {}
    chunked = load_config(write(tmp_path), ["method=towers", "method.chunk=8"])
    assert list(changed_fields(chunked, config)) == ["method.chunk"]


def test_changed_fields_are_dotted_with_old_and_new(tmp_path):
    path = write(tmp_path)
    changed = changed_fields(
        load_config(path), load_config(path, ["seed=3", "method=setclip", "data.x.column=img"])
    )
    assert changed["seed"] == (0, 3)
    assert changed["data.x.column"] == ("image", "img")
    assert changed["method.kind"] == ("cca", "setclip")
    assert list(changed) == sorted(changed)


@given(st.integers(0, 2**31), st.floats(1e-30, 1e30), st.text("abc", min_size=1, max_size=5))
def test_numbers_and_words_pass_through_overrides_unchanged(seed, penalty, name):
    config = parse_config(
        {"data": {"kind": "arrays", "x_pool": "x", "y_pool": "y"}, "method": "cca"},
        [f"seed={seed}", f"method.penalty={penalty!r}", f"data.x_pool={name}"],
    )
    assert (config.seed, config.method.penalty, config.data.x_pool) == (seed, penalty, name)


def test_the_schema_describes_every_section_for_editors():
    schema = json.loads(schema_json())
    assert set(schema["properties"]) == set(RunConfig.model_fields)
    manifest = schema["$defs"]["ManifestData"]["properties"]
    assert "set of an unpaired row" in manifest["set_column"]["description"]
    assert {"type": "string"} in schema["properties"]["method"]["anyOf"]


def both(modality, encoder):
    data = {
        "kind": "manifest",
        "path": "m.csv",
        "x": {"column": "a", "modality": modality},
        "y": {"column": "b", "modality": modality},
    }
    return parse_config({"data": data, "method": "cca", "encoders": {"x": encoder, "y": encoder}})


def test_every_bundled_encoder_can_be_chosen_by_its_name():
    of_pictures_and_texts = {e.name for e in (EfficientNetLite0, MiniLM, BgeSmall)}
    assert of_pictures_and_texts | {"composition", "proteinmpnn"} == set(encoders.NAMES)
    for encoder in (EfficientNetLite0, MiniLM, BgeSmall):
        config = both(encoder.modality, encoder.name)
        assert kinds(config) == {"x": encoder.name, "y": encoder.name}


def test_encoders_of_libraries_are_chosen_with_options():
    chosen = {"kind": "timm", "model": "resnet18", "pretrained": False, "lora": {"rank": 4}}
    config = both("image", chosen)
    assert config.encoder_options["x"].label == "timm/resnet18"
    assert config.encoder_options["x"].described == chosen
    with pytest.raises(ConfigError, match=r"'timm/resnet18' reads image, but x of"):
        both("text", chosen)
    with pytest.raises(ConfigError, match=r"there is no kind 'tim'\. Did you mean 'timm'"):
        both("image", {"kind": "tim"})
    with pytest.raises(ConfigError, match=r"encoders\.x\.model: is missing"):
        both("image", {"kind": "timm"})
    assert changed_fields(config, both("image", chosen | {"freeze": 2})).keys() == {
        "encoders.x.freeze",
        "encoders.y.freeze",
    }
