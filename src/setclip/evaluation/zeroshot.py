"""Zero-shot classification: items against class names written into templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setclip.evaluation.retrieval import ranks
from setclip.evaluation.rows import DoubleArray, FloatArray, check_widths, unit_rows

# Plain wordings that fit photographs and drawings alike; give your own for other domains.
TEMPLATES = ("{}", "a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}")


@dataclass(frozen=True, eq=False)
class Prototypes:
    """One direction per class in the shared space.

    Attributes:
        vectors: Unit rows. Shape [classes, d].
        class_names: Class of each row.
        templates: Wordings that were averaged.
    """

    vectors: FloatArray
    class_names: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """Zero-shot accuracy, with the templates it depends on.

    Attributes:
        accuracy: Top-k accuracy in percent, by k.
        chance: The same of a constant embedding.
        per_class: Top-1 accuracy in percent of each class that has items.
        credits: Per item, the probability of a hit among the first k, by k. Shape [n] each.
        templates: Wordings that were averaged.
    """

    accuracy: dict[int, float]
    chance: dict[int, float]
    per_class: dict[str, float]
    credits: dict[int, DoubleArray]
    templates: tuple[str, ...]


def write_prompts(class_names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Every class in every template, class by class.

    Raises:
        ValueError: No class, no template, or a template without `{}`.
    """
    if not class_names or not templates:
        raise ValueError(
            f"{len(class_names)} class names and {len(templates)} templates: give at least one of "
            "each."
        )
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"template {template!r} has no {{}} to hold the class name.")
    return [template.replace("{}", name) for name in class_names for template in templates]


def encode_prototypes(
    class_names: Sequence[str],
    encode: Callable[[list[str]], npt.ArrayLike],
    *,
    templates: Sequence[str] = TEMPLATES,
) -> Prototypes:
    """Write the prompts, embed them and average them per class.

    Args:
        class_names: One or more.
        encode: From texts to embeddings in the shared space, [texts, d].
        templates: Wordings, each with `{}` in the place of the class name.

    Raises:
        ValueError: Bad templates, or embeddings that do not fit the prompts.
    """
    prompts = write_prompts(class_names, templates)
    vectors = np.asarray(encode(prompts))
    if vectors.ndim != 2 or len(vectors) != len(prompts):
        raise ValueError(
            f"encode returned shape {list(vectors.shape)} for {len(prompts)} texts, expected one "
            "row a text."
        )
    grouped = vectors.reshape(len(class_names), len(templates), -1)
    return average_prototypes(grouped, class_names, templates=templates)


def average_prototypes(
    embeddings: npt.ArrayLike, class_names: Sequence[str], *, templates: Sequence[str]
) -> Prototypes:
    """Mean of the unit embeddings of a class's prompts, scaled to length one again.

    Args:
        embeddings: Shape [classes, templates, d].
        class_names: Length [classes].
        templates: Length [templates].

    Raises:
        ValueError: Shapes that do not fit, NaN or zero rows, or templates that cancel out.

    Source:
        Radford et al., "Learning transferable visual models", arXiv 2103.00020, section 3.1.4.
    """
    array = np.asarray(embeddings)
    if array.ndim != 3 or array.shape[:2] != (len(class_names), len(templates)):
        raise ValueError(
            f"prompt embeddings have shape {list(array.shape)}, expected [{len(class_names)} "
            f"classes, {len(templates)} templates, dimensions]."
        )
    units = unit_rows("prompt embeddings", array.reshape(-1, array.shape[2]))
    means = units.reshape(array.shape).mean(axis=1)
    return Prototypes(
        unit_rows("class prototypes", means), tuple(map(str, class_names)), tuple(templates)
    )


def zero_shot_numbers(
    name: str,
    z: npt.ArrayLike,
    labels: Sequence[str],
    encode: Callable[[list[str]], npt.ArrayLike],
    *,
    templates: Sequence[str] = TEMPLATES,
) -> dict[str, float]:
    """Zero-shot accuracy of one named test, for a table of results.

    Args:
        name: Of the test.
        z: Embeddings of its items. Shape [n, d].
        labels: Class name of each item. Length n; all classes of the test occur among them.
        encode: From texts to embeddings in the shared space.
        templates: Wordings, each with `{}` in the place of the class name.

    Returns:
        `zero_shot.<name>@k` for k of 1 and 5 (fewer classes: of 1 alone), in percent, the same as
        `zero_shot_chance`, and the number of items as `zero_shot_items.<name>`.
    """
    classes = sorted(set(labels))
    prompts = encode_prototypes(classes, encode, templates=templates)
    ks = (1, 5) if len(classes) > 5 else (1,)
    shot = zero_shot(z, np.searchsorted(classes, np.asarray(labels)), prompts, ks=ks)
    return {
        **{f"zero_shot.{name}@{k}": shot.accuracy[k] for k in ks},
        **{f"zero_shot_chance.{name}@{k}": shot.chance[k] for k in ks},
        f"zero_shot_items.{name}": float(len(labels)),
    }


def zero_shot(
    z: npt.ArrayLike,
    labels: npt.ArrayLike,
    prototypes: Prototypes,
    *,
    ks: Sequence[int] = (1, 5),
    block: int | None = None,
) -> ZeroShot:
    """Top-k accuracy of the nearest prototypes by cosine, ties settled by expectation.

    Args:
        z: Embeddings of the items. Shape [n, d].
        labels: Class of each item, an index into `prototypes.class_names`. Shape [n].
        prototypes: From `encode_prototypes` or `average_prototypes`.
        ks: Cut-offs; with k classes or fewer, top-k is 100.
        block: Items to score at once; by default as many as keep the scores at 32 MB.

    Raises:
        ValueError: NaN or zero rows, differing d, or a label that is no class.
    """
    items = unit_rows("z", z)
    check_widths(z=items, prototypes=prototypes.vectors)
    truth = np.asarray(labels)
    classes = len(prototypes.class_names)
    if truth.shape != (len(items),) or truth.dtype.kind not in "iu":
        raise ValueError(
            f"labels are {truth.dtype} of shape {list(truth.shape)}, expected {len(items)} class "
            "numbers. Look names up in class_names first."
        )
    bad = (truth < 0) | (truth >= classes)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"label {int(truth[row])} of row {row} is none of the classes 0 to {classes - 1}."
        )
    found = ranks(items, prototypes.vectors, truth, np.arange(classes), block=block)
    credits = {k: found.credit(k) for k in ks}
    first = found.credit(1)
    guess = found.at_chance()
    return ZeroShot(
        accuracy={k: 100.0 * float(credit.mean()) for k, credit in credits.items()},
        chance={k: 100.0 * float(guess.credit(k).mean()) for k in ks},
        per_class={
            prototypes.class_names[c]: 100.0 * float(first[truth == c].mean())
            for c in np.unique(truth)
        },
        credits=credits,
        templates=prototypes.templates,
    )
