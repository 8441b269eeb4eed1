"""A run from config to folder: what it holds, that it resumes, refuses, compares and reports."""

import json
import re
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tiny_encoders
from tiny import few_emoji, write_arrays

from setclip.config import parse_config
from setclip.data import material as material_module
from setclip.data.bad_items import (
    BadItem,
    Places,
    TooManyBadItemsError,
    read_bad_items,
    write_bad_items,
)
from setclip.data.held_out import HeldOut
from setclip.data.material import Material
from setclip.data.pools import RawItems, make_pools
from setclip.methods import Ridge
from setclip.mining import mine_run
from setclip.model import AlignedModel
from setclip.run import fit as fit_module
from setclip.run import run_config, run_evaluate, run_fit, run_results
from setclip.run.folder import fingerprinted
from setclip.run.measure import _test_groups
from setclip.run.report import run_report


def config_of(tmp_path, *, data=None, method="cca", compare=("ridge",), **more):
    return parse_config(
        {
            "data": data or write_arrays(tmp_path),
            "method": method,
            "compare": list(compare),
            "output": str(tmp_path / "run"),
            "evaluation": {"draws": 100},
            **more,
        }
    )


def fit(config, **options):
    return run_fit(config, say=lambda sentence: None, **options)


def test_results_name_method_and_comparisons_with_intervals(tmp_path):
    own, other = fit(config_of(tmp_path), command="setclip fit it.yaml")
    assert (own.name, other.name) == ("cca", "ridge")
    mean, low, high = own.recall["10"]
    assert low <= mean <= high
    assert mean > 80  # a planted linear map with little noise; chance is 50
    stored = run_results(tmp_path / "run")
    assert stored["command"] == "setclip fit it.yaml"
    assert stored["gallery"] == 20
    assert stored["versions"]["setclip"]


def test_distance_between_the_modalities_falls(tmp_path):
    own = fit(config_of(tmp_path))[0]
    assert own.metrics["mmd"] < own.metrics["before.mmd"]
    assert 0 < own.metrics["modality_gap"] < 0.1


def test_saved_model_carries_its_metrics(tmp_path):
    own = fit(config_of(tmp_path))[0]
    model = AlignedModel.load(tmp_path / "run")
    assert model.card.metrics == pytest.approx(own.metrics)
    assert "R@" not in (tmp_path / "run" / "model.json").read_text()
    assert "recall@10" in (tmp_path / "run" / "README.md").read_text()


def test_evaluate_finds_again_what_fit_measured(tmp_path):
    own = fit(config_of(tmp_path))[0]
    again = run_evaluate(tmp_path / "run")
    assert again.recall == {k: pytest.approx(v) for k, v in own.recall.items()}


@pytest.mark.parametrize("part", ["x_pairs", "y_pool", "x_test"])
def test_data_that_have_changed_since_the_fit_are_refused(tmp_path, part):
    config = config_of(tmp_path, compare=())
    fit(config)
    path = tmp_path / f"{part}.npy"
    np.save(path, 2 * np.load(path))
    for again in (run_evaluate, run_report, mine_run):
        with pytest.raises(ValueError, match=r"changed since .*run was fitted.*other content"):
            again(config.output)


def test_raw_items_are_known_by_their_places_and_not_by_what_an_encoder_made_of_them():
    def fingerprint(rows=(0, 1, 2), text="an owl", scale=1.0, learned="a swan", ids=(4, 4, -1)):
        x = scale * np.arange(6, dtype=np.float32).reshape(3, 2)
        names = [learned, "a", "b"]
        pools = make_pools(x, x, x_pool=x, y_pool=x, x_sets=ids, y_sets=ids)
        return fingerprinted(
            Material(
                replace(pools, items=RawItems(names, names, [], [])),
                *(x[:1], x[:1], [], []),
                x_encoder="minilm",
                x_test_items=[text],
                y_test_items=[Path("photos/owl.jpg")],
                places={"x pairs": Places("caption", np.array(rows))},
            )
        )["digest"]

    assert fingerprint(scale=1 + 1e-6) == fingerprint()
    assert fingerprint(rows=(0, 1, 3)) != fingerprint()
    assert fingerprint(text="a heron") != fingerprint()
    assert fingerprint(learned="a heron") != fingerprint()
    assert fingerprint(learned="half \ud800") != fingerprint(learned="half \ud801")
    assert fingerprint(ids=(4, -1, 4)) != fingerprint()


def test_data_that_have_grown_since_the_fit_are_told_in_numbers(tmp_path):
    config = config_of(tmp_path, compare=())
    fit(config)
    path = tmp_path / "x_pool.npy"
    np.save(path, np.load(path)[:31])
    with pytest.raises(ValueError, match=r"then .* 40 x .* now .* 31 x .*; 20 test items\."):
        run_evaluate(config.output)


def test_fitting_data_that_have_changed_says_so(tmp_path):
    config = config_of(tmp_path, compare=())
    fit(config)
    said = []
    run_fit(config, say=said.append)
    assert not any("have changed" in sentence for sentence in said)
    path = tmp_path / "x_pool.npy"
    np.save(path, np.load(path)[:31])
    run_fit(config, say=said.append)
    assert any(
        re.search(r"data have changed since .*: then .* 40 x .*, now .* 31 x", s) for s in said
    )
    run_evaluate(config.output)


def test_changed_data_are_fitted_anew_by_methods_that_keep_checkpoints(tmp_path):
    clip = {"kind": "clip", "steps": 5, "folds": 1}
    config = config_of(tmp_path, method=clip, compare=[{"kind": "siglip", "steps": 5, "folds": 1}])
    fit(config)
    path = tmp_path / "x_pairs.npy"
    np.save(path, 2 * np.load(path) + 1)
    said = []
    own, other = run_fit(config, say=said.append)
    assert any("have changed" in sentence for sentence in said)
    assert not own.error
    assert not other.error
    assert run_evaluate(config.output).recall == own.recall


def test_a_refit_of_changed_data_that_is_killed_goes_on(tmp_path, monkeypatch):
    config = config_of(tmp_path, method={"kind": "clip", "steps": 5, "folds": 1}, compare=["cca"])
    fit(config)
    path = tmp_path / "x_pairs.npy"
    np.save(path, 2 * np.load(path) + 1)
    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "_compared", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(config)
    with pytest.raises(FileNotFoundError, match="the run has not ended"):
        run_report(config.output)
    said = []
    run_fit(config, say=said.append)
    assert not any("have changed" in sentence for sentence in said)


def killed(*_, **__):
    raise KeyboardInterrupt


def test_a_comparison_with_other_options_is_made_anew(tmp_path):
    for steps in (4, 6, 6):
        clip = {"kind": "clip", "steps": steps, "folds": 1}
        assert not fit(config_of(tmp_path, compare=[clip]))[1].error
    log = (tmp_path / "run" / "compare" / "clip" / "log.jsonl").read_text()
    assert log.count('"loss"') == 6


def test_comparisons_of_one_kind_have_names_and_folders_of_their_own(tmp_path):
    several = [{"kind": "clip", "steps": steps, "folds": 1} for steps in (5, 9)]
    results = fit(config_of(tmp_path, compare=[*several, "cca"]))
    assert [r.name for r in results] == ["cca", "clip", "clip, number 2", "cca, number 2"]
    assert not any(r.error for r in results)
    assert len(list((tmp_path / "run" / "compare").glob("clip*/checkpoints"))) == 2


def test_runs_of_earlier_versions_do_not_know_their_data(tmp_path):
    config = config_of(tmp_path, compare=())
    own = fit(config)[0]
    results = run_results(config.output)
    del results["data"]
    (config.output / "results.json").write_text(json.dumps(results))
    path = tmp_path / "y_pool.npy"
    np.save(path, 2 * np.load(path))
    assert run_evaluate(config.output).recall == own.recall


def test_another_config_in_the_same_folder_is_refused_by_field(tmp_path):
    config = config_of(tmp_path)
    fit(config)
    with pytest.raises(ValueError, match=r"method\.penalty.*None.*3") as error:
        fit(
            config_of(tmp_path, data=config.data.model_dump(), method={"kind": "cca", "penalty": 3})
        )
    assert "output=" in str(error.value)


def table_of_texts(tmp_path, rows):
    """A table of two columns of texts as the data of a config, and its encoders."""
    (tmp_path / "texts.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    data = {"kind": "manifest", "path": str(tmp_path / "texts.csv"), "near_duplicate": 1.0}
    data |= {side: {"column": side, "modality": "text"} for side in "xy"}
    return data, dict.fromkeys("xy", tiny_encoders.Y)


def test_a_fit_that_stopped_at_its_data_leaves_the_folder_to_another_config(tmp_path, monkeypatch):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    texts = tiny_encoders.items(40)[1]
    rows = [*(f"{x},{y}" for x, y in zip(texts[:20], texts[20:], strict=True)), "one,too,many"]
    data, encoders = table_of_texts(tmp_path, rows)
    with pytest.raises(TooManyBadItemsError, match=r"raise data\.bad_limit"):
        fit(config_of(tmp_path, data=data, encoders=encoders, compare=()))
    folder = tmp_path / "run"
    assert [item.row for item in read_bad_items(folder / "bad_items.jsonl")] == [22]
    (folder / "log.jsonl").write_text('{"phase": "final", "step": 1, "clip": 2.0}\n')
    data["bad_limit"] = 0.5
    fit(config_of(tmp_path, data=data, encoders=encoders, compare=()))
    assert run_config(folder).data.bad_limit == 0.5
    assert not (folder / "log.jsonl").exists()


@pytest.mark.parametrize("left", ["checkpoints/final", "compare/clip/checkpoints/final"])
def test_weights_of_a_killed_fit_keep_the_folder(tmp_path, left):
    config = config_of(tmp_path)
    (config.output / left).parent.mkdir(parents=True)
    (config.output / left).touch()
    (config.output / "config.json").write_text(config.model_dump_json())
    with pytest.raises(ValueError, match="holds a run of another config"):
        fit(config.model_copy(update={"seed": 3}))


def test_fitting_again_goes_on_from_checkpoints_to_the_same_weights(tmp_path):
    method = {"kind": "setclip", "steps": 20, "folds": 2}
    config = config_of(tmp_path, method=method, compare=())
    fit(config)
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "model.safetensors").unlink()
    fit(config)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_a_fit_that_went_on_names_no_time(tmp_path):
    config = config_of(tmp_path, method={"kind": "setclip", "steps": 4, "folds": 1}, compare=())
    (first,) = fit(config)
    assert first.seconds > 0
    (again,) = fit(config)
    assert again.seconds is None
    assert again.recall == first.recall
    assert run_report(config.output).is_file()


@pytest.mark.parametrize("error", [ImportError("no accelerate"), OSError("no weights")])
def test_a_comparison_without_its_library_or_weights_is_a_row_too(tmp_path, monkeypatch, error):
    config = config_of(tmp_path)
    monkeypatch.setattr(Ridge, "fit", Mock(side_effect=error))
    own, other = fit(config)
    assert own.recall
    assert other.error == str(error)


def test_recall_that_cannot_miss_is_not_measured(tmp_path):
    data = write_arrays(tmp_path)
    for side in "xy":
        rows = np.load(tmp_path / f"{side}_test.npy")
        np.save(tmp_path / f"{side}_test.npy", rows[:9])
    config = config_of(tmp_path, data=data, compare=())
    (own,) = fit(config)
    assert own.recall.keys() == {"1", "5"}  # ten of nine would always be enough
    mean, low, high = own.recall["5"]
    assert (mean, high) == (100.0, 100.0)
    assert 50 < low < 80  # Wilson's 70 of nine hits of nine
    # Five of nine is more than half of the gallery.
    assert "among the first 1 of 9" in run_report(config.output).read_text()
    assert AlignedModel.load(config.output).card.test_items == 9


def test_a_comparison_that_cannot_work_is_a_row_with_its_reason(tmp_path):
    data = write_arrays(tmp_path)
    del data["x_pairs"], data["y_pairs"]
    method = {"kind": "setclip", "start": "random", "steps": 5, "folds": 1}
    own, other = fit(config_of(tmp_path, data=data, method=method, compare=("clip",)))
    assert own.recall
    assert other.recall == {}
    assert "give at least 2" in other.error


def test_without_a_test_the_model_is_fitted_and_the_report_says_so(tmp_path):
    data = write_arrays(tmp_path)
    del data["x_test"], data["y_test"]
    config = config_of(tmp_path, data=data, compare=())
    (own,) = fit(config)
    assert own.recall == {}
    assert "The gallery has fewer than two items" in run_report(config.output).read_text()
    with pytest.raises(ValueError, match="hold no test"):
        run_evaluate(config.output)


def test_a_test_item_that_is_also_in_training_is_named(tmp_path):
    data = write_arrays(tmp_path)
    data["x_pool"] = data["x_test"]
    own = fit(config_of(tmp_path, data=data, compare=()))[0]
    assert any(w.startswith("leak: 20 of 20 test items") for w in own.warnings)


def test_report_shows_verdict_comparison_warning_and_config(tmp_path):
    data = write_arrays(tmp_path)
    data["x_pool"] = data["x_test"]
    config = config_of(tmp_path, data=data, method={"kind": "setclip", "steps": 20, "folds": 2})
    fit(config, command="setclip fit it.yaml")
    write_bad_items(config.output / "bad_items.jsonl", [BadItem(7, "x", "7.png", "too bright")])
    page = run_report(config.output).read_text()
    told = ("finds the true partner", "ridge", "leak", "setclip fit it.yaml", "x_pool")
    for shown in (*told, "too bright"):
        assert shown in page
    figures = {path.name for path in (config.output / "figures").iterdir()}
    assert any("map" in name for name in figures)
    assert all(name.endswith(".png") for name in figures)


@pytest.mark.parametrize("part", ["x_pairs", "y_test"])
def test_rows_of_zeros_do_not_keep_a_run_from_its_report(tmp_path, part):
    data = write_arrays(tmp_path)
    rows = np.load(tmp_path / f"{part}.npy")
    rows[[3, 7]] = 0
    np.save(tmp_path / f"{part}.npy", rows)
    if part == "y_test":  # without pairs the test shows the geometry
        del data["x_pairs"], data["y_pairs"]
        method = {"kind": "setclip", "start": "random", "steps": 5, "folds": 1}
    else:
        method = "cca"
    config = config_of(tmp_path, data=data, method=method, compare=())
    fit(config)
    left = 28 if part == "x_pairs" else 18
    assert f"shared geometry over {left} pairs" in run_report(config.output).read_text()


def test_only_a_drawn_gallery_is_one_of_each_group(tmp_path, monkeypatch):
    config = config_of(tmp_path, compare=())
    fit(config)
    assert "Gallery of 20 held-out items; both" in run_report(config.output).read_text()
    monkeypatch.setattr(material_module, "load_dataset", lambda *_, **__: few_emoji())
    drawn = config_of(tmp_path, data={"kind": "bundled", "pairs": 30}, compare=())
    drawn = drawn.model_copy(update={"output": tmp_path / "drawn"})
    fit(drawn)
    page = run_report(drawn.output).read_text()
    assert "held-out items, one of each group of near-duplicates; both" in page


def test_verdict_recommends_a_comparison_that_does_better(tmp_path):
    method = {"kind": "setclip", "start": "random", "steps": 0, "folds": 1}
    config = config_of(tmp_path, method=method, compare=("cca",))
    fit(config)
    assert "cca does better" in run_report(config.output).read_text()


def test_verdict_does_not_recommend_what_the_test_cannot_tell_apart(tmp_path):
    config = config_of(tmp_path, compare=("ridge",))
    _, other = fit(config)
    results = run_results(config.output)
    for result, recall in zip(results["results"], ([70, 50, 90], [85, 65, 100]), strict=True):
        result["recall"] = dict.fromkeys(result["recall"], recall)
    (config.output / "results.json").write_text(json.dumps(results))
    page = run_report(config.output).read_text()
    assert f"{other.name} reaches 85 %, within that interval" in page
    assert "prefer it" not in page


def test_missing_runs_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="setclip fit"):
        run_config(tmp_path)
    config = config_of(tmp_path)
    config.output.mkdir()
    (config.output / "config.json").write_text(config.model_dump_json())
    with pytest.raises(FileNotFoundError, match="goes on where it stopped"):
        run_results(config.output)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "", r"not the config of a run.*EOF"),
        ("config.json", '{"model_type": "bert"}', r"not the config of a run.*data: Field required"),
        ("results.json", "", r"not hold the results of a run \(Expecting value"),
        ("results.json", "{}", r"not hold the results of a run \(it lacks command, created"),
        ("results.json", "[1]", "not hold the results of a run"),
    ],
)
def test_files_that_no_run_wrote_are_named(tmp_path, name, content, said):
    config = config_of(tmp_path, compare=())
    fit(config)
    (config.output / name).write_text(content)
    for again in (run_report, run_evaluate):
        with pytest.raises(ValueError, match=said) as error:
            again(config.output)
        assert str(config.output / name) in str(error.value)
    assert (config.output / name).read_text() == content


def test_a_folder_of_something_else_is_not_taken(tmp_path):
    config = config_of(tmp_path)
    config.output.mkdir()
    (config.output / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"config\.json is not the config of a run.*output="):
        fit(config)


@pytest.mark.parametrize("inside", ["", "run"])
def test_an_output_that_is_a_file_is_refused(tmp_path, inside):
    (tmp_path / "table.csv").write_text("x,y")
    output = tmp_path / "table.csv" / inside
    with pytest.raises(NotADirectoryError, match=r"table\.csv is a file: give a folder"):
        fit(config_of(tmp_path).model_copy(update={"output": output}))
    assert (tmp_path / "table.csv").read_text() == "x,y"


def test_run_leaves_no_pickle_and_a_log_of_json_lines(tmp_path):
    config = config_of(tmp_path, method={"kind": "setclip", "steps": 10, "folds": 2})
    fit(config)
    files = [p for p in config.output.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".json", ".jsonl", ".md", ".safetensors"}
    for line in (config.output / "log.jsonl").read_text().splitlines():
        assert {"phase", "step"} <= json.loads(line).keys()


def manifest_of_pictures(tmp_path):
    """Pairs and pools in a table; which rows, as a person counts them, hold a bright picture."""
    x, y = tiny_encoders.items(80)
    lines, bright = ["picture,text,split"], set()
    for i, (picture, text) in enumerate(zip(x, y, strict=True)):
        (tmp_path / f"{i}.png").write_bytes(picture)
        is_bright = text.count("a") > 7 and text.count("b") > 7
        if is_bright:
            bright.add((len(lines) + 1, "picture"))
        if i % 8:
            lines.append(f"{i}.png,{text},{'train' if i < 60 or is_bright else 'test'}")
        else:
            lines += [f"{i}.png,,train", f",{text},train"]
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    return bright


def test_items_that_an_encoder_in_training_cannot_read_are_listed_with_their_rows(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SETCLIP_CACHE", str(tmp_path / "cache"))
    bright = manifest_of_pictures(tmp_path)
    encoders = {"x": tiny_encoders.X, "y": tiny_encoders.Y}
    towers = {"x": {**tiny_encoders.X, "target": "tiny_encoders:dark_pictures"}, "start": "cca"}
    towers |= {"steps": 2, "batch_pairs": 12, "device": "cpu"}
    data = {"kind": "manifest", "path": str(tmp_path / "items.csv"), "near_duplicate": 1.0}
    data |= {"x": {"column": "picture", "modality": "image"}, "split_column": "split"}
    data["y"] = {"column": "text", "modality": "text"}
    config = config_of(
        tmp_path,
        data=data,
        encoders=encoders,
        method={"kind": "towers", "batch": 8, **towers},
        compare=({"kind": "clip-towers", **towers},),
    )
    for _ in range(2):  # the second goes on from the first
        said = []
        run_fit(config, say=said.append)
        listed = read_bad_items(config.output / "bad_items.jsonl")
        found = [(item.row, item.field) for item in listed]
        assert len(set(found)) == len(found) >= 2
        assert set(found) <= bright
        assert {item.reason for item in listed} == {"too bright"}
        assert any(f"were left out: {len(found)}, see" in sentence for sentence in said)


def test_a_test_item_at_the_centre_does_not_lose_the_model(tmp_path):
    data = write_arrays(tmp_path)
    for part in ("pairs", "pool", "test"):
        for side in "xy":
            path = tmp_path / f"{side}_{part}.npy"
            ends = np.where(np.arange(len(np.load(path))) % 2, 1.0, -1.0)[:, None]
            ends[0] = 0.0 if part == "test" else ends[0]
            np.save(path, ends)
    config = config_of(tmp_path, data=data, compare=())
    (own,) = fit(config)
    assert own.recall
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert "median rank" in run_report(config.output).read_text()


def test_probes_see_what_repeats_in_the_test_on_one_side():
    x = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    material = Material(make_pools(x, x), x, x, [], [])
    assert len(set(_test_groups(material))) == 4
    for drawn in (
        replace(material, held_out=HeldOut(12, 12, grouped=True)),
        replace(material, near_duplicate=np.inf),
    ):
        assert len(set(_test_groups(drawn))) == 12
