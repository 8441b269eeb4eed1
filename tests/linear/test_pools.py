"""Pins matching between pools: plans against a loop, planted truth, and who is matched by whom."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from reference import linear as naive
from reference.planted import rotated_clouds

from setclip.linear import pools as module
from setclip.linear.cross_covariance import CrossSum
from setclip.linear.maps import Alignment, principal
from setclip.linear.pools import cross_from_pools, entropic_plan
from setclip.linear.procrustes import procrustes


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 9), (1, 3)])
@pytest.mark.parametrize("temperature", [0.03, 0.3])
def test_plans_agree_with_a_loop(n: int, m: int, temperature: float) -> None:
    rng = np.random.default_rng(n)
    cosines = naive.unit(rng.standard_normal((n, 4))) @ naive.unit(rng.standard_normal((m, 4))).T
    plan = entropic_plan(cosines.astype(np.float32), temperature)
    expected = naive.transport_plan(cosines, temperature, module.SINKHORN_ROUNDS)
    np.testing.assert_allclose(plan, expected / expected.sum(), atol=2e-5)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / m, rtol=1e-4)


def test_scores_far_apart_do_not_overflow() -> None:
    plan = entropic_plan(np.array([[1, -1], [-1, 1]], dtype=np.float32), 0.01)
    np.testing.assert_allclose(plan, np.eye(2) / 2, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_pools_sharpen_what_few_pairs_began(seed: int) -> None:
    """Four pairs of a 6-d cloud leave the rotation open; pools without a shared item close it."""
    made = rotated_clouds(seed, noise=0.3, n=300, m=300, test=104)
    x, y = principal(made.x), principal(made.y)
    known = CrossSum.of_pairs(x(made.x_test[:4]), y(made.y_test[:4]))
    solve = partial(procrustes, x.inner(), y.inner())
    cross = cross_from_pools(
        solve,
        known,
        (x(made.x), y(made.y)),
        start=solve(known.mean),
        weight=0.5,
        rounds=10,
        temperature=0.03,
    )
    before, after = (
        made.recall(found.x(made.x_test[4:]), found.y(made.y_test[4:]))
        for found in (procrustes(x, y, known.mean), procrustes(x, y, cross))
    )
    assert after > before + 0.1


def test_each_half_is_matched_by_a_map_fitted_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((40, 3)), rng.standard_normal((30, 3))
    drawn: list[tuple[set[int], set[int]]] = []
    real = module.halves

    def watched(*args: object) -> list[tuple[np.ndarray, np.ndarray]]:
        parts = real(*args)  # type: ignore[arg-type]
        drawn.extend((set(x.tolist()), set(y.tolist())) for x, y in parts)
        return parts

    monkeypatch.setattr(module, "halves", watched)
    given: list[np.ndarray] = []

    def solve(cross: np.ndarray) -> Alignment:
        given.append(cross)
        return procrustes(x.inner(), y.inner(), cross)

    x, y = principal(pool[0]), principal(pool[1])
    known = CrossSum.of_pairs(pool[0][:5], pool[1][:5])
    start = solve(known.mean)
    cross_from_pools(
        solve, known, pool, start=start, weight=1.0, rounds=3, temperature=0.1, batch=12
    )
    assert len(drawn) == 6
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert not first[0] & second[0]
        assert not first[1] & second[1]
        assert {len(first[0]), len(second[0]), len(first[1])} == {12}
    assert len(given) == 7  # the start, then one map a half


def test_the_known_pairs_weigh_as_much_as_they_should() -> None:
    """With a matched row worth nothing but a trace, the pairs' own cross-covariance comes back."""
    rng = np.random.default_rng(1)
    pool = rng.standard_normal((20, 3)), rng.standard_normal((20, 3))
    x, y = principal(pool[0]), principal(pool[1])
    known = CrossSum.of_pairs(pool[0][:7], pool[1][:7])
    solve = partial(procrustes, x.inner(), y.inner())
    options = {"start": solve(known.mean), "rounds": 2, "temperature": 0.1}
    faint = cross_from_pools(solve, known, pool, weight=1e-9, **options)
    np.testing.assert_allclose(faint, known.mean, atol=1e-6)
    strong = cross_from_pools(solve, known, pool, weight=1e9, **options)
    assert np.abs(strong - known.mean).max() > 0.1


def test_a_pool_of_one_row_is_refused() -> None:
    rng = np.random.default_rng(1)
    one, many = rng.standard_normal((1, 3)), rng.standard_normal((9, 3))
    x = principal(many)
    solve = partial(procrustes, x.inner(), x.inner())
    known = CrossSum.of_pairs(many, many)
    with pytest.raises(ValueError, match="the pools hold 1 and 9 rows: matching needs 2"):
        cross_from_pools(
            solve,
            known,
            (one, many),
            start=solve(known.mean),
            weight=1.0,
            rounds=1,
            temperature=0.1,
        )
