"""A run: one config, fitted, measured, kept in a folder, and told in a report.

A run folder holds ``config.json`` (as validated), ``log.jsonl`` (every term), ``checkpoints/``,
the model, ``results.json``, ``bad_items.jsonl`` and the report. Whatever moment it is killed at,
fitting the same config again goes on from there.
"""

from setclip.run.fit import run_evaluate, run_fit
from setclip.run.folder import run_config, run_material, run_results
from setclip.run.measure import Result

__all__ = [
    "Result",
    "run_config",
    "run_evaluate",
    "run_fit",
    "run_material",
    "run_results",
]
