"""Suites: named questions, each a list of cells."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, get_args

from setclip.benchmark.ablation import (
    ABLATED,
    ABLATED_STARTS,
    FORMS,
    TRAINED_ENCODERS,
    TRAINED_PROTEINS,
)
from setclip.benchmark.cells import ALL, BenchmarkMethod, Cell, Condition, PairCount
from setclip.benchmark.planted import PLANTED
from setclip.data.datasets import SHORT_CHAINS
from setclip.methods import (
    CCA,
    CLIP,
    METHODS,
    Auto,
    Procrustes,
    Ridge,
    SetCLIP,
    SigLIP,
    make_method,
)
from setclip.suggest import nearest

T = TypeVar("T")

ALL_PAIRS = "cca, all pairs"
BASELINE = "cca"
"""Label of the method that differences are taken to, unless a suite names another."""
OF_CONFIG = " (config)"
"""Ends the label of the method that a user's own config names."""
SEEDS = 5


class Setting(NamedTuple):
    """What is known: a condition and how many pairs."""

    condition: Condition
    pairs: PairCount


@dataclass(frozen=True)
class Fewer:
    """Where alone a slow method, or one of many data sets, is measured, to bound a suite's cost.

    Attributes:
        pairs: The numbers of pairs; None for those of the suite.
        seeds: How many seeds; None for those of the suite.
    """

    pairs: tuple[int, ...] | None = None
    seeds: int | None = None

    def __str__(self) -> str:
        """For tables: `pairs 0, 20, 200; 3 seeds`."""
        pairs = f"pairs {', '.join(map(str, self.pairs))}" if self.pairs is not None else ""
        seeds = f"{self.seeds} seed{'s' if self.seeds != 1 else ''}" if self.seeds else ""
        return "; ".join(filter(None, [pairs, seeds]))


@dataclass(frozen=True)
class Further:
    """Settings beside those of a suite, where only some of its methods are measured.

    Attributes:
        methods: Their names.
        settings: Measured on every data set of the suite.
    """

    methods: tuple[str, ...]
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Suite:
    """Methods on data under settings.

    Attributes:
        title: What the suite asks.
        datasets: Names of data.
        settings: Each is measured with each method.
        methods: Names of methods.
        set_size: Of matched sets.
        seeds: How many.
        fewer: Methods and data sets, by name, that are measured in fewer places; tables say so.
        further: What answers a question of its own, and is no row of every table.
        known: Methods that only this suite knows: name to label and configuration.
        baseline: Label of the method that differences are taken to.
    """

    title: str
    datasets: tuple[str, ...]
    settings: tuple[Setting, ...]
    methods: tuple[str, ...]
    set_size: int = 16
    seeds: int = SEEDS
    fewer: Mapping[str, Fewer] = field(default_factory=dict)
    further: tuple[Further, ...] = ()
    known: Mapping[str, tuple[str, BenchmarkMethod]] = field(default_factory=dict)
    baseline: str = BASELINE


def _settings(pairs: Sequence[int], conditions: Sequence[Condition]) -> tuple[Setting, ...]:
    return tuple(Setting(condition, count) for condition in conditions for count in pairs)


CONDITIONS: tuple[Condition, ...] = get_args(Condition)
USUAL: tuple[Condition, ...] = ("disjoint", "sets")
NAMED: dict[str, tuple[str, BenchmarkMethod]] = {
    "clip": ("clip", CLIP()),
    "siglip": ("siglip", SigLIP()),
    "ridge": ("ridge", Ridge()),
    "procrustes": ("procrustes", Procrustes()),
    "cca": ("cca", CCA()),
    "setclip-paper": ("setclip (paper)", SetCLIP(recipe="paper")),
    "setclip": ("setclip (default)", SetCLIP()),
}
"""Methods of the suites: name to label and configuration. Other names are those of methods."""

FAMILIAR = tuple(NAMED)
"""The closed forms, the pairs-only heads and the two recipes of setclip."""

NAMED["cca-pairs"] = ("cca (pairs alone)", CCA())
NAMED["kernel-cca-pairs"] = (
    "kernel cca (pairs alone)",
    CCA(sharpness=Auto().sharpness, rank=Auto().rank),
)
PAIRS_ALONE = frozenset({"cca-pairs", "kernel-cca-pairs"})
"""Names of methods that are shown the pairs alone: what the unpaired data add is seen against."""


def _others() -> Iterator[str]:
    """Methods of features that have no name of their own here, each class once."""
    seen: set[object] = {type(method) for _, method in NAMED.values()}
    for name, make in METHODS.items():
        if make not in seen and not getattr(make, "trains_encoders", False):
            seen.add(make)
            yield name


EVERY = (*FAMILIAR, *sorted(PAIRS_ALONE), *_others())
"""Every method there is."""

NAMED |= ABLATED | FORMS | ABLATED_STARTS
PAIRS = (0, 5, 10, 20, 50, 100, 200, 500)
CLOUDS = tuple(name for name in PLANTED if name != "planted-small")
DATASETS = ("emoji", "glosses", "openclipart", "mdi-icons")

# A fit of these takes ten seconds to minutes.
SLOW = Fewer(pairs=(0, 20, 100), seeds=2)
TRAINED = ("setclip-paper", "s-clip", "structure", "sotalign", "sue")
MATCHED = ("wasserstein-procrustes", "transport-procrustes", "mini-vec2vec")
OFTEN_ENOUGH: dict[str, Fewer] = {
    **dict.fromkeys((*TRAINED, *MATCHED), SLOW),
    "setclip": Fewer(pairs=(0, 20, 100, 500), seeds=3),
    "transport-cca": Fewer(seeds=3),
    **dict.fromkeys(CLOUDS[1:], Fewer(pairs=(0, 20), seeds=2)),
}
"""Where `full` measures less, so that it ends within three hours or so on two quiet cores."""
TWICE_AND_DAMAGED = (
    # With these the best of 2p pairs alone is known at every p of the tables from 5 to 200.
    Further(
        ("ridge", "procrustes", "cca-pairs", "kernel-cca-pairs"),
        _settings((40, 400), ("disjoint",)),
    ),
    Further(("auto",), _settings((0,), ("damaged-sets",))),
)
"""What `full` asks beside its tables: what pairs replace, and what damage does to sets."""

SUITES: dict[str, Suite] = {
    "demo": Suite(
        "Emoji images and their names, and two text encoders on WordNet glosses: what few pairs, "
        "unpaired data, and matched sets without a pair give",
        ("emoji", "glosses"),
        (Setting("disjoint", 0), Setting("disjoint", 50), Setting("sets", 0)),
        (*FAMILIAR, "cca-pairs", "auto"),
        seeds=2,
    ),
    "emoji": Suite(
        "Emoji images and their names",
        ("emoji",),
        _settings(PAIRS, USUAL),
        EVERY,
    ),
    "glosses": Suite(
        "WordNet glosses through two text encoders: moving between embedding models",
        ("glosses",),
        _settings(PAIRS, USUAL),
        EVERY,
    ),
    "openclipart": Suite(
        "Open Clip Art images and their captions",
        ("openclipart",),
        _settings(PAIRS, USUAL),
        EVERY,
    ),
    "mdi-icons": Suite(
        "Material Design icons and their names",
        ("mdi-icons",),
        _settings(PAIRS, USUAL),
        EVERY,
    ),
    "ablation": Suite(
        "What the terms and forms of Set-CLIP draw from pools and sets; one thing changed a row",
        ("emoji", "glosses"),
        _settings((20,), USUAL),
        (*ABLATED, *FORMS),
        set_size=64,
    ),
    "ablation-built": Suite(
        "The same on the data sets that have to be built",
        ("openclipart", "mdi-icons"),
        _settings((20,), USUAL),
        (*ABLATED, *FORMS),
        set_size=64,
    ),
    "ablation-starts": Suite(
        "What CLIP and SDD add to other starts",
        ("emoji", "glosses"),
        _settings((20,), USUAL),
        tuple(ABLATED_STARTS),
        set_size=64,
    ),
    "ablation-sets": Suite(
        "What SDD and MMD draw from matched sets, from a start that has seen the pairs alone",
        ("emoji", "glosses"),
        _settings((20, 100), ("sets",)),
        tuple(ABLATED),
        set_size=64,
    ),
    "planted": Suite(
        "Clouds with a known map: noise, stretch, width, private dimensions, imbalance, shift",
        CLOUDS,
        _settings((0, 10, 50, 200), ("disjoint", "shifted", "sets")),
        EVERY,
    ),
    "clip-art": Suite(
        "Open Clip Art with encoders trained end to end: what pools and sets add to CLIP on the "
        "same pairs, and what training adds to frozen encoders",
        ("openclipart",),
        _settings((500,), USUAL),
        (*TRAINED_ENCODERS, "auto", "cca-pairs"),
        seeds=3,
        known=TRAINED_ENCODERS,
        baseline="CLIP end to end",
    ),
    "proteins": Suite(
        "Sequences and structures of the bundled chains, superfamilies apart: composition and an "
        "untrained CDConv that does not see what the residues are",
        ("proteins",),
        _settings((37, 150), ("disjoint", "concept-sets")),
        (*FAMILIAR, "auto"),
    ),
    "protein-chains": Suite(
        "Sequences and structures of chains of up to 150 residues with encoders trained end to "
        "end, superfamilies apart, 5 % of the pairs known; CDConv sees what the residues are",
        (SHORT_CHAINS,),
        _settings((182,), ("disjoint", "concept-sets")),
        (*TRAINED_PROTEINS, "ridge", "cca", "auto"),
        seeds=3,
        fewer={n: Fewer(seeds=1) for n in TRAINED_PROTEINS if "-no-" in n or "-long" in n},
        known=TRAINED_PROTEINS,
        baseline="CLIP end to end",
    ),
    "full": Suite(
        "Every data set, method and number of pairs",
        (*DATASETS, *CLOUDS),
        _settings(PAIRS, USUAL),
        EVERY,
        fewer=OFTEN_ENOUGH,
        further=TWICE_AND_DAMAGED,
    ),
    "small": Suite(
        "Two small data sets in seconds: closed forms and a trained head",
        ("glosses-few", "planted-small"),
        _settings((0, 40), ("disjoint", "damaged-sets")),
        ("ridge", "cca", "cca-pairs", "clip"),
        set_size=8,
        seeds=2,
        fewer={"clip": Fewer(pairs=(40,), seeds=1)},
    ),
}


def baseline_of(suite: str) -> str:
    """Label of the method that differences are taken to in a suite, or in one's own config."""
    return SUITES[suite].baseline if suite in SUITES else BASELINE


def cells_of(
    suite: str | Suite,
    *,
    methods: Sequence[str] | None = None,
    pairs: Sequence[PairCount] | None = None,
    seeds: int | Sequence[int] | None = None,
    conditions: Sequence[Condition] | None = None,
    set_size: int | None = None,
) -> list[Cell]:
    """The cells of a suite, or of the part of it that is asked for.

    Args:
        suite: Its name, or one of your own.
        methods: Names of methods instead of the suite's; see :data:`NAMED` and
            :data:`setclip.methods.METHODS`. The row of all pairs stays.
        pairs: Numbers of pairs instead of the suite's, under each of its conditions; "all" is that
            row. What is asked for is measured also where the suite has it in `fewer`. Where pairs
            or conditions are given, what the suite has in `further` is left out.
        seeds: How many seeds, or which; likewise.
        conditions: Conditions instead of the suite's.
        set_size: Size of matched sets instead of the suite's.

    Raises:
        ValueError: An unknown suite, method or condition, a number of pairs below 0, no seed, or
            sets of no item.
    """
    chosen = suite if isinstance(suite, Suite) else _known("suite", suite, SUITES)
    if set_size is not None and set_size < 1:
        raise ValueError(f"set_size is {set_size}, must be 1 or more: try 16.")
    names = chosen.methods if methods is None else methods
    named = {name: named_method(name, chosen.known) for name in names}
    count = chosen.seeds if seeds is None else seeds
    drawn = range(count) if isinstance(count, int) else list(dict.fromkeys(count))
    if not drawn:
        raise ValueError(
            f"seeds is {count}: give how many, 1 or more. Which ones are told by a comma: "
            "`--seeds 0,` is seed 0 alone."
        )
    size = chosen.set_size if set_size is None else set_size

    def drawn_of(*of: str) -> list[int]:
        """The seeds of what these have in common, a data set and a method."""
        least = [chosen.fewer.get(one, Fewer()).seeds for one in of] if seeds is None else []
        return [seed for seed in drawn if all(few is None or seed < few for few in least)]

    def skipped(setting: Setting, *of: str) -> bool:
        least = [chosen.fewer.get(one, Fewer()).pairs for one in of] if pairs is None else []
        return any(few is not None and setting.pairs not in few for few in least)

    asked = [(setting, name) for setting in _asked(chosen, pairs, conditions) for name in named]
    further = chosen.further if pairs is None and conditions is None else ()
    more = [(s, name) for some in further for s in some.settings for name in some.methods]
    places = [
        (dataset, setting, name)
        for dataset in chosen.datasets
        for setting, name in asked
        if not skipped(setting, dataset, name)
    ]
    places += [(dataset, *place) for dataset in chosen.datasets for place in more]
    cells = [
        Cell(
            dataset,
            setting.condition,
            setting.pairs,
            seed,
            named[name][1],
            named[name][0],
            size,
            alone=name in PAIRS_ALONE,
        )
        for dataset, setting, name in places
        if name in named
        for seed in drawn_of(dataset, name)
    ]
    bounds = [
        Cell(dataset, "disjoint", ALL, seed, CCA(covariances="all", folds=3), ALL_PAIRS)
        for dataset in chosen.datasets
        for seed in drawn_of(dataset)
    ]
    return cells + bounds


def named_method(
    name: str, own: Mapping[str, tuple[str, BenchmarkMethod]] | None = None
) -> tuple[str, BenchmarkMethod]:
    """Label and configuration of a method by name.

    Args:
        name: Of a method, of :data:`NAMED`, or of `own`.
        own: Methods that a suite has beside those.

    Raises:
        ValueError: No method has that name.
    """
    named = NAMED | dict(own or {})
    if name in named:
        return named[name]
    known = dict.fromkeys((*named, *METHODS))
    if name not in METHODS:
        raise ValueError(
            f"no method is called {name!r}.{nearest(name, known)} Choose among: {', '.join(known)}."
        )
    method = make_method(name)
    assert isinstance(method, BenchmarkMethod)
    return name, method


def command(suite: str, **asked: Any) -> str:
    """The command that measures part of a suite; arguments as of :func:`cells_of`."""
    options = [
        f"--{name.replace('_', '-')} {_option(value)}"
        for name, value in asked.items()
        if value is not None
    ]
    return " ".join(["setclip bench", shlex.quote(suite), *options])


def name_of(label: str, own: Mapping[str, tuple[str, BenchmarkMethod]] | None = None) -> str:
    """The name that `--methods` takes for what a table calls `label`; of `own` methods too."""
    if label.endswith(OF_CONFIG):
        return "config"
    named = NAMED | dict(own or {})
    return {shown: name for name, (shown, _) in named.items()}.get(label, label)


def label_of(name: str, own: Mapping[str, tuple[str, BenchmarkMethod]] | None = None) -> str:
    """What a table calls a method; arguments as of :func:`named_method`. Else the name itself."""
    try:
        return named_method(name, own)[0]
    except ValueError:
        return name


def _option(value: int | str | Sequence[Any]) -> str:
    return shlex.quote(str(value) if isinstance(value, int | str) else ",".join(map(str, value)))


def _asked(
    suite: Suite, pairs: Sequence[PairCount] | None, conditions: Sequence[Condition] | None
) -> list[Setting]:
    for condition in conditions or ():
        _known("condition", condition, dict.fromkeys(CONDITIONS, None))
    for count in pairs or ():
        if count != ALL and (not isinstance(count, int) or count < 0):
            raise ValueError(f"pairs holds {count!r}: give numbers of 0 or more, or {ALL!r}.")
    kinds = list(dict.fromkeys(s.condition for s in suite.settings))
    return [
        Setting(condition, count)
        for condition in (kinds if conditions is None else conditions)
        for count in (_counts(suite, condition) if pairs is None else dict.fromkeys(pairs))
        if count != ALL
    ]


def _counts(suite: Suite, condition: Condition) -> list[PairCount]:
    own = [s.pairs for s in suite.settings if s.condition == condition]
    return own or list(dict.fromkeys(s.pairs for s in suite.settings))


def _known(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise ValueError(
            f"no {kind} is called {name!r}.{nearest(name, known)} Choose among: {', '.join(known)}."
        )
    return known[name]
