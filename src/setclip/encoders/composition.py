"""The honest baseline for sequences: shares of the amino acids, and the length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from setclip.encoders.protocol import FloatArray, Item, encode_all
from setclip.modalities import BadItemError
from setclip.proteins.chains import LETTERS, letter_codes
from setclip.proteins.fasta import clean_sequence

AMINO_ACIDS = len(LETTERS) - 1


class Composition:
    """Shares of the 20 amino acids and the logarithm of the length. There is nothing to train.

    Unknown residues count for the length alone.
    """

    name = "composition"
    modality: Literal["sequence"] = "sequence"
    dim = AMINO_ACIDS + 1
    batch_size = 1024
    fingerprint = "composition:20-shares-log-length-v1"

    def prepare(self, item: Item) -> str:
        """One sequence, checked and cleaned."""
        return prepare_sequence(item)

    def embed(self, prepared: Sequence[str]) -> FloatArray:
        """Shape [n, 21]."""
        features = np.empty((len(prepared), self.dim), dtype=np.float32)
        for row, sequence in zip(features, prepared, strict=True):
            counts = np.bincount(letter_codes(sequence), minlength=len(LETTERS))
            row[:-1] = counts[:AMINO_ACIDS] / len(sequence)
            row[-1] = np.log(len(sequence))
        return features

    def encode(self, items: Sequence[Item], *, progress: bool = False) -> FloatArray:
        """Features of sequences, in order. Shape [n, 21].

        Raises:
            BadItemError: The first item that is no sequence.
        """
        return encode_all(self, items, progress=progress)


def prepare_sequence(item: object) -> str:
    """Letters of one sequence.

    Raises:
        BadItemError: It is no string, is empty, or holds something else than letters.
    """
    if not isinstance(item, str):
        raise BadItemError(
            repr(item)[:80], f"{type(item).__name__} where a sequence (a string) was expected"
        )
    return clean_sequence(item, name=f"sequence {item[:20]!r}")
