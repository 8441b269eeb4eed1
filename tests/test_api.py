"""align and load: what may be passed, what comes out, what resumes, what each mistake is told."""

import doctest
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import setclip
from setclip import api
from setclip.data.pools import make_pools
from setclip.methods import CCA, Ridge

EXAMPLES = Path(__file__).parent.parent / "examples"


def planted(n=200, traits=6, d_x=12, d_y=9, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, traits))
    return z @ rng.normal(size=(traits, d_x)), z @ rng.normal(size=(traits, d_y))


def found(model, x, y) -> float:
    return float((model.similarity(x, y).argmax(axis=1) == np.arange(len(x))).mean())


def weights(model) -> list[torch.Tensor]:
    towers = model.x_tower, model.y_tower
    return [tensor for tower in towers for tensor in tower.state_dict().values()]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def in_sets(n=160, size=4, seed=1):
    """x and y of the same items in unrelated orders, with the set of each row."""
    x, y = planted(n)
    sets, order = np.arange(n) // size, np.random.default_rng(seed).permutation(n)
    return x, y[order], sets, sets[order]


def test_pairs_alone_find_unseen_partners():
    x, y = planted()
    model = setclip.align(x[:50], y[:50], method="cca")
    assert found(model, x[50:], y[50:]) > 0.7


def test_the_default_method_takes_pairs_and_pools():
    x, y = planted()
    model = setclip.align(x[:40], y[:40], x_pool=x[40:100], y_pool=y[100:160])
    assert model.card.method["kind"] == "auto"
    assert "40 pairs" in model.card.data
    assert "pools of 60 x [12-d] and 60 y [9-d]" in model.card.data
    assert found(model, x[160:], y[160:]) > 0.7


def test_the_default_method_takes_pairs_alone():
    x, y = planted()
    model = setclip.align(x[:60], y[:60])
    assert found(model, x[60:], y[60:]) > 0.7


def test_it_is_the_method_on_pools():
    x, y = planted()
    pools = make_pools(x[:40], y[:40], x_pool=x[40:], y_pool=y[40:])
    called = setclip.align(x[:40], y[:40], x_pool=x[40:], y_pool=y[40:], method="cca", seed=3)
    assert same(called, CCA().fit(pools, seed=3))


def test_a_name_with_options_is_the_configured_method():
    x, y = planted()
    by_name = setclip.align(x, y, method="ridge", penalty=3.0)
    assert by_name.card.method["penalty"] == 3.0
    assert same(by_name, setclip.align(x, y, method=Ridge(penalty=3.0)))


def test_the_published_name_and_recipe_pass_through():
    x, y = planted(30)
    pools = {"x_pool": x[10:20], "y_pool": y[20:]}
    model = setclip.align(x[:10], y[:10], **pools, method="gentle-clip", recipe="paper", steps=1)
    assert model.card.method["kind"] == "gentle-clip"
    assert model.card.method["weight_sdd"] == 0.6
    assert model.x_tower.spec.kind == "projection"


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_tensors_of_any_float_type(dtype):
    x, y = (torch.from_numpy(a).to(dtype) for a in planted())
    model = setclip.align(x[:50], y[:50], method="ridge", penalty=0.1)
    as_arrays = setclip.align(
        x[:50].float().numpy(), y[:50].float().numpy(), method="ridge", penalty=0.1
    )
    assert same(model, as_arrays)
    assert found(model, x[50:], y[50:]) > 0.8


def test_tensors_that_ask_for_gradients_and_lists_of_lists():
    x, y = planted(30)
    tensor = torch.from_numpy(x).requires_grad_()
    model = setclip.align(tensor, y.tolist(), method="procrustes")
    assert same(model, setclip.align(x, y, method="procrustes"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble, np.int64], ids=str)
def test_arrays_of_any_number_type(dtype):
    x, y = ((10 * a).astype(dtype) for a in planted())
    assert found(setclip.align(x[:50], y[:50], method="cca"), x[50:], y[50:]) > 0.8


def test_what_overflows_float32_is_named_by_row():
    x, y = planted(30)
    x[7, 2] = 1e300
    with pytest.raises(ValueError, match=r"x_pairs has NaN or infinite .* row 7"):
        setclip.align(x, y, method="ridge")


def test_sets_replace_pairs():
    x, y, x_sets, y_sets = in_sets()
    model = setclip.align(x_pool=x, y_pool=y, x_sets=x_sets, y_sets=y_sets, method="cca")
    assert found(model, *planted(160)) > 0.7


def test_sets_join_pairs():
    x, y, x_sets, y_sets = in_sets()
    more_x, more_y = planted(190)
    model = setclip.align(
        more_x[160:], more_y[160:], x_pool=x, y_pool=y, x_sets=x_sets, y_sets=y_sets, method="cca"
    )
    assert "30 pairs; 40 shared sets" in model.card.data


@pytest.mark.parametrize(
    "name",
    [
        lambda s: [f"album {i}" for i in s],
        lambda s: np.array([f"album {i}" for i in s]),
        lambda s: [(int(i), "disc 1") for i in s],
        lambda s: s.astype(float),
        lambda s: torch.from_numpy(s),
        lambda s: s.astype(np.uint64) + np.uint64(2**63),
        lambda s: iter(s.tolist()),
    ],
    ids=["names", "array of names", "tuples", "floats", "tensor", "hashes", "iterator"],
)
def test_any_names_of_sets_are_numbered_together(name):
    x, y, x_sets, y_sets = in_sets()
    plain = setclip.align(x_pool=x, y_pool=y, x_sets=x_sets, y_sets=y_sets, method="cca")
    model = setclip.align(
        x_pool=x, y_pool=y, x_sets=name(x_sets), y_sets=name(y_sets), method="cca"
    )
    assert model.card.data == plain.card.data
    np.testing.assert_allclose(model.encode_x(x), plain.encode_x(x), atol=1e-5)


def test_no_row_in_a_set_is_no_error():
    x, y = planted(40)
    none = [-1] * 40
    model = setclip.align(x, y, x_pool=x, y_pool=y, x_sets=none, y_sets=none, method="procrustes")
    assert "0 shared sets" in model.card.data


@pytest.mark.parametrize(
    ("x_sets", "y_sets", "told"),
    [
        ([0, 1], None, "x_sets is given without y_sets"),
        (None, [0, 1], "y_sets is given without x_sets"),
        ([0, 1], ["0", "1"], "share no set: x has 0, 1, y has '0', '1'.*same type"),
        ([0, 1], [-1, -1], "share no set: x has 0, 1, y has none"),
        ([None, ""], ["b", "a"], "share no set: x has none, y has 'b', 'a'"),
        ([[0], [1]], [0, 1], "x_sets cannot be read as one set a row"),
        (3, [0, 1], "x_sets cannot be read as one set a row"),
        ([0, 1], [{}, {}], "y_sets cannot be read as one set a row"),
        ([0, 1, 1], [0, 1], "x_sets has shape \\[3\\] for a pool of 2 rows"),
    ],
)
def test_sets_that_cannot_be(x_sets, y_sets, told):
    x, y = planted(2)
    with pytest.raises(ValueError, match=told):
        setclip.align(x_pool=x, y_pool=y, x_sets=x_sets, y_sets=y_sets, method="cca")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"method": "ccca"}, "no kind 'ccca'. Did you mean 'cca'"),
        ({"method": "cca", "penlaty": 1.0}, "no such field. Did you mean 'penalty'"),
        ({"method": "cca", "penalty": -1.0}, "penalty: -1.0: input should be greater than 0"),
        ({"method": "cca", "name": 1}, "method.name: there is no such field"),
        ({"method": "cca", "kind": "ridge"}, "options say kind 'ridge'"),
        ({"method": Ridge(), "penalty": 1.0}, "options penalty come with a configured method"),
    ],
)
def test_a_wrong_method_or_option_is_named_with_the_right_one(arguments, told):
    x, y = planted(30)
    with pytest.raises(ValueError, match=re.escape(told)):
        setclip.align(x, y, **arguments)


@pytest.mark.parametrize("method", [Ridge, 3, None])
def test_what_is_no_method_is_refused(method):
    x, y = planted(30)
    with pytest.raises(TypeError, match=r"give a name .*ridge, .* or a configured method"):
        setclip.align(x, y, method=method)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"x_pairs": np.ones((3, 2))}, "y_pairs is missing"),
        ({"x_pool": np.ones((3, 2))}, "no y was given"),
        ({"x_pairs": np.ones((3, 2)), "y_pairs": np.ones((4, 2))}, "3 rows and y_pairs 4"),
        ({}, "no x was given"),
    ],
)
def test_arrays_that_do_not_fit(arguments, told):
    with pytest.raises(ValueError, match=told):
        setclip.align(**arguments)


@pytest.mark.parametrize(
    "options",
    [{"method": "cca"}, {"method": "cca", "sharpness": 2.0}, {"method": "ridge"}, {}],
    ids=str,
)
@pytest.mark.parametrize("side", [0, 1])
def test_a_side_without_variance_is_named(side, options):
    arrays = [*planted(30)]
    arrays[side] = 1e9 + arrays[side]  # in float32 all the same
    told = rf"all \d+ rows of {'xy'[side]} are the same.* float32 has rounded them together"
    with pytest.raises(ValueError, match=told):
        setclip.align(*arrays, **options)


def test_too_little_supervision_says_which_method_can():
    x, y = planted(30)
    with pytest.raises(ValueError, match="from pools alone `auto` takes"):
        setclip.align(x_pool=x, y_pool=y, method="cca")


def test_load_reads_what_save_wrote(tmp_path):
    x, y = planted(60)
    model = setclip.align(x, y, method="cca")
    model.save(tmp_path)
    again = setclip.load(str(tmp_path))
    assert isinstance(again, setclip.AlignedModel)
    assert same(model, again)
    assert again.card == model.card


def test_load_says_what_a_folder_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.json does not exist"):
        setclip.load(tmp_path)


class Recorder:
    """Any object with the protocol's shape is a method."""

    uses = frozenset({"pairs"})
    kind = "recorder"

    def fit(self, pools, *, seed=0, journal=None):
        self.seen = pools.n_pairs, seed, journal.directory, journal.progress
        return "a model"


def test_seed_progress_and_folder_reach_the_method(tmp_path):
    method = Recorder()
    ones = np.ones((3, 2))
    assert setclip.align(ones, ones, method=method) == "a model"
    assert method.seen == (3, 0, None, False)
    folder = str(tmp_path / "new" / "run")
    setclip.align(ones, ones, method=method, seed=5, progress=True, directory=folder)
    assert method.seen == (3, 5, Path(folder), True)
    assert Path(folder).is_dir()


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70, 1.5, "3", None], ids=str)
def test_what_is_no_seed_is_refused(seed):
    x, y = planted(30)
    with pytest.raises(
        ValueError, match=re.escape(f"seed is {seed!r}: give a whole number from 0")
    ):
        setclip.align(x, y, method="cca", seed=seed)


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(7)], ids=str)
def test_seeds_at_the_ends_and_of_numpy_are_taken(seed):
    x, y = planted(60)
    pools = {"x_pool": x[30:], "y_pool": y[30:]}
    model = setclip.align(x[:30], y[:30], **pools, method="setclip", steps=2, folds=1, seed=seed)
    assert model.card.seed == seed
    assert type(model.card.seed) is int


LONG = {
    **{"method": "setclip", "start": "random", "dim": 16, "batch": 64, "folds": 1},
    **{"steps": 600, "weight_sdd": 0.0, "balance": False},
}
KILLED = """
import sys
sys.path.insert(0, {tests!r})
import setclip
from test_api import LONG, planted
x, y = planted()
setclip.align(x[:60], y[:60], x_pool=x[60:], y_pool=y[60:], directory={folder!r}, **LONG)
"""


def test_a_killed_call_resumes_to_the_same_model(tmp_path):
    checkpoint = tmp_path / "checkpoints" / "final.safetensors"
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            wait_for(checkpoint, process)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    logged = len((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines())
    assert 50 <= logged < 600
    x, y = planted()
    pools = {"x_pool": x[60:], "y_pool": y[60:]}
    resumed = setclip.align(x[:60], y[:60], **pools, directory=tmp_path, **LONG)
    assert same(resumed, setclip.align(x[:60], y[:60], **pools, **LONG))
    with pytest.raises(ValueError, match="was made with other data"):
        setclip.align(x[:59], y[:59], **pools, directory=tmp_path, **LONG)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "the call ended without a checkpoint"
        assert time.monotonic() < until, "no checkpoint within two minutes"
        time.sleep(0.005)


def test_the_docstring_example_is_true():
    results = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(recurse=False).find(api.align, "align"):
        assert len(test.examples) > 5
        assert results.run(test).failed == 0


def printed_recalls(script: str, capsys) -> list[float]:
    runpy.run_path(str(EXAMPLES / script))
    return [float(value) for value in re.findall(r"R@10 ([\d.]+)", capsys.readouterr().out)]


def test_example_align_arrays(capsys):
    alone, pooled = printed_recalls("align_arrays.py", capsys)
    assert 100 >= pooled > alone > 30


def test_example_matched_sets(capsys):
    (recall,) = printed_recalls("matched_sets.py", capsys)
    assert recall > 95


@pytest.mark.parametrize("script", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_examples_are_short(script):
    assert len((EXAMPLES / script).read_text(encoding="utf-8").splitlines()) < 40
