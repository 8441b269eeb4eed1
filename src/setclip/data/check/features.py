"""Checks of features: rows without direction, repeats, and near-duplicates across the split."""

from __future__ import annotations

import hashlib

import numpy as np

from setclip.data.check.findings import Finding
from setclip.data.pools import FloatArray, IntArray
from setclip.data.splits import near_duplicate_groups, near_duplicates_of

TEST_CAP = 2_000
TRAIN_CAP = 50_000
GIANT_GROUP = 0.2
_BLOCK = 4096


def matrix_findings(name: str, features: FloatArray) -> list[Finding]:
    """Report rows of zeros, a matrix without variance, and repeated rows."""
    if not len(features):
        return []
    findings = []
    zero = zero_rows(features)
    if len(zero):
        findings.append(
            Finding(
                "warning",
                f"{name}: {len(zero):,} rows are all zeros, the first is row {zero[0]}.",
                "They have no direction and match nothing; was the item empty?",
            )
        )
    if len(features) > 1 and _all_equal(features):
        findings.append(
            Finding(
                "error",
                f"{name}: all {len(features):,} rows are equal.",
                "Nothing can be told apart; look at what wrote this file.",
            )
        )
        return findings
    digests = row_digests(features)
    repeats = len(digests) - len(set(digests))
    if repeats:
        findings.append(
            Finding(
                "note",
                f"{name}: {repeats:,} of {len(features):,} rows repeat an earlier row exactly.",
                "Fine if items have several partners; otherwise remove them.",
            )
        )
    return findings


def leak_findings(
    name: str, test: FloatArray, train: FloatArray, *, threshold: float
) -> list[Finding]:
    """Report test rows that are also in train, exactly or nearly.

    Exact repeats are looked for everywhere, near ones in a sample of large data.

    Args:
        name: What the rows are, for messages.
        test: Shape [t, d].
        train: Shape [n, d].
        threshold: Cosine above which a row is nearly another.
    """
    known = set(row_digests(train))
    exact = [row for row, digest in enumerate(row_digests(test)) if digest in known]
    rest = _sampled(np.setdiff1d(np.arange(len(test)), exact), TEST_CAP)
    of = _sampled(np.arange(len(train)), TRAIN_CAP)
    near = near_leak_findings(name, test[rest], train[of], threshold=threshold)
    if not exact:
        return near
    message = (
        f"{name}: {len(exact):,} of {len(test):,} test rows are also in train, the first is test "
        f"row {exact[0]}."
    )
    remedy = "Remove them from one of the two; scores on them mean nothing."
    return [Finding("error", message, remedy), *near]


def near_leak_findings(
    name: str, test: FloatArray, train: FloatArray, *, threshold: float
) -> list[Finding]:
    """Report how many test rows have a cosine above `threshold` with a row of train."""
    near = near_duplicates_of(test, train, threshold=threshold)
    if not near.any():
        return []
    message = (
        f"{name}: {near.mean():.0%} of {len(test):,} test items have a near-duplicate in train "
        f"(cosine above {threshold})."
    )
    remedy = (
        "Scores on near-duplicates flatter: split by group; or raise data.near_duplicate, if these "
        "are distinct items."
    )
    return [Finding("warning", message, remedy)]


def grouping_findings(x: FloatArray, y: FloatArray, *, threshold: float) -> list[Finding]:
    """Say how a split by groups of near-duplicates would go on these pairs."""
    if not len(x):
        return []
    _, sizes = np.unique(near_duplicate_groups(x, y, threshold=threshold), return_counts=True)
    largest = sizes.max() / len(x)
    if len(x) > 1 and largest > GIANT_GROUP:
        message = (
            f"{largest:.0%} of {len(x):,} pairs hang together as near-duplicates (cosine above "
            f"{threshold} in x or y): the split must leave them on one side."
        )
        remedy = "Raise data.near_duplicate, or give a group column, if they are distinct items."
        return [Finding("warning", message, remedy)]
    together = int(sizes[sizes > 1].sum())
    if not together:
        return []
    message = (
        f"{together:,} of {len(x):,} pairs have a near-duplicate (cosine above {threshold} in x or "
        "y); the split keeps each group on one side."
    )
    return [Finding("note", message)]


def zero_rows(features: FloatArray) -> IntArray:
    """Rows that are all zeros. Counted from 0, shape [zeros]."""
    return np.flatnonzero(~features.any(axis=1))


def row_digests(features: FloatArray) -> list[bytes]:
    """A digest of each row's bytes."""
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in features]


def _all_equal(features: FloatArray) -> bool:
    first = features[0]
    return all(
        (features[start : start + _BLOCK] == first).all()
        for start in range(0, len(features), _BLOCK)
    )


def _sampled(rows: IntArray, cap: int) -> IntArray:
    if len(rows) <= cap:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, cap, replace=False))
