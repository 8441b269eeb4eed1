"""Raw items and their encoders as training takes them: backbones, sources, frozen features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from setclip.data.bad_items import BadItem, Places, located
from setclip.data.cache import cached_features
from setclip.data.pools import FloatArray, IntArray, Item, Pools
from setclip.encoders import open_backbone
from setclip.encoders.adapt import freeze
from setclip.encoders.backbone import Backbone, Collated, on_device
from setclip.encoders.choices import parsed
from setclip.encoders.kept import TOKENS, KeptPrefix
from setclip.encoders.options import EncoderOptions
from setclip.modalities import BadItemError
from setclip.modalities.views import image_view, text_view
from setclip.proteins.views import sequence_view, structure_view
from setclip.training.batches import Sources
from setclip.training.sources import KeptSource, RawSource, View

if TYPE_CHECKING:
    from setclip.methods.towers import Towers

TOGETHER = 64
"""Items embedded at once where there is no gradient."""

VIEWS: dict[str, View] = {
    "image": image_view,
    "text": text_view,
    "sequence": sequence_view,
    "structure": structure_view,
}

CUT = (
    "{full:,} of {texts:,} texts fill the {tokens} tokens that keep_prefix keeps: what they say "
    "beyond is not trained on, though the finished model reads it. `keep_prefix: false` trains on "
    "whole texts."
)
STATISTICS = (
    "train_norms took them from the weights of the last step, and wise: {wise:g} mixes these with "
    "those of the start, which they do not fit. Set wise: 1."
)
ALONG_THE_CHAIN = frozenset({"sequence", "structure"})
"""Modalities whose views first draw a stretch of residues: of one draw it is the same stretch."""


@dataclass(frozen=True)
class Side:
    """One modality under training.

    Attributes:
        backbone: The encoder; its weights are trained in place.
        described: The encoder as a model card names it.
        network: What a batch goes through: the whole network, or what follows a kept beginning.
        collate: Prepared items to what `network` takes.
        pairs: The items of the pairs.
        pool: The items of the pool.
        warnings: What the settings cost, by name.
    """

    backbone: Backbone
    described: str | dict[str, Any]
    network: nn.Module
    collate: Callable[[Sequence[Any]], Collated]
    pairs: RawSource | KeptSource
    pool: RawSource | KeptSource
    warnings: Mapping[str, str] = field(default_factory=dict)


def open_side(
    o: Towers, encoder: Any, blocks: int | str, pairs: Sequence[Item], pool: Sequence[Item]
) -> Side:
    """Open an encoder, freeze all but its last blocks, and make its items ready.

    Args:
        o: Settings.
        encoder: Name or options of the encoder.
        blocks: Last blocks that learn, or "all".
        pairs: Items of the pairs.
        pool: Items of the pool.
    """
    options = encoder if isinstance(encoder, EncoderOptions) else parsed(encoder)
    backbone = open_backbone(options)
    count = len(backbone.blocks)
    first = 0 if blocks == "all" else max(0, count - int(blocks))
    # What the encoder's own options freeze stays frozen.
    first = max(first, count if options.freeze == "all" else options.freeze)
    # Of an encoder of which no block learns, what follows the blocks stays as it is, too.
    frozen: int | Literal["all"] = "all" if blocks == 0 or options.freeze == "all" else first
    partly = freeze(backbone, frozen, train_norms=options.train_norms)
    view = VIEWS.get(backbone.modality)
    side = Side(
        backbone,
        options.described,
        partly.network,
        backbone.collate,
        RawSource(pairs, backbone.prepare, view),
        RawSource(pool, backbone.prepare, view),
    )
    if options.train_norms and o.wise < 1 and frozen != "all":
        side = replace(side, warnings={"statistics of batch norms": STATISTICS.format(wise=o.wise)})
    if o.keep_prefix and backbone.split is not None and 0 < first < len(backbone.blocks):
        return _kept(o, side, partly, first)
    return side


def _kept(o: Towers, side: Side, partly: Backbone, first: int) -> Side:
    """The same side on what its frozen blocks make of each item, from the feature cache."""
    assert isinstance(side.pairs, RawSource)
    assert isinstance(side.pool, RawSource)
    items = [*side.pairs.items, *side.pool.items]
    several = [item if isinstance(item, tuple) else (item,) for item in items]
    ends = np.cumsum([len(captions) for captions in several])
    rows = [np.arange(end - len(c), end) for end, c in zip(ends, several, strict=True)]
    flat: list[Any] = [caption for captions in several for caption in captions]
    encoders = [
        KeptPrefix(partly, first, variant=variant, view=side.pairs.view)
        for variant in range(1 + (o.variants if o.augment or o.weight_ssl else 0))
    ]
    found = [cached_features(encoder, flat) for encoder in encoders]
    variants = [features for features, _ in found]
    bad = {item.row: item for _, items in found for item in items}
    n = len(side.pairs)
    full = encoders[0].layout.full_texts(variants[0])
    cut = {"texts were cut": CUT.format(full=full, texts=len(flat), tokens=TOKENS)} if full else {}
    return replace(
        side,
        warnings={**side.warnings, **cut},
        network=encoders[0].suffix,
        collate=encoders[0].layout.collate,
        pairs=KeptSource(variants, rows[:n], bad),
        pool=KeptSource(variants, rows[n:], bad),
    )


def embedded(
    side: Side, stream: str, module: nn.Module, width: int
) -> tuple[FloatArray, list[BadItem]]:
    """What a module makes of the items of a stream as they are, without gradient.

    Of several captions of an item one is drawn, always the same.

    Args:
        side: One modality.
        stream: "x pairs" or the like, as bad items name it.
        module: Takes what the side collates.
        width: Of what it makes.

    Returns:
        One row an item, NaN where it could not be read, shape [n, width]; and what could not.
    """
    source = side.pairs if stream.endswith("pairs") else side.pool
    parts: dict[int, FloatArray] = {}
    bad = []
    rng = np.random.default_rng(0)
    device = next(module.parameters()).device
    module.eval()
    for start in range(0, len(source), TOGETHER):
        rows, read = [], []
        for row in range(start, min(start + TOGETHER, len(source))):
            try:
                read.append(source.read(row, rng, view=False))
                rows.append(row)
            except BadItemError as error:
                bad.append(BadItem(row, stream, error.item, error.reason))
        if rows:
            with torch.no_grad():
                made = module(on_device(side.collate(read), device))
            parts |= zip(rows, made.cpu().numpy(), strict=True)
    found = np.full((len(source), width), np.nan, dtype=np.float32)
    for row, z in parts.items():
        found[row] = z
    return found, bad


@dataclass(frozen=True)
class TowerData:
    """Both sides under training, and the features of their frozen encoders.

    Attributes:
        x: First modality.
        y: Second modality.
        pools: Features of the frozen encoders with set ids, row-aligned with the streams.
        places: Which rows of the given pools the rows of each stream are.
        bad: Items of the given pools that could not be read and are in no stream.
    """

    x: Side
    y: Side
    pools: Pools
    places: Mapping[str, Places]
    bad: Sequence[BadItem] = ()

    @classmethod
    def of(cls, o: Towers, pools: Pools) -> TowerData:
        """Open both encoders on the items of the pools.

        Raises:
            ValueError: The pools hold features alone.
        """
        items = pools.items
        if items is None:
            raise ValueError(
                "towers trains encoders on raw items and was given features alone: give a manifest "
                "or a named data set, or use `setclip`, which trains heads on features."
            )
        x = open_side(o, o.x or items.x_encoder, o.x_blocks, items.x_pairs, items.x_pool)
        y = open_side(o, o.y or items.y_encoder, o.y_blocks, items.y_pairs, items.y_pool)
        places = {
            f"{name} {part}": Places(f"{name} {part}", np.arange(len(stream)))
            for name, side in (("x", x), ("y", y))
            for part, stream in (("pairs", side.pairs), ("pool", side.pool))
        }
        pools = replace(pools, items=None)
        if o.x is None and o.y is None:
            return cls(x, y, pools, places)
        features, bad = _with_features(pools, x, y, o)
        return cls(x, y, features, places, bad)._readable()

    @property
    def sources(self) -> Sources:
        """The streams as batches take them."""
        return Sources(
            self.x.pairs, self.y.pairs, self.x.pool, self.y.pool, self.x.collate, self.y.collate
        )

    @property
    def aligned(self) -> bool:
        """Whether a stretch of an x is the partner of the same stretch of its y."""
        return {self.x.backbone.modality, self.y.backbone.modality} <= ALONG_THE_CHAIN

    def all_bad(self, found: Sequence[BadItem]) -> list[BadItem]:
        """Bad items of the given pools: those known from the start, and those of these streams."""
        return [*self.bad, *located(found, self.places)]

    def without_pairs(self, held: IntArray) -> TowerData:
        """The same without some of the pairs."""
        kept = np.setdiff1d(np.arange(self.pools.n_pairs), held)
        return self._take(kept, *map(np.arange, (len(self.x.pool), len(self.y.pool))))

    def _readable(self) -> TowerData:
        """The same without items that could not be read; half a pair is none."""
        p = self.pools
        good = [~np.isnan(rows).any(axis=1) for rows in (p.x_pairs, p.y_pairs, p.x_pool, p.y_pool)]
        return self._take(*map(np.flatnonzero, (good[0] & good[1], good[2], good[3])))

    def _take(self, pairs: IntArray, x_pool: IntArray, y_pool: IntArray) -> TowerData:
        p = self.pools
        rows = {"x pairs": pairs, "y pairs": pairs, "x pool": x_pool, "y pool": y_pool}
        return TowerData(
            replace(self.x, pairs=self.x.pairs.take(pairs), pool=self.x.pool.take(x_pool)),
            replace(self.y, pairs=self.y.pairs.take(pairs), pool=self.y.pool.take(y_pool)),
            Pools(
                p.x_pairs[pairs],
                p.y_pairs[pairs],
                p.x_pool[x_pool],
                p.y_pool[y_pool],
                p.x_sets[x_pool],
                p.y_sets[y_pool],
            ),
            {name: Places(name, self.places[name].rows[taken]) for name, taken in rows.items()},
            self.bad,
        )


def _with_features(pools: Pools, x: Side, y: Side, o: Towers) -> tuple[Pools, list[BadItem]]:
    """The pools with features of encoders other than those that made them, and what has none."""
    made: dict[str, Any] = {}
    bad: list[BadItem] = []
    for name, side, other in (("x", x, o.x), ("y", y, o.y)):
        for part in ("pairs", "pool") if other is not None else ():
            features, lost = embedded(side, f"{name} {part}", side.network, side.backbone.dim)
            made[f"{name}_{part}"] = features
            bad += lost
    return replace(pools, **made), bad
