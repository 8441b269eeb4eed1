"""The claim of being best: held against the best other, on common seeds, with its interval."""

from __future__ import annotations

import pytest
from benchmark.results import failed, result

from setclip.benchmark.rivals import against_rivals, against_twice_the_pairs, best_rivals
from setclip.evaluation.intervals import paired_bootstrap


def test_the_rival_is_the_best_on_common_seeds() -> None:
    ours = [result("auto", seed, 0.5) for seed in (0, 1)]
    cca = [result("cca", seed, 0.9) for seed in (0, 1)]
    # Better by a seed that `auto` does not have, worse on those that both have.
    s_clip = [result("s-clip", seed, hits) for seed, hits in ((0, 0.6), (2, 1.0))]
    (found,) = best_rivals([*ours, *cca, *s_clip], "auto")
    assert found.rival == "cca"
    expected = paired_bootstrap(*([r["credits"]["10"] for r in each] for each in (ours, cca)))
    assert found.difference == expected
    assert found.behind


def test_a_gallery_in_which_ten_are_all_decides_nothing() -> None:
    both = [{**result(label, 0, 1.0), "gallery": 10} for label in ("auto", "cca")]
    assert against_rivals(both, "auto") == ""


def test_a_rival_of_few_seeds_does_not_hide_one_that_is_surely_better() -> None:
    ours = [result("auto", seed, 0.4) for seed in range(5)]
    sure = [result("ridge", seed, 0.6) for seed in range(5)]
    lucky = [result("s-clip", 0, 0.7)]
    (found,) = best_rivals([*ours, *sure], "auto")
    assert found.behind
    (both,) = best_rivals([*ours, *sure, *lucky], "auto")
    assert both.behind
    assert "0 of 1 places" in against_rivals([*ours, *sure, *lucky], "auto")


def test_it_says_where_a_method_is_behind_and_by_how_much() -> None:
    results = [
        *(result("auto", 0, hits, pairs=p) for p, hits in ((10, 0.5), (50, 0.4), (100, 1.0))),
        *(result("cca", 0, hits, pairs=p) for p, hits in ((10, 0.5), (50, 0.5), (100, 0.4))),
        result("ridge", 0, 1.0, pairs=50, view="pairs"),
        result("ridge", 0, 0.1, pairs=100, view="pairs"),
        result("cca, all pairs", 0, 1.0, pairs="all"),
    ]
    text = against_rivals(results, "auto")
    (behind,) = [each for each in best_rivals(results, "auto") if each.behind]
    place = f"emoji: disjoint pools, 50 pairs, {behind.difference:+.1f} to ridge"
    assert "in 2 of 3 places." in text
    assert f" Behind: {place}." in text
    assert text.endswith(f"Behind the best on pairs alone: {place}.")


def test_nothing_is_claimed_without_another_method_or_a_result() -> None:
    assert against_rivals([result("auto", 0, 0.5), failed("cca", 0)], "auto") == ""
    assert against_rivals([failed("auto", 0), result("cca", 0, 0.5)], "auto") == ""
    assert against_rivals([result("cca", 0, 0.5)], "auto") == ""


@pytest.mark.parametrize("hits", [0.2, 0.9])
def test_a_method_ahead_is_nowhere_behind(hits: float) -> None:
    results = [result("auto", 0, 1.0), result("cca", 0, hits)]
    first = "`auto` is the best method, or within the 95 % interval of the best, in 1 of 1 places."
    assert against_rivals(results, "auto") == first
    alone = result("ridge", 0, 0.1, view="pairs")
    assert against_rivals([*results, alone], "auto") == (
        f"{first} It is nowhere behind the best on pairs alone."
    )


def test_with_half_the_pairs() -> None:
    results = [
        *(result("auto", seed, hits, pairs=10) for seed, hits in ((0, 0.5), (1, 0.7))),
        result("auto", 0, 0.9, pairs=20),  # nothing alone has forty
        result("auto", 0, 0.2, pairs=0),
        result("ridge", 0, 0.4, pairs=20, view="pairs"),
        result("clip", 0, 0.3, pairs=20, view="pairs"),
        result("cca", 0, 1.0, pairs=20),
        failed("ridge", 1, pairs=20, view="pairs"),
    ]
    means = [r["metrics"]["recall@10"] for r in results if "error" not in r]
    expected = f"{(means[0] + means[1]) / 2:.1f} and {means[4]:.1f} at 10"
    assert against_twice_the_pairs(results, "auto") == (
        "`auto` with p pairs, and the best on 2p pairs alone, means of emoji: disjoint pools "
        f"{expected}."
    )
    assert against_twice_the_pairs(results[2:], "auto") == ""
    sets = [result("auto", 0, 0.9, pairs=10, condition="sets")]
    mine = (means[0] + means[1]) / 4 + sets[0]["metrics"]["recall@10"] / 2
    assert against_twice_the_pairs([*results, *sets], "auto").endswith(
        f"; all conditions {mine:.1f} and {means[4]:.1f} at 10."
    )


def test_means_at_several_numbers_of_pairs_are_of_the_same_data() -> None:
    results = [
        *(result("auto", 0, 0.6, pairs=p) for p in (10, 20)),
        *(result("ridge", 0, 0.3, pairs=p, view="pairs") for p in (20, 40)),
    ]
    once = [
        result("auto", 0, 1.0, pairs=10, dataset="glosses"),
        result("ridge", 0, 1.0, pairs=20, view="pairs", dataset="glosses"),
    ]
    text = against_twice_the_pairs(results, "auto")
    assert "means of emoji: " in text
    assert against_twice_the_pairs([*results, *once], "auto") == text
