"""What to expect before training: shared geometry, shift, and recall from learning curves."""

from setclip.diagnosis.expectation import Expectation, expect
from setclip.diagnosis.measured import MeasuredCurve, measured_curves
from setclip.diagnosis.overview import Diagnosis, diagnose, diagnose_pools, shared_geometry

__all__ = [
    "Diagnosis",
    "Expectation",
    "MeasuredCurve",
    "diagnose",
    "diagnose_pools",
    "expect",
    "measured_curves",
    "shared_geometry",
]
