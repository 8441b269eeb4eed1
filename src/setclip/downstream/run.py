"""The comparison: encoders asked about tasks, cell by cell, to one table; resumable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from setclip.config.errors import explain
from setclip.config.source import ConfigError, Source
from setclip.data.atomic import write_json
from setclip.data.bad_items import BadItem, write_bad_items
from setclip.data.datasets import TYPED_PROTEINS
from setclip.data.proteins import load_proteins
from setclip.downstream.cells import Cell, Result, measure
from setclip.downstream.finetune import FineTuning
from setclip.downstream.models import Asked, open_model
from setclip.downstream.table import Line, lines
from setclip.downstream.tasks import TEST_FRACTION, SplitBy, Task, TaskName, make_task, read_task
from setclip.downstream.ways import Way
from setclip.suggest import nearest

Share = Annotated[float, Field(gt=0, le=1)]

# Paths may hold an equals sign as well, behind a slash or a brace.
_LABELLED = re.compile(r"([^/\\{=]+)=(.+)", re.DOTALL)

SETS = ("proteins", "protein-chains")


T = TypeVar("T")


def _each_once(values: list[T]) -> list[T]:
    """What was written twice would count as further seeds."""
    return list(dict.fromkeys(values))


class Comparison(BaseModel):
    """What is asked of whom."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    models: Annotated[dict[str, str], Field(min_length=1)]
    """Encoders by label, as :func:`setclip.downstream.models.open_model` takes them."""
    tasks: Annotated[list[TaskName], Field(min_length=1), AfterValidator(_each_once)] = ["fold"]
    """Which."""
    data: str = "protein-chains"
    """protein-chains, proteins, or the folder of a released set."""
    labels: Annotated[list[Share], Field(min_length=1), AfterValidator(_each_once)] = [1.0]
    """Shares of the labels that may be seen."""
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1), AfterValidator(_each_once)] = [0]
    """Of labels, random weights and training; without split_seed of the split of chains, too."""
    ways: Annotated[list[Way], Field(min_length=1), AfterValidator(_each_once)] = ["probe", "knn"]
    """How to ask."""
    baseline: str = ""
    """Label of the encoder that others are compared with; the last by default."""
    split: SplitBy | None = None
    """Of a set of chains: by superfamily, as runs split it, or by cluster of 35 % identity; by
    default superfamily for fold and cluster for the others."""
    split_seed: NonNegativeInt | None = None
    """One split for all seeds."""
    max_residues: PositiveInt | None = None
    """Leave out longer chains of a set of chains."""
    least: PositiveInt | None = None
    """Leave out classes of a set of chains with fewer; by default 10, of GO 20."""
    finetune: FineTuning = FineTuning()
    """How encoders learn."""

    @model_validator(mode="after")
    def _compares_with_one_of_them(self) -> Comparison:
        if self.baseline and self.baseline not in self.models:
            raise ValueError(
                f"no encoder is labelled {self.baseline!r}.{nearest(self.baseline, self.models)} "
                f"Compare with one of: {', '.join(self.models)}"
            )
        return self

    @property
    def compared_with(self) -> str:
        """Label of the baseline."""
        return self.baseline or list(self.models)[-1]

    def task(self, name: TaskName, seed: int) -> Task:
        """One task with all its labels, split for one seed.

        Raises:
            ValueError: The data hold no such task.
            FileNotFoundError: The set was not built yet.
            BadItemError: A file of a released set is missing or cannot be read.
        """
        if self.data not in SETS:
            if not Path(self.data).is_dir():
                raise ValueError(
                    f"there is no folder {self.data}: give that of a released set, or one of "
                    f"{', '.join(SETS)}."
                )
            return read_task(self.data, name)
        return make_task(
            load_proteins(self.data),
            name,
            split=self.split,
            max_residues=self.max_residues,
            least=self.least,
            seed=seed if self.split_seed is None else self.split_seed,
        )


def comparison_of(models: Sequence[str], **options: Any) -> Comparison:
    """A comparison as the command line writes it.

    Args:
        models: Encoders, each as "label=encoder" or the encoder alone, which is its own label.
        options: Other fields of :class:`Comparison`; None leaves the default, `finetune` is YAML.

    Raises:
        ConfigError: A field that there is not, or a value that is not allowed.
    """
    named: dict[str, str] = {}
    for text in models:
        labelled = _LABELLED.match(text)
        label, described = labelled.groups() if labelled else (text, text)
        if label in named:
            problem = f"models: two are called {label!r}; write another name before the ="
            raise ConfigError("setclip downstream", [problem])
        named[label] = described
    values = {name: value for name, value in options.items() if value is not None}
    values["models"] = named
    try:
        if "finetune" in values:
            values["finetune"] = yaml.safe_load(values["finetune"])
        return Comparison.model_validate(values)
    except ValidationError as error:
        problems = explain(error, Source("setclip downstream", values), Comparison)
        raise ConfigError("setclip downstream", problems) from None
    except yaml.YAMLError:
        problem = f"finetune: {values['finetune']!r} is no YAML; write '{{steps: 800, lr: 3e-4}}'"
        raise ConfigError("setclip downstream", [problem]) from None


def run_downstream(
    comparison: Comparison,
    output: Path,
    *,
    fresh: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[Line]:
    """Measure all cells and write `comparison.json`.

    Args:
        comparison: What is asked of whom.
        output: Folder of the results; what is there already is not measured again.
        fresh: Measure everything again.
        progress: Show bars.
        say: Is told what happens, a sentence each.

    Returns:
        The lines of the table.

    Raises:
        ValueError: An encoder, task or way that does not exist or does not fit.
    """
    results: list[Result] = []
    for cell in cells(comparison, output, say):
        try:
            result = measure(cell, output, fresh=fresh, progress=progress)
        except ValueError as error:  # so few labels may be of one class
            say(
                f"{cell.task.name}, labels {cell.share:.0%}, seed {cell.seed}: {cell.label} cannot "
                f"be asked by {cell.way}: {error}"
            )
            continue
        value = result.answer.value(next(iter(cell.task.tests)))
        say(
            f"{cell.task.name}, labels {cell.share:.0%}, seed {cell.seed}: {cell.label}, "
            f"{cell.way}: {value:.1f} %"
        )
        results.append(result)
    found = lines(results, baseline=comparison.compared_with)
    write_json(output / "comparison.json", [line.as_json() for line in found])
    return found


def cells(
    comparison: Comparison, output: Path, say: Callable[[str], None] = lambda sentence: None
) -> Iterator[Cell]:
    """All cells, one task and seed after the other; ways that an encoder does not have left out."""
    opened: dict[tuple[str, int], Asked] = {}
    told: set[str] = set()

    def once(sentence: str) -> None:
        if sentence and sentence not in told:
            told.add(sentence)
            say(sentence)

    for name in comparison.tasks:
        for seed in comparison.seeds:
            task = comparison.task(name, seed)
            once(str(task))
            once(_listed(task, output))
            for label, described in comparison.models.items():
                if (label, seed) not in opened:
                    opened[label, seed] = open_model(described, seed=seed)
                asked = opened[label, seed]
                once(_seen(label, asked, comparison, task, seed))
                for share in comparison.labels:
                    few = task.few_labels(share, seed=seed)
                    for way in comparison.ways:
                        if _can(asked, way):
                            yield Cell(few, share, label, asked, way, seed, comparison.finetune)
                        else:
                            once(f"{label} cannot be asked by {way}.")


def _listed(task: Task, output: Path) -> str:
    """Writes down the chains that cannot be used, if any, and says where."""
    if not task.bad:
        return ""
    path = output / f"{task.name}-bad_items.jsonl"
    bad = [BadItem(i + 1, task.name, one.item, one.reason) for i, one in enumerate(task.bad)]
    write_bad_items(path, bad)
    return f"Chains that cannot be used: {len(bad):,}, listed in {path}"


def _can(asked: Asked, way: Way) -> bool:
    if way == "finetune":
        return asked.fresh is not None
    if "-to-" in way:
        return asked.partner is not None and asked.partner.reads != asked.reads
    return True


def _seen(label: str, asked: Asked, comparison: Comparison, task: Task, seed: int) -> str:
    """Says so where an encoder was aligned on test chains, if without their labels."""
    if asked.aligned_on is None or comparison.data not in SETS:
        return ""
    split_seed = seed if comparison.split_seed is None else comparison.split_seed
    held_out = (comparison.data, split_seed, TEST_FRACTION)
    data, own, share = asked.aligned_on
    # The chains and their split are the same, whether an encoder sees what the residues are.
    chains = "proteins" if data == TYPED_PROTEINS else data
    if (chains, own, share) == held_out and task.split == "superfamily":
        return ""
    return (
        f"{label} was aligned on {data} with seed {own}, and may have seen test chains of "
        f"{task.name} with seed {seed}, without their labels."
    )
