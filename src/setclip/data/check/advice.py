"""What to do next, in plain words, given how much supervision there is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from setclip.data.check.findings import Finding, Supervision
from setclip.linear.clouds import LEAST_ROWS
from setclip.methods import METHODS, AnyMethod, Method, make_method

FEW_PAIRS = 200
SMALL_TEST = 100
LARGE_SETS = 64
FEWEST = 2
"""Pairs, or sets, from which anything can be learnt."""
NEEDED = {
    "pairs": f"{FEWEST} pairs",
    "sets": f"{FEWEST} sets",
    "pools": f"two pools of {LEAST_ROWS} items",
}


def supervision_findings(counts: Supervision) -> list[Finding]:
    """Report sets that cannot be matched, or not one to one."""
    findings = []
    if counts.strays:
        message = f"{counts.strays:,} sets have items on one side only."
        remedy = (
            "Their items count as pools; check the spelling of set names if that is a surprise."
        )
        findings.append(Finding("warning" if not counts.sets else "note", message, remedy))
    if counts.uneven_sets:
        message = f"{counts.uneven_sets:,} of {counts.sets:,} sets hold more items on one side."
        findings.append(Finding("note", message, "Some of these items will stay unmatched."))
    return findings


def method_findings(
    method: AnyMethod, compare: Sequence[AnyMethod], counts: Supervision
) -> list[Finding]:
    """Report methods that this data gives nothing to learn from, and data a method ignores."""
    able = [name for name in METHODS if _can_learn(make_method(name), counts)]
    remedy = f"Choose one of {', '.join(able)}." if able else "Match some rows, or name sets."
    findings = []
    for chosen in dict.fromkeys([method, *compare]):
        if not _can_learn(chosen, counts):
            message = f"method {chosen.kind} needs {_needs(chosen)}: {_there_is(counts)}."
            findings.append(Finding("error" if chosen is method else "warning", message, remedy))
    ignored = max(counts.x_pool, counts.y_pool)
    if ignored and counts.pairs and method.uses == {"pairs"}:
        message = (
            f"method {method.kind} learns from pairs only: {counts.x_pool:,} x and "
            f"{counts.y_pool:,} y without a known partner are not used."
        )
        findings.append(Finding("note", message, "auto and setclip use them too."))
    return findings


def raw_items_findings(method: AnyMethod, compare: Sequence[AnyMethod]) -> list[Finding]:
    """Report methods that train encoders, of data that are features already."""
    return [
        Finding(
            "error" if chosen is method else "warning",
            f"method {chosen.kind} trains encoders and needs raw items: arrays are features.",
            "Give the items by data.kind manifest, or choose auto.",
        )
        for chosen in dict.fromkeys([method, *compare])
        if chosen.trains_encoders
    ]


def _can_learn(method: Method, counts: Supervision) -> bool:
    there = {
        "pairs": counts.pairs >= FEWEST,
        "sets": counts.sets >= FEWEST,
        "pools": min(counts.x_pool, counts.y_pool) >= LEAST_ROWS,
    }
    return any(all(there[kind] for kind in kinds) for kinds in method.enough)


def _needs(method: Method) -> str:
    """In words: kinds of supervision in the order of :data:`NEEDED`."""
    choices = [[kind for kind in NEEDED if kind in kinds] for kinds in method.enough]
    choices.sort(key=lambda kinds: [*NEEDED].index(kinds[0]))
    return " or ".join(" and ".join(NEEDED[kind] for kind in kinds) for kinds in choices)


def _there_is(counts: Supervision) -> str:
    known = f"{_some(counts.pairs, 'pair')}, {_some(counts.sets, 'set')}"
    return f"this data has {known}, and pools of {counts.x_pool:,} x and {counts.y_pool:,} y"


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}" if count else f"no {what}"


def advise(counts: Supervision) -> list[str]:
    """Sentences on what to do with this data, the most useful first."""
    advice = [_on_matches(counts)]
    if counts.sets >= FEWEST and counts.set_size > LARGE_SETS:
        advice.append(
            f"The sets are large ({counts.set_size:,} items a side): the smaller a set, the more "
            "it tells. If a finer grouping is known, name that as the set."
        )
    if counts.sets < FEWEST and counts.x_pool and counts.y_pool and counts.pairs < FEW_PAIRS:
        advice.append(
            "If it is known which items belong together (a page, a specimen, a patient, a day), "
            "put that into a set column: sets of sixteen, without any pair, did as well as 500 "
            "pairs or better wherever we measured."
        )
    if counts.test_pairs < SMALL_TEST:
        advice.append(_on_test(counts.test_pairs))
    return advice


def _on_matches(counts: Supervision) -> str:
    pairs, sets = _some(counts.pairs, "pair"), _some(counts.sets, "set")
    if counts.pairs < FEWEST and counts.sets < FEWEST:
        there = f"With {pairs} and {sets} on both sides these are only two piles."
        return (
            f"{there} Where two encoders share their geometry, as two of text may, method auto "
            "finds in the shape of the piles which x goes with which y; elsewhere match some rows "
            "by hand (50 pairs go a long way) or name sets."
        )
    if counts.pairs < FEWEST:
        return (
            f"With {pairs} but {sets}, start with method auto, which learns from sets alone. Sets "
            "of sixteen gave it as much as 500 pairs or more wherever we measured."
        )
    if counts.pairs < FEW_PAIRS and counts.sets >= FEWEST:
        return (
            f"With {pairs} and {sets}, start with method auto, which learns from both; heads "
            "trained from noise on so few pairs overfit."
        )
    if counts.pairs < FEW_PAIRS:
        return (
            f"With {pairs}, start with method auto, which lets them choose among closed forms, and "
            "whether to use what is unpaired; heads trained from noise on so few pairs overfit."
        )
    return (
        f"{counts.pairs:,} pairs are enough to train heads: compare clip, siglip and setclip with "
        "auto, which was ahead of them or level up to 500 pairs wherever we measured."
    )


def _on_test(pairs: int) -> str:
    if not pairs:
        return (
            "No pair is held out, so nothing can be scored: give test pairs, even 100, that are "
            "never trained on."
        )
    # Half-width of a 95 % interval for a share near one half.
    margin = 98 / math.sqrt(pairs)
    return (
        f"The test has about {pairs:,} pairs: a score comes with ± {margin:.0f} points. Match more "
        "rows for the test before reading much into differences."
    )
