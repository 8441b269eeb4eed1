"""Measuring an alignment: numpy embeddings in, plain dataclasses of numbers out."""

from __future__ import annotations

from setclip.evaluation.alignability import (
    Alignability,
    MutualKnn,
    alignability,
    linear_cka,
    mutual_knn,
)
from setclip.evaluation.confusion import Confusion, confusion
from setclip.evaluation.distribution import (
    DensityAgreement,
    Distribution,
    density_agreement,
    distribution,
)
from setclip.evaluation.function_intervals import bootstrap_fmax, paired_bootstrap_fmax
from setclip.evaluation.geometry import (
    Geometry,
    alignment,
    effective_rank,
    geometry,
    modality_gap,
    spread,
    uniformity,
)
from setclip.evaluation.intervals import Interval, bootstrap, paired_bootstrap, proportion
from setclip.evaluation.matching import Foscttm, foscttm, matching_accuracy
from setclip.evaluation.probes import Probe, knn_probe, linear_probe
from setclip.evaluation.protein_function import Fmax, TermCounts, fmax, term_counts
from setclip.evaluation.retrieval import (
    Direction,
    Neighbours,
    Ranks,
    Retrieval,
    chance,
    ranks,
    retrieval,
    top_k,
)
from setclip.evaluation.summary import evaluate, retrieval_numbers
from setclip.evaluation.term_probes import TermProbe, knn_terms, ridge_terms
from setclip.evaluation.zeroshot import (
    TEMPLATES,
    Prototypes,
    ZeroShot,
    average_prototypes,
    encode_prototypes,
    zero_shot,
    zero_shot_numbers,
)

__all__ = [
    "TEMPLATES",
    "Alignability",
    "Confusion",
    "DensityAgreement",
    "Direction",
    "Distribution",
    "Fmax",
    "Foscttm",
    "Geometry",
    "Interval",
    "MutualKnn",
    "Neighbours",
    "Probe",
    "Prototypes",
    "Ranks",
    "Retrieval",
    "TermCounts",
    "TermProbe",
    "ZeroShot",
    "alignability",
    "alignment",
    "average_prototypes",
    "bootstrap",
    "bootstrap_fmax",
    "chance",
    "confusion",
    "density_agreement",
    "distribution",
    "effective_rank",
    "encode_prototypes",
    "evaluate",
    "fmax",
    "foscttm",
    "geometry",
    "knn_probe",
    "knn_terms",
    "linear_cka",
    "linear_probe",
    "matching_accuracy",
    "modality_gap",
    "mutual_knn",
    "paired_bootstrap",
    "paired_bootstrap_fmax",
    "proportion",
    "ranks",
    "retrieval",
    "retrieval_numbers",
    "ridge_terms",
    "spread",
    "term_counts",
    "top_k",
    "uniformity",
    "zero_shot",
    "zero_shot_numbers",
]
