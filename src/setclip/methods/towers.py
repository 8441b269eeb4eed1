"""Set-CLIP end to end: the encoders learn too, from pairs, sets and pools of raw items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from setclip.data.pools import NO_SET, IntArray, Pools, digest
from setclip.encoders.choices import EncoderChoice
from setclip.linear.kernel import SHARPNESS
from setclip.linear.maps import AffineMap
from setclip.methods.protocol import Options, Recipe, Supervision, any_of, card
from setclip.methods.set_losses import SetLosses
from setclip.methods.tower_data import TowerData, embedded
from setclip.methods.tower_objective import TowerObjective
from setclip.methods.tuning import Fold, log_rank
from setclip.model import AlignedModel, EncoderTower, HeadKind, HeadSpec, Tower
from setclip.training.batches import Batch, Composition, Steps, load_steps
from setclip.training.distributed import rank, world_size
from setclip.training.engine import Averaging, Engine, train_towers
from setclip.training.journal import Journal
from setclip.training.loop import Schedule

# Constants of the authors' release (ViT run): encoders at 1e-5, heads at 1e-3.
PAPER: dict[str, Any] = {
    "start": "random",
    "head": "projection",
    "weight_sdd": 0.6,
    "weight_mmd": 0.1,
    "weight_ssl": 0.1,
    "weight_match": 0.0,
    "balance": False,
    "bandwidth": 0.5,
    "within_sets": False,
    "lr": 1e-5,
    "head_rate": 100.0,
    "temperature": 0.05,
    "weight_decay": 1e-3,
    "batch_pairs": 22,
    "batch": 42,
    "wise": 1.0,
}


class TowerSettings(Options):
    """What training of encoders needs whatever the losses: blocks, batches, rates, engine."""

    trains_encoders: ClassVar[bool] = True
    how_alone: ClassVar[frozenset[str]] = frozenset({"workers", "trackers", "device", "shard"})

    x_blocks: NonNegativeInt | Literal["all"] = 2
    """Last blocks of the x encoder that learn."""
    y_blocks: NonNegativeInt | Literal["all"] = 1
    """Last blocks of the y encoder that learn."""
    x: EncoderChoice | None = None
    """Encoder of x; None takes that which made the features."""
    y: EncoderChoice | None = None
    """Encoder of y; None takes that which made the features."""
    keep_prefix: bool = True
    """Run frozen first blocks once an item and keep what they give, where the encoder allows."""
    variants: NonNegativeInt = 2
    """Views of each item that are kept with a frozen beginning."""
    augment: bool = True
    """Train on random views of the items. A sequence and its structure are cut to the same stretch
    where they are a known pair."""
    head: HeadKind = "linear"
    """Form of a random head; a fitted start is a map of the features or of kernel features."""
    sharpness: NonNegativeFloat = SHARPNESS
    """Of the kernel of fitted heads, see :mod:`setclip.linear.kernel`. Its landmarks are features
    of the encoder as it starts: take 0, which keeps to linear maps, where weights are random."""
    dim: PositiveInt = 256
    """Width of the shared space of random heads."""
    dropout: NonNegativeFloat = 0.1
    """Rate inside a projection head."""
    batch_pairs: PositiveInt = 64
    """Pairs a step."""
    steps: NonNegativeInt = 60
    """Updates."""
    lr: PositiveFloat = 3e-4
    """Peak learning rate of the encoders."""
    head_rate: NonNegativeFloat | None = None
    """Learning rate of the heads relative to it, 0 to leave them as they are. None leaves heads
    that were fitted, and trains random ones at ten times the rate."""
    weight_decay: NonNegativeFloat = 0.05
    """Decoupled."""
    warmup: NonNegativeInt = 5
    """Steps of linear warm-up; after it the rate falls along a cosine."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a moving average of the weights that the model ends with; 0 for none."""
    wise: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the trained weights in the finished ones, the rest those of the start."""
    check_every: PositiveInt = 20
    """Steps between checks of held-out pairs."""
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the pairs held out to choose the step; 0 trains all steps on all pairs."""
    patience: PositiveInt | None = None
    """Checks without a better value after which training stops."""
    learn_temperature: bool = False
    """Whether CLIP's temperature is learned, the inverse kept within 1 and 100."""
    chunk: PositiveInt | None = None
    """Rows embedded at a time: memory of a chunk, gradient of the whole batch."""
    precision: Literal["no", "bf16"] = "no"
    """Of the towers."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes a GPU where there is one."""
    shard: bool = False
    """Of several processes each keeps a part of the weights (FSDP), for towers that do not fit on
    one device."""
    workers: NonNegativeInt = 0
    """Processes that read items; the result does not depend on it."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Where curves go besides the run folder."""


class Towers(TowerSettings, SetLosses):
    """Set-CLIP with encoders that learn.

    It starts from heads that another method fits to the frozen encoders, and trains the last
    blocks of both with CLIP on the pairs, SDD and MMD on pools or inside sets, a self-supervised
    loss on two views of an item, and, where there are sets, cross-entropy with the soft matching
    inside them. `recipe: paper` has random heads and the published weights.
    """

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs", "sets", "pools"})
    enough: ClassVar[frozenset[frozenset[Supervision]]] = any_of("pairs", "sets", "pools")
    paper: ClassVar[Mapping[str, Any]] = PAPER

    kind: Literal["towers"] = "towers"
    recipe: Recipe = "default"
    """Where the fields that are not given take their values from."""
    start: Literal["auto", "cca", "ridge", "procrustes", "own", "random"] = "auto"
    """The method whose maps of the frozen features the heads start from; own keeps the features
    as they are, for the two towers of a pretrained CLIP; random has nothing to start from."""
    temperature: PositiveFloat = 0.1
    """Of CLIP, SSL and the predictions that the matching is compared with."""
    weight_sdd: NonNegativeFloat = 0.1
    """Of the semantic density distribution loss."""
    weight_mmd: NonNegativeFloat = 0.05
    """Of the multi-kernel MMD."""
    weight_ssl: NonNegativeFloat = 0.3
    """Of the self-supervised loss of each modality."""
    weight_match: NonNegativeFloat = 1.0
    """Of cross-entropy with the soft matching inside sets."""
    match_temperature: PositiveFloat = 0.05
    """Of the matching inside sets."""
    within_sets: bool = True
    """Compare distributions inside each set, where there are sets."""
    batch: PositiveInt = 128
    """Rows of either pool a step; sets are kept whole."""
    batch_views: NonNegativeInt = 64
    """Rows of either side a step, at most, of which SSL sees a second view."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on all there is.

        Raises:
            ValueError: Features without the items they were made of; too little supervision.
        """
        return fit_towers(self, pools, seed=seed, journal=journal or Journal(), named=self)


class CLIPTowers(TowerSettings):
    """CLIP with encoders that learn, on the pairs alone: the baseline of `towers`."""

    uses: ClassVar[frozenset[Supervision]] = frozenset({"pairs"})

    kind: Literal["clip-towers"] = "clip-towers"
    start: Literal["cca", "ridge", "procrustes", "own", "random"] = "cca"
    """As of `towers`, of the pairs alone."""
    temperature: PositiveFloat = 0.1
    """Of CLIP."""

    def fit(self, pools: Pools, *, seed: int = 0, journal: Journal | None = None) -> AlignedModel:
        """Fit on the pairs.

        Raises:
            ValueError: Features without the items they were made of; fewer than two pairs.
        """
        if pools.n_pairs < 2:
            raise ValueError(
                f"clip-towers learns from pairs alone and was given {pools.n_pairs}: give at "
                "least 2, or use `towers`, which also takes sets and pools."
            )
        shared = set(TowerSettings.model_fields) | {"start", "temperature"}
        given: dict[str, Any] = {name: getattr(self, name) for name in shared}
        given |= {f"weight_{name}": 0.0 for name in ("sdd", "mmd", "ssl", "match")}
        options = Towers(**given)
        pools = pools.without_pools()
        return fit_towers(options, pools, seed=seed, journal=journal or Journal(), named=self)


def fit_towers(
    o: Towers, pools: Pools, *, seed: int, journal: Journal, named: Options
) -> AlignedModel:
    """Read, start, train, and put the model together.

    Args:
        o: Settings.
        pools: What to learn from, with raw items.
        seed: Of heads, batches, views and what is drawn. Encoders without weights to load begin
            alike, whatever the seed.
        journal: Receives curves, notes and checkpoints.
        named: The method that the model's card names.
    """
    data = TowerData.of(o, pools)
    for side in (data.x, data.y):
        for name, sentence in side.warnings.items():
            journal.warn(name, sentence)
    held = _held_out(o, data.pools, seed)
    learning = data.without_pairs(held)
    heads = _heads(o, learning.pools, seed, journal)
    head_rate = _head_rate(o)
    for head in heads:
        head.requires_grad_(head_rate > 0)
    towers = nn.ModuleDict(
        {
            "x": EncoderTower(data.x.network, heads[0]),
            "y": EncoderTower(data.y.network, heads[1]),
        }
    )
    trained = train_towers(
        towers,
        TowerObjective(o, towers["x"], towers["y"]),
        _batches(o, learning, seed),
        Schedule(
            o.steps,
            o.lr,
            o.weight_decay,
            warmup=o.warmup,
            check_every=o.check_every,
            patience=o.patience,
        ),
        rates={"x.head": head_rate, "y.head": head_rate},
        averaging=Averaging(o.ema, o.wise),
        engine=Engine(o.precision, o.chunk, o.device, o.trackers, o.shard),
        criterion=partial(_rank_of_held_out, data, towers, held, heads[0].spec.d_out)
        if len(held)
        else None,
        seed=seed,
        journal=journal,
        facts={
            "options": o.decisive(),
            "encoders": [data.x.backbone.fingerprint, data.y.backbone.fingerprint],
            "data": digest(data.pools),
        },
        blocks=[*data.x.backbone.blocks, *data.y.backbone.blocks],
    )
    for side, head in zip((data.x, data.y), heads, strict=True):
        # What was cut off before the trained blocks stayed where it was.
        side.backbone.network.to(next(head.parameters()).device)
    journal.leave_out(learning.all_bad(trained.bad))
    description = card(named, data.pools, seed, journal)
    description.x_encoder, description.y_encoder = data.x.described, data.y.described
    return AlignedModel(*heads, description, x_backbone=data.x.backbone, y_backbone=data.y.backbone)


def _head_rate(o: Towers) -> float:
    """Learning rate of the heads relative to that of the encoders."""
    if o.head_rate is not None:
        return o.head_rate
    return 10.0 if o.start == "random" else 0.0


def _heads(o: Towers, pools: Pools, seed: int, journal: Journal) -> tuple[Tower, Tower]:
    """Heads on the features of the frozen encoders."""
    if o.start == "own":
        if pools.x_dim != pools.y_dim:
            raise ValueError(
                f"start: own takes the features as embeddings, but x has {pools.x_dim} dimensions "
                f"and y {pools.y_dim}: that is for the two towers of one CLIP; use start: auto."
            )
        same = AffineMap(np.eye(pools.x_dim), np.zeros(pools.x_dim))
        return Tower.from_map(same), Tower.from_map(same)
    if o.start != "random":
        from setclip.methods import make_method

        _require_directions(o, pools)
        journal.note(f"The heads start from {o.start} on the features of the frozen encoders.")
        kernel = {"sharpness": o.sharpness} if o.start in ("auto", "cca") else {}
        start = make_method(o.start, **kernel).fit(pools, seed=seed, journal=journal)
        return start.x_tower, start.y_tower
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x, y = (Tower(HeadSpec(o.head, d, o.dim, o.dropout)) for d in (pools.x_dim, pools.y_dim))
    return x, y


def _require_directions(o: Towers, pools: Pools) -> None:
    """Two pairs show one direction, in which every item is +1 or -1: no pools to compare."""
    compared = (o.weight_sdd or o.weight_mmd) and min(len(pools.x_pool), len(pools.y_pool))
    if o.start != "auto" and compared and pools.n_pairs < 3 and len(pools.shared_sets) < 2:
        raise ValueError(
            f"`start: {o.start}` on {pools.n_pairs} pairs gives every item one of two embeddings, "
            "and pools of these cannot be compared: give at least 3 pairs or 2 sets, or use "
            "`start: auto`."
        )


def _batches(o: Towers, data: TowerData, seed: int) -> Callable[[int, int], Iterable[Batch]]:
    negatives = o.weight_clip and o.extra_negatives
    needs_pools = any((o.weight_sdd, o.weight_mmd, o.weight_match, o.weight_ssl, negatives))
    composition = Composition(
        o.batch_pairs,
        o.batch if needs_pools else 0,
        augment=o.augment,
        second_views=o.batch_views if o.weight_ssl else 0,
        pairs_together=data.aligned,
    )
    steps = Steps(data.sources, data.pools, composition, seed=seed, rank=rank(), world=world_size())
    return partial(load_steps, steps, workers=o.workers)


def _held_out(o: Towers, pools: Pools, seed: int) -> IntArray:
    """Pairs that choose the step; none where too few would be left to judge or to learn from."""
    count = round(o.validation * pools.n_pairs)
    if min(count, pools.n_pairs - count) < 2:
        count = 0
    return np.sort(np.random.default_rng(seed).permutation(pools.n_pairs)[:count])


def _rank_of_held_out(data: TowerData, towers: nn.ModuleDict, held: IntArray, width: int) -> float:
    """Mean log2 rank of the partner among all pairs, both ways."""
    zx, zy = (
        embedded(side, f"{name} pairs", towers[name], width)[0]
        for name, side in (("x", data.x), ("y", data.y))
    )
    units = np.full(len(zx), NO_SET)
    units[held] = held
    fold = Fold(data.pools, zx, zy, units, units)
    return log_rank(fold, lambda z: z, lambda z: z)
