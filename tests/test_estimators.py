"""Aligner under scikit-learn's own checks, in pipelines and searches, and kept without pickle."""

import doctest
import json

import numpy as np
import pyarrow as pa
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_set_output_transform,
    check_transformer_get_feature_names_out,
    parametrize_with_checks,
)
from test_api import in_sets, planted, same

import setclip
from setclip import Aligner, estimators
from setclip.methods import CCA, Ridge

FAST = Aligner("procrustes")


@parametrize_with_checks(
    [
        Aligner("ridge"),
        Aligner(CCA(penalty=1.0, power=0.5)),
        Aligner(options={"folds": 2}),
    ]
)
def test_scikit_learn_agrees(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_transformer_get_feature_names_out, check_set_output_transform]
)
def test_names_and_containers_of_the_output(check):
    check("Aligner", clone(FAST))


def test_it_is_align():
    x, y = planted(80)
    fitted = Aligner("cca", {"folds": 3}, random_state=4).fit(
        x[:30], y[:30], X_pool=x[30:60], y_pool=y[30:50]
    )
    model = setclip.align(
        x[:30], y[:30], x_pool=x[30:60], y_pool=y[30:50], method="cca", seed=4, folds=3
    )
    assert same(fitted.model_, model)
    np.testing.assert_array_equal(fitted.transform(x), model.encode_x(x))
    np.testing.assert_array_equal(fitted.transform_y(y), model.encode_y(y))
    assert fitted.n_features_in_ == 12
    assert list(fitted.get_feature_names_out()[:2]) == ["aligner0", "aligner1"]


def test_the_default_is_auto():
    x, y = planted(60)
    fitted = Aligner(options={"rank": 5}).fit(x[:30], y[:30], X_pool=x[30:], y_pool=y[30:])
    assert fitted.model_.card.method["kind"] == "auto"
    assert fitted.model_.card.method["rank"] == 5


def test_sets_without_a_pair():
    x, y, x_sets, y_sets = in_sets()
    sets = {"X_pool": x, "y_pool": y, "X_sets": x_sets, "y_sets": [f"{s}" for s in y_sets]}
    with pytest.raises(ValueError, match="share no set"):
        Aligner("cca").fit(None, None, **sets)
    fitted = Aligner("cca").fit(None, None, **{**sets, "y_sets": y_sets})
    assert fitted.n_features_in_ == 12
    assert fitted.score(*planted(160)) > 0.7


def test_one_pair_beside_sets():
    x, y, x_sets, y_sets = in_sets()
    sets = {"X_pool": x, "y_pool": y, "X_sets": x_sets, "y_sets": y_sets}
    fitted = Aligner("cca").fit(*(a[:1] for a in planted()), **sets)
    assert fitted.model_.card.data.startswith("1 pairs; 40 shared sets")


def test_a_one_dimensional_y_is_one_feature():
    x, y = planted(50)
    flat = clone(FAST).fit(x, y[:, 0], X_pool=x, y_pool=y[:, 1])
    column = clone(FAST).fit(x, y[:, :1], X_pool=x, y_pool=y[:, 1:2])
    assert same(flat.model_, column.model_)
    np.testing.assert_array_equal(flat.transform_y(y[:, 0]), column.transform_y(y[:, :1]))
    assert flat.score(x, y[:, 0]) == column.score(x, y[:, :1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_tensors(dtype):
    x, y = (torch.from_numpy(a).to(dtype) for a in planted(50))
    arrays = x.double().numpy(), y.double().numpy()
    fitted = clone(FAST).fit(x, y, X_pool=x, y_pool=y)
    expected = clone(FAST).fit(*arrays, X_pool=arrays[0], y_pool=arrays[1])
    np.testing.assert_allclose(fitted.transform(x), expected.transform(arrays[0]), atol=1e-6)
    assert fitted.score(x, y) == expected.score(*arrays)


def test_score_is_recall_at_one():
    x, y = planted(100)
    fitted = Aligner("cca").fit(x[:50], y[:50])
    similarity = fitted.model_.similarity(x[50:], y[50:])
    own = np.arange(50)
    by_hand = np.mean([similarity.argmax(axis=a) == own for a in (0, 1)])
    assert fitted.score(x[50:], y[50:]) == pytest.approx(by_hand)
    assert by_hand > 0.7


def test_score_of_what_has_no_direction_is_chance():
    x, y = planted(40)
    fitted = Aligner("ridge").fit(x, y)
    with torch.no_grad():
        fitted.model_.y_tower.head.weight.zero_()
        fitted.model_.y_tower.head.bias.zero_()
    assert not fitted.transform_y(y).any()
    assert fitted.score(x, y) == pytest.approx(1 / 40)


@pytest.mark.parametrize("use", ["transform", "transform_y", "score", "save"])
def test_unfitted(use, tmp_path):
    x, y = planted(4)
    arguments = {"transform": (x,), "transform_y": (y,), "score": (x, y), "save": (tmp_path,)}
    with pytest.raises(NotFittedError):
        getattr(Aligner(), use)(*arguments[use])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (lambda x, y: {"X": x, "y": None}, "requires y to be passed"),
        (lambda x, y: {"X": None, "y": y}, "x_pairs is missing"),
        (lambda x, y: {"X": None, "y": None}, "no x was given"),
        (lambda x, y: {"X": x, "y": y[:-1]}, "inconsistent numbers of samples"),
        (lambda x, y: {"X": x, "y": y, "X_pool": x[:, 1:]}, "11 features"),
        (lambda x, y: {"X": x, "y": y, "y_pool": y[:, 1:]}, "y_pairs is 9 wide and y_pool 8"),
        (lambda x, y: {"X": x, "y": y, "X_pool": x * np.nan}, "X_pool contains NaN"),
        (lambda x, y: {"X": x, "y": y, "X_pool": x, "X_sets": [0] * 20}, "without y_sets"),
        (lambda x, y: {"X": x[:1], "y": y[:1]}, "1 sample"),
        (lambda x, y: {"X": np.ma.masked_greater(x, 1), "y": y}, "X is a masked array"),
        (lambda x, y: {"X": x, "y": np.ma.masked_greater(y, 1)}, "y is a masked array"),
    ],
)
def test_mistakes_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        clone(FAST).fit(**arguments(*planted(20)))


def test_a_wrong_option_is_named_at_fit():
    x, y = planted(20)
    with pytest.raises(ValueError, match="Did you mean 'penalty'"):
        Aligner("ridge", {"penalti": 1.0}).fit(x, y)


def test_the_seed_is_no_option():
    x, y = planted(20)
    with pytest.raises(ValueError, match=r"options hold seed 2.*Aligner\(random_state=2\)"):
        Aligner("cca", {"seed": 2}).fit(x, y)
    with pytest.raises(ValueError, match="no such field"):
        Aligner("cca", {"x_pool": x}).fit(x, y)


def test_a_single_pair_beside_pools_is_as_align_takes_it():
    x, y = planted(60)
    fitted = Aligner(random_state=0).fit(x[:1], y[:1], X_pool=x[1:], y_pool=y[1:])
    assert same(fitted.model_, setclip.align(x[:1], y[:1], x_pool=x[1:], y_pool=y[1:]))


def test_clones_and_parameters():
    options = {"penalty": 3.0}
    aligner = Aligner("ridge", options, random_state=7)
    copy = clone(aligner.fit(*planted(30)))
    assert copy.get_params() == {"method": "ridge", "options": options, "random_state": 7}
    assert not hasattr(copy, "model_")
    copy.set_params(method=Ridge(penalty=2.0), options=None)
    assert clone(copy).fit(*planted(30)).model_.card.method["penalty"] == 2.0


def test_seeds():
    x, y = planted(30)
    options = {"start": "random", "dim": 4, "steps": 0, "folds": 1}

    def fit(random_state):
        return Aligner("setclip", options, random_state).fit(x, y).model_

    assert same(fit(np.int64(3)), fit(3))
    assert not same(fit(3), fit(4))
    generator = np.random.RandomState(0)
    first = fit(generator)
    assert same(first, fit(np.random.RandomState(0)))
    assert not same(first, fit(generator))
    assert not same(fit(None), fit(None))


def test_a_search_over_methods_and_options():
    x, y = planted(150)
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform(-3, 3, x.shape[1])
    pipeline = make_pipeline(StandardScaler(), Aligner())
    grid = {
        "aligner__method": ["ridge", "procrustes", Ridge(penalty=1e6)],
        "aligner__options": [None],
    }
    search = GridSearchCV(pipeline, grid, cv=3).fit(x[:90] * scales, y[:90])
    names = [str(method) for method in grid["aligner__method"]]
    scores = dict(zip(names, search.cv_results_["mean_test_score"], strict=True))
    assert scores["ridge"] > 0.7
    assert scores[names[2]] < scores["ridge"]
    assert str(search.best_params_["aligner__method"]) == max(scores, key=scores.get)
    assert search.score(x[90:] * scales, y[90:]) > 0.7
    options = GridSearchCV(Aligner("ridge"), {"options": [{"penalty": 1e6}, {"penalty": 0.1}]})
    assert options.fit(x[:90], y[:90]).best_params_ == {"options": {"penalty": 0.1}}


def test_fitted_estimators_cross_processes():
    x, y = planted(60)
    parallel = cross_val_score(Aligner("ridge"), x, y, cv=2, n_jobs=2)
    np.testing.assert_array_equal(parallel, cross_val_score(Aligner("ridge"), x, y, cv=2))


def test_a_pipeline_takes_pools_as_they_are_or_routes_them():
    x, y = planted(120)
    scaled = StandardScaler().fit(x[:60]).transform(x)
    expected = clone(FAST).fit(
        scaled[:60], y[:60], X_pool=scaled[60:], y_pool=y[60:], **in_blocks()
    )
    plain = make_pipeline(StandardScaler(), clone(FAST))
    plain.fit(
        x[:60],
        y[:60],
        **{f"aligner__{k}": v for k, v in in_blocks().items()},
        aligner__X_pool=scaled[60:],
        aligner__y_pool=y[60:],
    )
    assert same(plain[-1].model_, expected.model_)
    with sklearn.config_context(enable_metadata_routing=True):
        aligner = clone(FAST).set_fit_request(X_pool=True, y_pool=True, X_sets=True, y_sets=True)
        routed = Pipeline(
            [("scaler", StandardScaler()), ("aligner", aligner)], transform_input=["X_pool"]
        )
        routed.fit(x[:60], y[:60], X_pool=x[60:], y_pool=y[60:], **in_blocks())
    assert same(routed[-1].model_, expected.model_)


def in_blocks():
    """Set ids of pools of 60 rows: procrustes looks at pools only where there are sets."""
    return {"X_sets": np.arange(60) // 4, "y_sets": np.arange(60) // 4}


def table(x):
    return pa.table({f"band {i}": column for i, column in enumerate(x.T)})


def test_names_of_columns_are_kept_and_checked(tmp_path):
    x, y = planted(40)
    fitted = clone(FAST).fit(table(x), y)
    assert list(fitted.feature_names_in_[:2]) == ["band 0", "band 1"]
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform(table(x).select([f"band {i}" for i in range(11, -1, -1)]))
    with pytest.raises(ValueError, match="feature names"):
        clone(FAST).fit(table(x), y, X_pool=table(x).rename_columns([*"abcdefghijkl"]))
    fitted.save(tmp_path)
    again = Aligner.load(tmp_path)
    np.testing.assert_array_equal(again.feature_names_in_, fitted.feature_names_in_)
    np.testing.assert_array_equal(again.transform(table(x)), fitted.transform(table(x)))


@pytest.mark.parametrize("method", [CCA(penalty=3.0), "procrustes"])
def test_saved_and_loaded_without_pickle(method, tmp_path):
    x, y = planted(60)
    fitted = Aligner(method, random_state=5).fit(x, y)
    fitted.save(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".safetensors", ".md"}
    again = Aligner.load(str(tmp_path))
    assert same(again.model_, fitted.model_)
    assert again.score(x, y) == fitted.score(x, y)
    assert (again.n_features_in_, again.random_state) == (12, 5)
    assert not hasattr(again, "feature_names_in_")
    assert same(clone(again).fit(x, y).model_, fitted.model_)


def test_a_model_saved_by_itself_is_an_estimator_too(tmp_path):
    x, y = planted(40)
    model = setclip.align(x, y, method="ridge", penalty=2.0)
    model.save(tmp_path)
    again = Aligner.load(tmp_path)
    assert again.method == "ridge"
    assert again.options["penalty"] == 2.0
    assert same(again.model_, model)


def test_saving_over_another_estimator_replaces_its_names(tmp_path):
    x, y = planted(40)
    clone(FAST).fit(table(x), y).save(tmp_path)
    clone(FAST).fit(x, y).save(tmp_path)
    assert not hasattr(Aligner.load(tmp_path), "feature_names_in_")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is damaged"),
        ('{"feature_names_in": ["a"]}', "does not name the 12 columns"),
        ('{"feature_names_in": "aaaaaaaaaaaa"}', "does not name the 12 columns"),
    ],
)
def test_a_damaged_estimator_file(written, told, tmp_path):
    clone(FAST).fit(*planted(20)).save(tmp_path)
    (tmp_path / estimators.ESTIMATOR_FILE).write_text(written, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        Aligner.load(tmp_path)


def test_a_model_of_unknown_method_is_refused(tmp_path):
    model = setclip.align(*planted(20), method="ridge")
    setclip.AlignedModel(model.x_tower, model.y_tower).save(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["card"]["method"] == {}
    with pytest.raises(ValueError, match=r"does not say which method made it.*setclip\.load"):
        Aligner.load(tmp_path)


def test_the_docstring_example_is_true():
    x, y = planted(60)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    (test,) = finder.find(Aligner, "Aligner", extraglobs={"x_pairs": x, "y_pairs": y})
    assert runner.run(test).failed == 0
    assert runner.tries >= 5
