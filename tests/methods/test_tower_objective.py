"""The loss of towers on a batch: each term against a naive sum in float64, weights, sets, clamp."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from setclip.losses import clip_loss, mk_mmd, nt_xent, sdd
from setclip.methods.tower_objective import TowerObjective
from setclip.methods.towers import Towers

RNG = np.random.default_rng(3)
PAIRS, ROWS = 4, 16
ONLY = {"weight_clip": 0, "weight_sdd": 0, "weight_mmd": 0, "weight_ssl": 0, "weight_match": 0}


def unit(n: int) -> Tensor:
    z = RNG.standard_normal((n, 5))
    return torch.from_numpy(z / np.linalg.norm(z, axis=1, keepdims=True)).requires_grad_()


ZX, ZY, AGAIN = unit(ROWS), unit(ROWS), unit(6)
SETS = torch.arange(ROWS - PAIRS) // 4
SEEN = torch.tensor([0, 2, 3, 7, 9, 15])


def terms(sets: bool = True, **options: Any) -> dict[str, Tensor]:
    ids = SETS if sets else torch.full((ROWS - PAIRS,), -1)
    batch = SimpleNamespace(pairs=PAIRS, x_sets=ids, y_sets=ids.flip(0), x_seen=SEEN, y_seen=SEEN)
    settings = Towers(**{**ONLY, "balance": False, **options})
    objective = TowerObjective(settings, nn.Identity(), nn.Identity())
    z = {"x": ZX, "y": ZY, "x again": AGAIN, "y again": AGAIN.flip(0)}
    return objective.prepare(batch)(z)  # type: ignore[arg-type]


def naive_match(temperature: float, match_temperature: float) -> float:
    """Soft matching of each set by plain Sinkhorn, then cross-entropy over all rows."""
    zx, zy = ZX.detach().numpy(), ZY.detach().numpy()
    x_ids, y_ids = SETS.numpy(), SETS.flip(0).numpy()
    logits = zx @ zy.T / temperature
    log_rows = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    log_columns = logits - np.log(np.exp(logits).sum(axis=0, keepdims=True))
    total = mass = 0.0
    for s in np.unique(x_ids):
        rows = PAIRS + np.flatnonzero(x_ids == s)
        columns = PAIRS + np.flatnonzero(y_ids == s)
        plan = np.exp(zx[rows] @ zy[columns].T / match_temperature)
        for _ in range(20):
            plan = plan / plan.sum(axis=1, keepdims=True)
            plan = plan / plan.sum(axis=0, keepdims=True)
        both = log_rows[np.ix_(rows, columns)] + log_columns[np.ix_(rows, columns)]
        total -= float((plan * both).sum()) / 2
        mass += float(plan.sum())
    return total / mass


def test_matching_is_cross_entropy_with_the_plan_inside_sets() -> None:
    found = terms(weight_match=2.0, temperature=0.3, match_temperature=0.2)
    assert set(found) == {"match"}
    assert found["match"].item() == pytest.approx(2 * naive_match(0.3, 0.2), rel=1e-5)


def test_matching_is_no_coarser_where_towers_compute_in_half_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, rows in (("ZX", ZX), ("ZY", ZY)):
        monkeypatch.setitem(globals(), name, rows.detach().float())
    options = {"weight_match": 2.0, "temperature": 0.3, "match_temperature": 0.2}
    whole = terms(**options)["match"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = terms(**options)["match"]
    assert found.item() == pytest.approx(whole.item(), rel=1e-6)


def test_the_plan_is_a_target_that_no_gradient_goes_through() -> None:
    loss = terms(weight_match=1.0, temperature=0.3)["match"]
    (gradient,) = torch.autograd.grad(loss, ZX)
    step = 1e-5 * gradient / gradient.norm()
    assert gradient.norm() > 1e-3
    # Rows of pairs are candidates in the denominator and nothing's target.
    assert float((ZX * gradient)[:PAIRS].abs().sum()) > 0
    assert torch.isfinite(step).all()


def test_other_terms_are_those_of_the_losses() -> None:
    x, y = ZX[PAIRS:], ZY[PAIRS:]
    ids = {"x_sets": SETS, "y_sets": SETS.flip(0)}
    expected = {
        "clip": 0.5 * clip_loss(ZX[:PAIRS], ZY[:PAIRS], temperature=0.1, extra_x=x, extra_y=y),
        "sdd": 0.4 * sdd(x, y, bandwidth=0.25, **ids),
        "mmd": 0.3 * mk_mmd(x, y, **ids),
        "ssl x": 0.2 * nt_xent(ZX[SEEN], AGAIN, temperature=0.1),
        "ssl y": 0.2 * nt_xent(ZY[SEEN], AGAIN.flip(0), temperature=0.1),
    }
    weights = {"weight_clip": 0.5, "weight_sdd": 0.4, "weight_mmd": 0.3, "weight_ssl": 0.2}
    found = terms(**weights)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_without_sets_distributions_are_those_of_all_rows_and_nothing_is_matched() -> None:
    found = terms(sets=False, weight_sdd=1.0, weight_match=1.0)
    torch.testing.assert_close(found["sdd"], sdd(ZX, ZY, bandwidth=0.25))
    assert set(found) == {"sdd"}
    apart = terms(weight_sdd=1.0, within_sets=False)
    torch.testing.assert_close(apart["sdd"], found["sdd"])


def test_a_learned_temperature_starts_where_it_is_set_and_stays_in_its_bounds() -> None:
    settings = Towers(**{**ONLY, "weight_clip": 1.0, "learn_temperature": True, "temperature": 0.2})
    objective = TowerObjective(settings, nn.Identity(), nn.Identity())
    (scale,) = objective.parameters()
    assert scale.exp().item() == pytest.approx(5.0)
    for value, clamped in ((9.0, 100.0), (-1.0, 1.0)):
        with torch.no_grad():
            scale.fill_(value)
        objective.clamp()
        assert scale.exp().item() == pytest.approx(clamped)
    fixed = TowerObjective(Towers(**ONLY), nn.Identity(), nn.Identity())
    assert list(fixed.parameters()) == []


def test_balanced_terms_have_gradients_of_the_length_of_their_weights() -> None:
    found = terms(weight_clip=1.0, weight_sdd=0.5, weight_mmd=2.0, balance=True)

    def length(term: Tensor) -> float:
        gradients = torch.autograd.grad(term, (ZX, ZY), retain_graph=True)
        return math.sqrt(sum(float(g.square().sum()) for g in gradients))

    assert length(found["sdd"]) == pytest.approx(0.5 * length(found["clip"]), rel=1e-5)
    assert length(found["mmd"]) == pytest.approx(2.0 * length(found["clip"]), rel=1e-5)


def test_of_a_locked_tower_the_other_is_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ZX", ZX.detach())
    found = terms(weight_clip=1.0, weight_sdd=0.5, balance=True)

    def length(term: Tensor) -> float:
        return float(torch.autograd.grad(term, ZY, retain_graph=True)[0].norm())

    assert length(found["sdd"]) == pytest.approx(0.5 * length(found["clip"]), rel=1e-5)
