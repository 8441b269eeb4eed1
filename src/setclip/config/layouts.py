"""Sets of pictures and captions in the layouts they are distributed in, and what is known of them.

Each layout is a section with the fields of its reader in `data/layouts/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, model_validator

from setclip.config.section import TEST_FRACTION, Name, Section, Share, TestShare
from setclip.data.bad_items import BAD_LIMIT
from setclip.data.layouts import classes, coco, flickr, hub, karpathy, webdataset
from setclip.data.layouts.merge import Known, Learn, Member, Rest, merge
from setclip.data.layouts.rows import Rows
from setclip.data.manifest import Manifest, Modality
from setclip.data.splits import NEAR_DUPLICATE


def _with_place(templates: tuple[str, ...]) -> tuple[str, ...]:
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(f"{template!r} needs {{}} once, where the class name goes")
    return templates


Templates = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_with_place)]


class LayoutSet(Section):
    """One set of pictures and captions."""

    name: Name
    """What it is called in results and in the list of bad items."""
    learn: Learn = "all"
    """What its training part gives: pairs and pools, pairs alone, pools alone (for a shift between
    pairs and pools), or nothing (it only measures)."""
    measure: bool = True
    """Whether its test part is measured."""
    split: Literal["train", "test"] | None = None
    """What all of it is, where the layout does not say; by default a share is held out."""


class _WithImages(LayoutSet):
    path: Name
    """File of the captions."""
    images: Name
    """Folder of the pictures."""


class KarpathySet(_WithImages):
    """Karpathy-style JSON: RSICD, UCM- and Sydney-captions, COCO, Flickr."""

    layout: Literal["karpathy"]

    def read(self) -> Rows:
        """Read the rows."""
        return karpathy.read(self.path, images=self.images)


class CocoSet(_WithImages):
    """COCO's captions JSON, one a part of the set: give `split`."""

    layout: Literal["coco"]

    def read(self) -> Rows:
        """Read the rows."""
        return coco.read(self.path, images=self.images)


class FlickrSet(_WithImages):
    """results.csv of Flickr30k, Flickr8k.token.txt, or captions.txt."""

    layout: Literal["flickr"]
    train_list: Name | None = None
    """File that names the pictures of the training part, one a line."""
    test_list: Name | None = None
    """File that names the pictures of the test; with both lists, the others are validation."""

    def read(self) -> Rows:
        """Read the rows."""
        return flickr.read(
            self.path, images=self.images, train_list=self.train_list, test_list=self.test_list
        )


class ClassFolders(Section):
    """A folder with a folder of pictures a class."""

    name: Name
    """What it is called in results and in the list of bad items."""
    layout: Literal["class-folders"]
    path: Name
    """The folder."""
    names: dict[str, str] = Field(default_factory=dict)
    """What to call classes whose folder's name does not say it."""

    def read(self) -> Rows:
        """Read the rows."""
        return classes.read_folders(self.path, names=self.names)


class ClassList(Section):
    """A list of pictures with their classes, or a folder with a list of pictures a class."""

    name: Name
    """What it is called in results and in the list of bad items."""
    layout: Literal["class-list"]
    path: Name
    """The list, or the folder of lists."""
    images: Name
    """Folder of the pictures."""
    names: dict[str, str] = Field(default_factory=dict)
    """What to call classes whose name in the list does not say it."""

    def read(self) -> Rows:
        """Read the rows."""
        return classes.read_list(self.path, images=self.images, names=self.names)


class ClassFoldersSet(ClassFolders, LayoutSet):
    """Pictures of classes among the data: a pool of x, and labels."""


class ClassListSet(ClassList, LayoutSet):
    """Pictures of classes among the data: a pool of x, and labels."""


class WebDatasetSet(LayoutSet):
    """Tar shards of pictures and texts: CC3M and its kin."""

    layout: Literal["webdataset"]
    path: Name
    """A tar file, a folder of them, or a pattern such as shards/{00000..00331}.tar."""
    caption_key: Name = "caption"
    """Field of the .json members that holds the caption, where there is no .txt."""

    def read(self) -> Rows:
        """Read the rows."""
        return webdataset.read(self.path, caption_key=self.caption_key)


class HubSet(LayoutSet):
    """A data set of the Hugging Face hub, or a folder that its `datasets` library wrote."""

    layout: Literal["hub"]
    dataset: Name
    """Its name on the hub, or the folder."""
    config: Name | None = None
    """Its configuration, where it has several."""
    hub_split: Name = "train"
    """Which of its splits."""
    image: Name = "image"
    """Column of pictures."""
    caption: Name = "caption"
    """Column of captions: texts, or lists of texts."""
    label: Name | None = None
    """Column of classes."""
    streaming: bool = True
    """Whether to fetch row after row rather than download all first."""
    rows: PositiveInt | None = None
    """Read the first so many; by default all."""

    def read(self) -> Rows:
        """Read the rows."""
        return hub.read(
            self.dataset,
            config=self.config,
            split=self.hub_split,
            image=self.image,
            caption=self.caption,
            label=self.label,
            streaming=self.streaming,
            rows=self.rows,
        )


AnyLayoutSet = Annotated[
    KarpathySet | CocoSet | FlickrSet | ClassFoldersSet | ClassListSet | WebDatasetSet | HubSet,
    Field(discriminator="layout"),
]


class LayoutData(Section):
    """Sets of pictures (x) and captions (y), read as one, their pairing hidden as a study says."""

    kind: Literal["layout"]
    sets: Annotated[tuple[AnyLayoutSet, ...], Field(min_length=1)]
    """The sets; several are merged."""
    pairs: NonNegativeInt | None = None
    """How many pairs stay known, of all sets together."""
    pair_share: Share | None = None
    """The same as a share of the pairs of the training part; by default all stay known."""
    rest: Rest = "overlapping"
    """What is known of the others: pictures and captions in unrelated order (overlapping), of one
    half the picture and of the other the caption (disjoint), in matched sets (sets), pictures alone
    (x), captions alone (y), nothing (none)."""
    pool: PositiveInt | None = None
    """Use at most so many of the others; by default all."""
    set_size: PositiveInt = 16
    """Items of a matched set, on each side."""
    use_validation: bool = False
    """Whether the validation part trains too; published protocols leave it out."""
    test_fraction: TestShare = TEST_FRACTION
    """Share of the pairs held out of a set that has no split of its own."""
    near_duplicate: Share = NEAR_DUPLICATE
    """Cosine of features above which a test item counts as seen in training."""
    bad_limit: Share = BAD_LIMIT
    """Share of bad items above which the run stops; below, they are skipped and listed."""

    @property
    def held_out(self) -> None:
        """The test is known before anything is encoded."""
        return None

    @property
    def modalities(self) -> dict[str, Modality]:
        """Modality of each side."""
        return {"x": "image", "y": "text"}

    @property
    def source(self) -> str:
        """What to call it in messages."""
        return ", ".join(part.name for part in self.sets)

    def read(self, *, seed: int = 0) -> Manifest:
        """Read and merge the sets and hide what is not to be known.

        Raises:
            ManifestError: A set cannot be read, or holds fewer pairs than are to stay known.
            ImportError: The package that reads a set is not installed.
        """
        known = Known(
            self.pairs,
            1.0 if self.pair_share is None else self.pair_share,
            self.rest,
            self.pool,
            self.set_size,
        )
        return merge(
            [Member(s.name, s.read(), s.learn, s.measure, s.split) for s in self.sets],
            known,
            use_validation=self.use_validation,
            test_fraction=self.test_fraction,
            seed=seed,
        )

    @model_validator(mode="after")
    def _consistent(self) -> LayoutData:
        if self.pairs is not None and self.pair_share is not None:
            raise ValueError(
                f"pairs ({self.pairs}) and pair_share ({self.pair_share}) both say how many pairs "
                "stay known; keep one"
            )
        repeated = _repeated([part.name for part in self.sets])
        if repeated:
            raise ValueError(f"two sets are called {repeated!r}; give each a name of its own")
        if all(part.learn == "nothing" or part.split == "test" for part in self.sets):
            raise ValueError("no set has anything to learn from; let one learn")
        return self


class _ZeroShot(Section):
    templates: Templates | None = None
    """Sentences for its class names; by default those of `evaluation`."""


class ZeroShotFolders(ClassFolders, _ZeroShot):
    """Test of classes: pictures in a folder a class."""


class ZeroShotList(ClassList, _ZeroShot):
    """Test of classes: pictures and classes in lists."""


AnyZeroShot = Annotated[ZeroShotFolders | ZeroShotList, Field(discriminator="layout")]


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for i, name in enumerate(names) if name in names[:i]), None)
