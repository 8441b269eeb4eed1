"""What a run keeps out of training: how much, and in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeldOut:
    """The test of a run, in numbers.

    Attributes:
        pairs: Pairs kept out of training.
        gallery: Those of them that are scored.
        grouped: Whether the gallery holds one pair of each group only.
        left_out: Pairs, x and y that neither train nor test, as they would leak.
        why: Why nothing was held out, if so.
    """

    pairs: int = 0
    gallery: int = 0
    grouped: bool = False
    left_out: tuple[int, int, int] = (0, 0, 0)
    why: str = ""

    def describe(self) -> str:
        """One line for logs."""
        if not self.pairs:
            return f"Nothing is held out: {self.why}."
        if self.gallery == self.pairs:
            held = f"Held out: {self.pairs:,} pairs, all in the gallery."
        else:
            held = (
                f"Held out: {self.pairs:,} pairs, {self.gallery:,} of them in the gallery: one of "
                "each group (near-duplicates, or of one name)."
            )
        if not any(self.left_out):
            return held
        pairs, x, y = self.left_out
        return (
            f"{held} Neither trained on nor tested: {pairs:,} pairs, {x:,} unpaired x and {y:,} "
            "unpaired y, which are near-duplicates of the test, or of its groups or its part."
        )


def held_out_about(pairs: int, share: float) -> int:
    """About how many pairs a split by group holds out.

    Few are worth more in training than as a test that says nothing.
    """
    return round(pairs * share) if pairs * share >= 2 else 0
