"""What a run may say: pydantic models, the only place where user input is validated."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from setclip.config.layouts import AnyZeroShot, LayoutData, Templates
from setclip.config.section import TEST_FRACTION, Name, Section, Share, TestShare
from setclip.data.bad_items import BAD_LIMIT
from setclip.data.captions import merge_captions
from setclip.data.manifest import Columns, Manifest, Modality, read_manifest
from setclip.data.splits import NEAR_DUPLICATE, Condition
from setclip.encoders.choices import DEFAULTS, EncoderChoice, kind_of_name
from setclip.encoders.options import EncoderOptions
from setclip.evaluation.zeroshot import TEMPLATES
from setclip.methods import AnyMethod
from setclip.seeds import LARGEST_SEED

NO_PICTURES = ("glosses", "proteins", "proteins-typed", "protein-chains", "protein-chains-150")
"""Bundled data whose x are no pictures."""


class Side(Section):
    """One modality of a manifest."""

    column: Name
    """Column that holds its items: image paths, or texts."""
    modality: Modality
    """What the items are."""


class ManifestData(Section):
    """A table of items, one row an item; an empty cell means that this side is not known."""

    kind: Literal["manifest"]
    path: Name
    """CSV, TSV, JSONL or Parquet file, or a folder of images with .txt captions."""
    x: Side
    """First modality."""
    y: Side
    """Second modality."""
    set_column: Name | None = None
    """Column that names the set of an unpaired row: items of a set belong together."""
    group_column: Name | None = None
    """Column that ties rows together: rows of one group are never split into train and test."""
    label_column: Name | None = None
    """Column that names the class of a row, for zero-shot tests and probes."""
    split_column: Name | None = None
    """Column that says train or test."""
    merge_captions: bool = False
    """Whether rows that pair one picture with several texts are one item with several captions; by
    default each is a pair of its own. A cell may also hold a list of captions."""
    test_fraction: TestShare | None = None
    """Share of the pairs held out for the test, by group: 0.2 unless there is a split column."""
    near_duplicate: Share = NEAR_DUPLICATE
    """Cosine of features above which two rows are one group."""
    bad_limit: Share = BAD_LIMIT
    """Share of bad items above which the run stops; below, they are skipped and listed."""
    encoding: str = "utf-8"
    """Of CSV and JSONL, as Python names it."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Of CSV; by default the one that shows the named columns."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(
                "no such encoding; common ones: utf-8, latin-1, cp1252, utf-16"
            ) from None
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ManifestData:
        if self.x.column == self.y.column:
            raise ValueError(f"x and y are both column {self.x.column!r}; give one column each")
        if self.merge_captions and self.x.modality == self.y.modality:
            raise ValueError(
                f"merge_captions needs pictures and texts, but x and y are both {self.x.modality}; "
                "write the texts of an item as a list, in one row"
            )
        if self.split_column and self.test_fraction is not None:
            raise ValueError(
                f"split_column ({self.split_column!r}) and test_fraction ({self.test_fraction}) "
                "both say what the test is; keep one"
            )
        return self

    def read(self, *, seed: int = 0) -> Manifest:
        """Read the rows; no picture is opened.

        Args:
            seed: Decides nothing here: a manifest says itself what is known.

        Raises:
            ManifestError: It cannot be read.
        """
        manifest = read_manifest(
            self.path, self.columns, encoding=self.encoding, delimiter=self.delimiter
        )
        return merge_captions(manifest) if self.merge_captions else manifest

    @property
    def source(self) -> str:
        """What to call it in messages."""
        return self.path

    @property
    def held_out(self) -> float | None:
        """Share of the pairs to hold out; None where the split column says which."""
        return None if self.split_column else self.test_fraction or TEST_FRACTION

    @property
    def modalities(self) -> dict[str, Modality]:
        """Modality of each side."""
        return {"x": self.x.modality, "y": self.y.modality}

    @property
    def columns(self) -> Columns:
        """The columns as the reader of manifests takes them."""
        return Columns(
            x=self.x.column,
            y=self.y.column,
            x_modality=self.x.modality,
            y_modality=self.y.modality,
            set=self.set_column,
            group=self.group_column,
            label=self.label_column,
            split=self.split_column,
        )


class ArraysData(Section):
    """Ready features in .npy, .safetensors or .parquet files; `file#name` picks one of several."""

    kind: Literal["arrays"]
    x_pairs: Name | None = None
    """Features of the first modality of the known pairs."""
    y_pairs: Name | None = None
    """Features of the second, row-aligned."""
    x_pool: Name | None = None
    """Features of items known only by the first modality."""
    y_pool: Name | None = None
    """Features of items known only by the second."""
    x_sets: Name | None = None
    """Set of each row of `x_pool`: whole numbers (-1 for none) or names."""
    y_sets: Name | None = None
    """Set of each row of `y_pool`, in the same ids or names."""
    x_test: Name | None = None
    """Features of test pairs, never trained on."""
    y_test: Name | None = None
    """Features of the second modality of the test pairs, row-aligned."""
    near_duplicate: Share = NEAR_DUPLICATE
    """Cosine of features above which a test item counts as seen in training, and pairs stay
    together where `setclip bench` splits them. Raise it where unlike items are as near as that."""

    @property
    def files(self) -> dict[str, str]:
        """The files that were given, by field: arguments of `read_feature_files`."""
        return self.model_dump(exclude={"kind", "near_duplicate"}, exclude_none=True)

    @model_validator(mode="after")
    def _complete(self) -> ArraysData:
        for one, other in (("x_pairs", "y_pairs"), ("x_test", "y_test"), ("x_sets", "y_sets")):
            if (one in self.files) != (other in self.files):
                have, lack = (one, other) if one in self.files else (other, one)
                raise ValueError(f"{have} is given without {lack}; they come together")
        for side in "xy":
            if not {f"{side}_pairs", f"{side}_pool"} & set(self.files):
                raise ValueError(f"no {side} to learn from; give {side}_pairs or {side}_pool")
        return self


class BundledData(Section):
    """Real data of matched items, known by name, the pairing hidden as the protocol says."""

    kind: Literal["bundled"]
    name: Literal[
        "emoji",
        "glosses",
        "proteins",
        "proteins-typed",
        "openclipart",
        "mdi-icons",
        "protein-chains",
        "protein-chains-150",
    ] = "emoji"
    """emoji, glosses and proteins ship with setclip, the others by `setclip data build`."""
    folder: Name | None = None
    """Where a built one lies, if not in its usual place."""
    pairs: NonNegativeInt = 50
    """How many pairs stay known."""
    condition: Condition = "disjoint"
    """What is known of the rest: pools without common items, with them, random matched sets, or
    sets of one concept (of proteins: a superfamily)."""
    set_size: PositiveInt = 16
    """Items of a matched set, on each side."""
    test_fraction: TestShare = TEST_FRACTION
    """Share of the items held out for the test, by group."""


Data = Annotated[ManifestData | ArraysData | BundledData | LayoutData, Field(discriminator="kind")]


MethodChoice = Annotated[
    AnyMethod, BeforeValidator(kind_of_name, json_schema_input_type=str | AnyMethod)
]


class Encoders(Section):
    """The encoder of each side; by default the one that suits its modality."""

    x: EncoderChoice | None = None
    y: EncoderChoice | None = None


class EvaluationConfig(Section):
    """How the fitted model is measured."""

    ks: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10)
    """Ranks at which recall is read."""
    templates: Templates = TEMPLATES
    """Sentences that a class name is put into, at {}, for zero-shot tests."""
    draws: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap draws behind each interval."""
    zero_shot: tuple[AnyZeroShot, ...] = ()
    """Further sets of pictures and classes to test on."""


class RunConfig(Section):
    """One run: data, encoders, method, and what to make of the result."""

    data: Data
    """What to learn from."""
    encoders: Encoders | None = None
    """Encoders of the raw items; arrays need none, bundled data name their own."""
    method: MethodChoice
    """How to align: a name, or a name with hyper-parameters."""
    compare: tuple[MethodChoice, ...] = ()
    """Methods to fit and show next to it."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the fitted model is measured."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    """Of splits, starts and batches."""
    output: Annotated[Path, AfterValidator(Path.expanduser)] = Path("runs/run")
    """Folder of the run; in a config file by default runs/<name of the file>."""
    report: bool = True
    """Whether to write report.html."""

    @property
    def encoder_options(self) -> dict[str, EncoderOptions]:
        """Encoder of each side of a manifest, by default the one that suits its modality.

        Arrays need none, and bundled data name their own.
        """
        if not isinstance(self.data, ManifestData | LayoutData):
            return {}
        return {
            side: getattr(self.encoders, side, None) or DEFAULTS[modality]
            for side, modality in self.data.modalities.items()
        }

    @model_validator(mode="after")
    def _zero_shot_fits(self) -> RunConfig:
        tests = self.evaluation.zero_shot
        if isinstance(self.data, ManifestData | LayoutData):
            fits = self.data.modalities == {"x": "image", "y": "text"}
        else:
            fits = self.data.kind == "bundled" and self.data.name not in NO_PICTURES
        if tests and not fits:
            raise ValueError(
                "evaluation.zero_shot needs pictures as x and texts as y, with their encoders; "
                "remove it, or give such data"
            )
        if len({test.name for test in tests}) < len(tests):
            raise ValueError("two tests of evaluation.zero_shot have one name; rename one")
        return self

    @model_validator(mode="after")
    def _encoders_fit(self) -> RunConfig:
        if not isinstance(self.data, ManifestData | LayoutData):
            if self.encoders is not None:
                why = (
                    "arrays are features already"
                    if self.data.kind == "arrays"
                    else ("bundled data name their own")
                )
                raise ValueError(f"encoders: {why}; remove encoders")
            return self
        for side, modality in self.data.modalities.items():
            options = self.encoder_options[side]
            if options.reads != modality:
                raise ValueError(
                    f"encoders.{side}: {options.label!r} reads {options.reads}, but {side} of the "
                    f"data is {modality}; choose one that reads {modality}, such as "
                    f"{DEFAULTS[modality].kind}"
                )
        return self
