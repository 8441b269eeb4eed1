"""What every method looks like from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, model_validator

from setclip.data.pools import Pools
from setclip.linear.maps import Alignment
from setclip.model import AlignedModel, ModelCard, Tower
from setclip.training.journal import Journal

Supervision = Literal["pairs", "sets", "pools"]


class Method(Protocol):
    """A way to align two modalities, configured; `fit` may be called any number of times.

    Attributes:
        uses: Kinds of supervision it learns from; the others it is not shown.
        enough: Kinds of supervision that are enough together, each such choice.
        trains_encoders: Whether it takes raw items and gives a model that does.
    """

    uses: ClassVar[frozenset[Supervision]]
    enough: ClassVar[frozenset[frozenset[Supervision]]]
    trains_encoders: ClassVar[bool]

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Align the pools.

        Args:
            pools: All there is to learn from.
            seed: Same pools, same seed, same model.
            journal: Receives curves, notes, warnings and checkpoints.

        Raises:
            ValueError: The method cannot work from this supervision; says which one can.
        """

    @property
    def kind(self) -> str:
        """The name users choose it by."""

    def model_dump_json(self) -> str:
        """The full configuration, defaults included."""


def any_of(*kinds: Supervision) -> frozenset[frozenset[Supervision]]:
    """Each kind of supervision is enough by itself."""
    return frozenset(frozenset({kind}) for kind in kinds)


Recipe = Literal["default", "paper"]


class Options(BaseModel):
    """Base of the methods' configurations: unknown fields are errors, values do not change.

    Attributes:
        paper: What `recipe: paper` fixes of the fields that are not given, for methods that have a
            field `recipe`.
        how_alone: Fields that decide how a fit is computed, not what: it may go on with others.
        trains_encoders: Whether it takes raw items and gives a model that does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    paper: ClassVar[Mapping[str, Any]] = {}
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pairs")
    how_alone: ClassVar[frozenset[str]] = frozenset()
    trains_encoders: ClassVar[bool] = False

    def decisive(self) -> dict[str, Any]:
        """What decides the result, as JSON values, defaults included."""
        return self.model_dump(mode="json", exclude=set(self.how_alone))

    @model_validator(mode="before")
    @classmethod
    def _fill_from_recipe(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("recipe") == "paper":
            return {**cls.paper, **given}
        return given


def visible(pools: Pools, uses: frozenset[Supervision]) -> Pools:
    """What a method learns from: one that uses pairs only is shown nothing else."""
    return pools if uses & {"sets", "pools"} else pools.without_pools()


def pairs_needed(name: str, pairs: int, *, alone: bool = True) -> str:
    """What a method that learns from pairs, alone or beside pools, says to fewer than two."""
    source = "learns from pairs alone" if alone else "needs pairs beside the pools"
    return (
        f"{name} {source} and was given {pairs}: give at least 2, or use `auto`, which also "
        "takes sets and pools."
    )


def card(method: Options, pools: Pools, seed: int, journal: Journal) -> ModelCard:
    """The model card of a fit."""
    return ModelCard(
        method=method.model_dump(mode="json"),
        data=pools.describe(),
        seed=seed,
        notes=list(journal.notes),
        warnings=list(journal.warnings),
    )


def linear_model(alignment: Alignment, description: ModelCard) -> AlignedModel:
    """A model whose towers are a closed form's maps."""
    with torch.no_grad():
        towers = Tower.from_map(alignment.x), Tower.from_map(alignment.y)
    return AlignedModel(*towers, description)
