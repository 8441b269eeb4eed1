"""What to do next, in plain words, given how much supervision there is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from setclip.data.check.findings import Finding, Supervision
from setclip.methods import METHODS, AnyMethod, Method, make_method

FEW_PAIRS = 200
SMALL_TEST = 100
LARGE_SETS = 64


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
            kinds = [kind for kind in ("pairs", "sets") if kind in chosen.uses]
            what = " or ".join([*kinds, *(["two pools"] if chosen.from_pools else [])])
            message = f"method {chosen.kind} learns from {what}, and there are none."
            findings.append(Finding("error" if chosen is method else "warning", message, remedy))
    ignored = max(counts.x_pool, counts.y_pool)
    if ignored and counts.pairs and method.uses == {"pairs"}:
        message = (
            f"method {method.kind} learns from pairs only: {counts.x_pool:,} x and "
            f"{counts.y_pool:,} y without a known partner are not used."
        )
        findings.append(Finding("note", message, "auto and setclip use them too."))
    return findings


def _can_learn(method: Method, counts: Supervision) -> bool:
    there = {"pairs": counts.pairs > 0, "sets": counts.sets > 0}
    two_pools = bool(counts.x_pool and counts.y_pool)
    return any(there.get(use) for use in method.uses) or (method.from_pools and two_pools)


def advise(counts: Supervision) -> list[str]:
    """Sentences on what to do with this data, the most useful first."""
    advice = [_on_matches(counts)]
    if counts.sets and counts.set_size > LARGE_SETS:
        advice.append(
            f"The sets are large ({counts.set_size:,} items a side): the smaller a set, the more "
            "it tells. If a finer grouping is known, name that as the set."
        )
    if not counts.sets and counts.x_pool and counts.y_pool and counts.pairs < FEW_PAIRS:
        advice.append(
            "If it is known which items belong together (a page, a specimen, a patient, a day), "
            "put that into a set column: sets of sixteen, without any pair, did as well as 500 "
            "pairs or better wherever we measured."
        )
    if counts.test_pairs < SMALL_TEST:
        advice.append(_on_test(counts.test_pairs))
    return advice


def _on_matches(counts: Supervision) -> str:
    if not counts.pairs and not counts.sets:
        return (
            "There is no pair and no shared set, only two piles. Where two encoders share their "
            "geometry, as two of text may, method auto finds in the shape of the piles which x "
            "goes with which y; elsewhere match some rows by hand (50 pairs go a long way) or "
            "name sets."
        )
    if not counts.pairs:
        return (
            f"There is no pair, but {counts.sets:,} sets: method auto learns from sets alone. Sets "
            "of sixteen gave it as much as 500 pairs or more wherever we measured."
        )
    if counts.pairs < FEW_PAIRS and counts.sets:
        return (
            f"With {counts.pairs:,} pairs and {counts.sets:,} sets, start with method auto, which "
            "learns from both; heads trained from noise on so few pairs overfit."
        )
    if counts.pairs < FEW_PAIRS:
        return (
            f"With {counts.pairs:,} pairs, start with method auto, which lets them choose among "
            "closed forms, and whether to use what is unpaired; heads trained from noise on so few "
            "pairs overfit."
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
