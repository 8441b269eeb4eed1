"""Arrays in, aligned model out: the library in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from setclip.data.pools import make_pools
from setclip.data.set_ids import SetIds, number_sets
from setclip.methods import METHODS, AnyMethod, Method
from setclip.model import AlignedModel
from setclip.seeds import as_seed
from setclip.training.journal import Journal


def align(
    x_pairs: npt.ArrayLike | None = None,
    y_pairs: npt.ArrayLike | None = None,
    *,
    x_pool: npt.ArrayLike | None = None,
    y_pool: npt.ArrayLike | None = None,
    x_sets: SetIds | None = None,
    y_sets: SetIds | None = None,
    method: str | Method = "auto",
    seed: int = 0,
    progress: bool = False,
    directory: str | Path | None = None,
    **options: Any,
) -> AlignedModel:
    """Bring two modalities into one space, from any mixture of pairs, matched sets and pools.

    Which method to choose:

    - ``auto``, the default: takes what sets, pairs, pools and shared geometry give, lets held-out
      pairs and sets decide, and says on the model's card what it decided. Seconds to minutes.
    - ``cca``: the closed form on pairs and sets. Seconds; the one to beat.
    - ``procrustes``: a rotation, for two encoders whose spaces have nearly the same shape (two text
      encoders, two versions of one model). Pairs and sets. Seconds.
    - ``ridge``: predicts y from x. Pairs only, from some hundreds up. Seconds.
    - ``setclip``: CCA, then SDD and CLIP by gradient for as long as held-out pairs and sets rank
      better. With ``recipe="paper"`` the published form, heads from random weights.
    - ``clip``, ``siglip``: heads trained on the pairs alone. Baselines; good once pairs are many.

    With neither pairs nor sets two spaces can be aligned only as far as they share their geometry;
    ``auto`` warns where they do not.

    Args:
        x_pairs: Features of the first modality of the known pairs. Shape [p, d_x]. Arrays may be
            numpy or torch, of any float type, on any device; rows need no scaling.
        y_pairs: Features of the second modality; row i belongs to row i of `x_pairs`.
            Shape [p, d_y].
        x_pool: Items known only by x. Shape [n, d_x].
        y_pool: Items known only by y. Shape [m, d_y].
        x_sets: For each row of `x_pool` the set it belongs to, any number or name; -1, None, NaN or
            an empty name for none. Items of one set belong together, which with which is not known,
            and the two sides may have different counts. Shape [n].
        y_sets: The same for `y_pool`; equal numbers or names are one set, and one of a single side
            counts as none. Shape [m].
        method: A name, or a configured method such as ``setclip.methods.CCA(penalty=10.0)``.
        seed: 0 to 2**32 - 1. Same arrays, same seed, same model, bit for bit on CPU.
        progress: Show progress bars.
        directory: Folder for the log and the checkpoints. The same call with the same folder, after
            it was killed, resumes and ends with the same model. None keeps nothing.
        **options: Fields of a method given by name, for instance ``penalty=10.0``.

    Returns:
        The model, with ``encode_x``, ``encode_y``, ``similarity`` and ``save``; its ``card`` says
        what was decided and warns of what went wrong.

    Raises:
        ValueError: Arrays that do not fit together, sets of which none stands on both sides, an
            unknown method or option, or too little supervision for the method, each with the
            remedy.
        TypeError: `method` is neither a name nor a configured method.

    Example:
        Sixteen hidden traits, seen by two instruments; forty items were seen by both.

        >>> import numpy as np, setclip
        >>> rng = np.random.default_rng(0)
        >>> traits = rng.normal(size=(640, 16))
        >>> x = traits @ rng.normal(size=(16, 32))
        >>> y = traits @ rng.normal(size=(16, 24))
        >>> model = setclip.align(
        ...     x[:40], y[:40], x_pool=x[40:300], y_pool=y[300:600], method="cca"
        ... )
        >>> best = model.similarity(x[600:], y[600:]).argmax(axis=1)
        >>> float((best == np.arange(40)).mean())
        1.0
    """
    chosen = configured(method, options)
    seed = as_seed(seed)
    x_ids, y_ids = number_sets(x_sets, y_sets)
    pools = make_pools(x_pairs, y_pairs, x_pool=x_pool, y_pool=y_pool, x_sets=x_ids, y_sets=y_ids)
    folder = None if directory is None else Path(directory)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return chosen.fit(pools, seed=seed, journal=Journal(directory=folder, progress=progress))


def load(path: str | Path, *, trust: bool = False) -> AlignedModel:
    """Read a model that ``model.save`` or ``setclip fit`` wrote; nothing in it is executed.

    Args:
        path: The folder.
        trust: Import and call an encoder of one's own code that the model names and holds.

    Raises:
        FileNotFoundError: The folder holds no model.
        ValueError: The files are damaged or of another format version.
    """
    return AlignedModel.load(path, trust=trust)


class _Choice(BaseModel):
    method: AnyMethod


def configured(method: str | Method, options: Mapping[str, Any]) -> Method:
    """The method that a name and its options, or a configured method, stand for.

    Raises:
        ValueError: An unknown name or option, a value out of range, or options beside a configured
            method.
        TypeError: `method` is neither a name nor a configured method.
    """
    if isinstance(method, type) or not (isinstance(method, str) or hasattr(method, "fit")):
        raise TypeError(
            f"method is {method!r}: give a name ({', '.join(METHODS)}) or a configured method such "
            "as setclip.methods.CCA(penalty=10.0)."
        )
    if not isinstance(method, str):
        if options:
            raise ValueError(
                f"options {', '.join(options)} come with a configured method ({method!r}): set "
                "them there, or give the method by name."
            )
        return method
    if "kind" in options:
        raise ValueError(f"options say kind {options['kind']!r}: name it as method instead.")
    values = {"method": {"kind": method, **options}}
    try:
        return _Choice.model_validate(values).method
    except ValidationError as error:
        from setclip.config.errors import explain
        from setclip.config.source import ConfigError, Source

        source = Source(f"method {method!r}", values)
        raise ConfigError(source.name, explain(error, source, _Choice)) from None
