"""Pins SOTAlign: starts at its teacher, keeps its plan, and its published constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import linear as naive

from setclip.data.pools import Pools
from setclip.data.splits import draw_pools
from setclip.methods import CCA, Procrustes, SOTAlign
from setclip.model import AlignedModel
from setclip.training.journal import Journal

PLANTED = naive.rotated_cloud(200, 6, noise=0.2)
POOLS = draw_pools(PLANTED.x, PLANTED.y, np.arange(140), pairs=10)


def recall(model: AlignedModel) -> float:
    return naive.recall_at_1(model.encode_x(PLANTED.x[140:]), model.encode_y(PLANTED.y[140:]))


def test_published_constants() -> None:
    paper = SOTAlign(recipe="paper")
    assert (paper.teacher_epsilon, paper.student_epsilon, paper.iterations) == (0.01, 0.05, 100)
    assert (paper.optimiser, paper.lr, paper.steps, paper.penalty) == ("lion", 1e-4, 2000, 0.1)
    assert 1e-5 <= paper.weight_klot <= 1e-3
    assert not paper.refine
    assert SOTAlign(recipe="paper", steps=7).steps == 7


@pytest.mark.parametrize("recipe", ["default", "paper"])
@pytest.mark.parametrize("teacher", ["cca", "procrustes"])
def test_starts_at_its_teacher(recipe: Any, teacher: Any) -> None:
    options = SOTAlign(
        recipe=recipe, teacher=teacher, penalty=0.1, steps=1, lr=1e-12, folds=1, weight_decay=0.0
    )
    closed = CCA(penalty=0.1, power=0.0, covariances="pairs") if teacher == "cca" else Procrustes()
    np.testing.assert_allclose(
        options.fit(POOLS).similarity(PLANTED.x, PLANTED.y),
        closed.fit(POOLS).similarity(PLANTED.x, PLANTED.y),
        rtol=0,
        atol=1e-4,
    )


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_recovers_a_planted_rotation_no_worse_than_its_teacher(recipe: Any) -> None:
    rate = 1e-3 if recipe == "paper" else 3e-3
    model = SOTAlign(recipe=recipe, steps=40, lr=rate, batch_pool=64, folds=2).fit(POOLS)
    teacher = SOTAlign(recipe=recipe, steps=1, lr=1e-12, folds=1).fit(POOLS)
    assert recall(model) >= recall(teacher) - 0.02
    assert recall(model) > 0.3


def test_the_plan_holds_the_student_to_its_teacher() -> None:
    def moved(weight: float) -> float:
        options = SOTAlign(weight_klot=weight, penalty=1.0, steps=30, lr=0.01, folds=1)
        still = options.model_copy(update={"lr": 1e-12}).fit(POOLS)
        return float(
            np.abs(
                options.fit(POOLS).similarity(PLANTED.x, PLANTED.y)
                - still.similarity(PLANTED.x, PLANTED.y)
            ).mean()
        )

    assert moved(30.0) < moved(0.0)


def test_terms_follow_what_there_is() -> None:
    def terms(data: Pools, **options: Any) -> set[str]:
        journal = Journal()
        SOTAlign(penalty=1.0, steps=2, folds=1, **options).fit(data, journal=journal)
        return set(journal.curves["final"])

    assert terms(POOLS) == {"siglip", "klot", "loss"}
    assert terms(POOLS, weight_klot=0) == terms(POOLS.without_pools()) == {"siglip", "loss"}
