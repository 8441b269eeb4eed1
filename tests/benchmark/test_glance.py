"""The small tables: a column for each number of pairs, the best bold, gaps shown."""

from __future__ import annotations

from benchmark.results import failed, result

from setclip.benchmark import at_a_glance, summarise, to_markdown


def found(label: str, pairs: int | str, hits: float, **of: str) -> dict[str, object]:
    return result(label, 0, hits, pairs=pairs, **of)


def test_methods_by_pairs_with_the_best_in_bold() -> None:
    results = [
        found("ridge", 100, 0.0, view="pairs"),
        found("ridge", 20, 1.0, view="pairs"),
        found("auto", 20, 0.0),
        found("auto", 100, 1.0),
        failed("clip", 0, pairs=20),
        found("cca, all pairs", "all", 1.0),
    ]
    lines = at_a_glance(summarise(results)).splitlines()
    assert "### emoji: disjoint pools" in lines
    assert lines[-8:] == [
        "| pairs | 20 | 100 |",
        "| --- | --: | --: |",
        "| chance | 20.0 | 20.0 |",
        "| ridge | **100.0** | 0.0 |",
        "| auto | 0.0 | **100.0** |",
        "| clip | — | — |",
        "",
        "cca, all pairs: 100.0.",
    ]


def test_a_lucky_best_of_fewer_seeds_is_told_and_not_bold() -> None:
    results = [
        *(result("auto", seed, 0.5, pairs=pairs) for seed in (0, 1) for pairs in (20, 50)),
        *(found("sue", pairs, 1.0) for pairs in (20, 50)),
    ]
    lines = at_a_glance(summarise(results)).splitlines()
    assert "| sue, 1 seed | 100.0 | 100.0 |" in lines
    assert sum(line.count("**") for line in lines if line.startswith("| auto |")) == 4


def test_conditions_and_data_sets_have_tables_of_their_own() -> None:
    results = [
        found("auto", pairs, 0.5, condition=condition, dataset=dataset)
        for dataset in ("emoji", "glosses")
        for condition in ("disjoint", "sets")
        for pairs in (0, 20)
    ]
    titles = [line for line in at_a_glance(summarise(results)).splitlines() if line[:1] == "#"]
    assert titles == [
        "### emoji: disjoint pools",
        "### emoji: sets of 16",
        "### glosses: disjoint pools",
        "### glosses: sets of 16",
    ]


def test_one_number_of_pairs_needs_no_glance() -> None:
    rows = summarise([found("auto", 20, 0.5), found("cca, all pairs", "all", 0.9)])
    assert at_a_glance(rows) == ""
    assert to_markdown(rows, glance="") == to_markdown(rows)


def test_it_stands_before_the_tables_of_the_blocks() -> None:
    rows = summarise([found("auto", pairs, 0.5) for pairs in (0, 20)])
    text = to_markdown(rows, note="A note.", glance=at_a_glance(rows))
    assert text.index("A note.") < text.index("| pairs | 0 | 20 |") < text.index("| method |")


def test_numbers_of_pairs_without_the_recipe_are_left_to_the_tables() -> None:
    results = [found("ridge", pairs, 0.5, view="pairs") for pairs in (20, 40, 100)]
    assert "| pairs | 20 | 40 | 100 |" in at_a_glance(summarise(results))
    once = [*results, found("auto", 20, 0.5)]
    assert "| pairs | 20 | 40 | 100 |" in at_a_glance(summarise(once))
    results += [found("auto", pairs, 0.5) for pairs in (20, 100)]
    assert "| pairs | 20 | 100 |" in at_a_glance(summarise(results))
