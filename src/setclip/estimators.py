"""Alignment as a scikit-learn estimator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from setclip.api import align, configured
from setclip.data.atomic import write_json
from setclip.data.pools import FloatArray, named_array
from setclip.data.set_ids import SetIds
from setclip.methods import Method
from setclip.model import AlignedModel

FLOATS = (np.float64, np.float32)
ESTIMATOR_FILE = "estimator.json"


class Aligner(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """:func:`setclip.align` with scikit-learn's manners: for pipelines and searches.

    Rows of `X` and `y` are the known pairs, so that splitters, scorers and searches work on them as
    on any data of several outputs. Pools and sets come as further arguments of `fit`. Steps that
    stand before it in a pipeline do not see these: transform them yourself, or route them with
    ``Pipeline(..., transform_input=["X_pool"])`` and scikit-learn's metadata routing. Searches
    hand pools through to `fit`, but take a pool of exactly as many rows as `X` for a part of the
    pairs, and cut it as they cut `X`.

    Pickling works, since scikit-learn's tools carry fitted estimators between processes that way.
    To keep a model, use `save` and `load`: they never pickle.

    Args:
        method: Name of a method or a configured one; `setclip.align` says which to choose. A search
            may try several: ``{"method": ["ridge", "cca"]}``.
        options: Fields of a method given by name, for instance ``{"penalty": 10.0}``.
        random_state: An int is the seed of `setclip.align`; None draws another at each fit.

    Attributes:
        model_: The fitted :class:`setclip.AlignedModel`.
        n_features_in_: Width of `X`.
        feature_names_in_: Column names of `X`, where it was a table with names.

    Example:
        >>> from sklearn.model_selection import GridSearchCV
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from setclip import Aligner
        >>> search = GridSearchCV(
        ...     make_pipeline(StandardScaler(), Aligner()),
        ...     {"aligner__method": ["ridge", "procrustes", "cca"]},
        ... )
        >>> best = search.fit(x_pairs, y_pairs).best_params_["aligner__method"]
    """

    model_: AlignedModel
    n_features_in_: int

    def __init__(
        self,
        method: str | Method = "auto",
        options: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.method = method
        self.options = options
        self.random_state = random_state

    def fit(
        self,
        X: npt.ArrayLike | None,
        y: npt.ArrayLike | None,
        *,
        X_pool: npt.ArrayLike | None = None,
        y_pool: npt.ArrayLike | None = None,
        X_sets: SetIds | None = None,
        y_sets: SetIds | None = None,
    ) -> Self:
        """Align.

        Args:
            X: Features of the first modality of the pairs. Shape [p, d_x]. Where nothing is paired,
                give None for `X` and `y`, and both pools.
            y: Features of the second modality, row-aligned. Shape [p, d_y]; a shape of [p] is one
                feature, [p, 1].
            X_pool: Items known only by x. Shape [n, d_x].
            y_pool: Items known only by y. Shape [m, d_y] or [m].
            X_sets: Set of each row of `X_pool`, -1 or None for none. Shape [n].
            y_sets: Set of each row of `y_pool`. Shape [m].

        Raises:
            ValueError: As :func:`setclip.align`.
        """
        if X is not None and y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: give "
                "the features of the other modality, or None for X too, and both pools."
            )
        # Pools can align, with sets or without; alone a single pair aligns nothing.
        fewest = 2 if X_pool is None else 0
        x_pairs = None if X is None else self._x("X", X, reset=True, fewest=fewest)
        x_pool = None if X_pool is None else self._x("X_pool", X_pool, reset=X is None, fewest=0)
        y_pairs = _y("y", y)
        check_consistent_length(x_pairs, y_pairs)
        self.model_ = align(
            x_pairs,
            y_pairs,
            x_pool=x_pool,
            y_pool=_y("y_pool", y_pool),
            x_sets=X_sets,
            y_sets=y_sets,
            method=self._configured(),
            seed=self._seed(),
        )
        return self

    def transform(self, X: npt.ArrayLike) -> FloatArray:
        """Embed items of the first modality. Shape [n, d_x] to unit rows [n, dim]."""
        check_is_fitted(self, "model_")
        return self.model_.encode_x(self._x("X", X))

    def transform_y(self, y: npt.ArrayLike) -> FloatArray:
        """Embed items of the second modality. Shape [m, d_y] (or [m]) to unit rows [m, dim]."""
        check_is_fitted(self, "model_")
        return self.model_.encode_y(_y("y", y))

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Share of held-out items that find their partner first: R@1, mean of both directions.

        Between 0 and 1, higher is better. The gallery is the rows given, so that scores on
        different numbers of rows do not compare; chance is one in that number.

        Args:
            X: Features of the first modality. Shape [n, d_x].
            y: Features of the second, row-aligned. Shape [n, d_y] or [n].
        """
        from setclip.evaluation import retrieval
        from setclip.evaluation.rows import lost_apart

        check_is_fitted(self, "model_")
        embedded = self.model_.encode_x(self._x("X", X)), self.model_.encode_y(_y("y", y))
        return retrieval(*lost_apart(*embedded), ks=(1,)).recall[1] / 100

    def save(self, directory: str | Path) -> None:
        """Write the model as ``AlignedModel.save`` does, and the names of the columns.

        The method is kept by its name and options, the seed by its number.
        """
        check_is_fitted(self, "model_")
        path = Path(directory) / ESTIMATOR_FILE
        # Names of an earlier model must not outlive it if this is interrupted half-way.
        path.unlink(missing_ok=True)
        self.model_.save(directory)
        names = getattr(self, "feature_names_in_", None)
        write_json(path, {"feature_names_in": None if names is None else list(names)})

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """A fitted estimator from a folder that `save`, ``model.save`` or ``setclip fit`` wrote.

        Raises:
            FileNotFoundError: The folder holds no model.
            ValueError: The files are damaged, or do not say which method made the model.
        """
        model = AlignedModel.load(directory)
        options = dict(model.card.method)
        kind = options.pop("kind", None)
        if kind is None:
            raise ValueError(
                f"the model in {directory} does not say which method made it, so that it cannot be "
                "fitted again: open it with setclip.load instead."
            )
        aligner = cls(kind, options, model.card.seed)
        aligner.model_ = model
        aligner.n_features_in_ = model.x_tower.spec.d_in
        names = _column_names(Path(directory) / ESTIMATOR_FILE, aligner.n_features_in_)
        if names is not None:
            aligner.feature_names_in_ = np.asarray(names, dtype=object)
        return aligner

    @property
    def _n_features_out(self) -> int:
        return self.model_.dim

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _x(self, name: str, values: Any, *, reset: bool = False, fewest: int = 1) -> Any:
        values = _untorched(name, values)
        array = check_array(values, input_name=name, dtype=FLOATS, ensure_min_samples=fewest)
        validate_data(self, values, reset=reset, skip_check_array=True)
        return array

    def _configured(self) -> Method:
        options = self.options or {}
        if "seed" in options:
            raise ValueError(
                f"options hold seed {options['seed']!r}, which is no field of a method: give it to "
                f"the estimator, {type(self).__name__}(random_state={options['seed']!r})."
            )
        return configured(self.method, options)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))


def _untorched(name: str, values: Any) -> Any:
    # Tables must stay tables until scikit-learn has read the names of their columns.
    arrays = torch.Tensor | np.ma.MaskedArray
    return named_array(name, values) if isinstance(values, arrays) else values


def _y(name: str, values: Any) -> Any:
    if values is None:
        return None
    array = check_array(
        _untorched(name, values),
        input_name=name,
        dtype=FLOATS,
        ensure_2d=False,
        ensure_min_samples=0,
    )
    return array[:, None] if array.ndim == 1 else array


def _column_names(path: Path, width: int) -> list[str] | None:
    """Names of the columns of X, None where they were not kept."""
    if not path.is_file():
        return None
    try:
        names: list[str] | None = json.loads(path.read_text(encoding="utf-8"))["feature_names_in"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): save the estimator again.") from error
    if names is not None and not (isinstance(names, list) and len(names) == width):
        raise ValueError(
            f"{path} does not name the {width} columns that the model beside it takes, it belongs "
            "to another model or is damaged: save the estimator again."
        )
    return names
