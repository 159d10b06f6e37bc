"""A study as it is written down: which variants of which methods learn from what, and are measured on what."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from anomalyclip_med.data.datasets import data_set
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.factory import METHODS
from anomalyclip_med.published import published_figures

Metric = Literal[
    "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro",
    "pixel_aupro_reference",
]  # fmt: skip
_M = TypeVar("_M", bound=BaseModel)
Axis = Literal["variant", "source", "target"]
_OWN_PICTURES = "folder"
"""The registry's name for any folder of one's own: two of them are two data sets."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Where the images of a data set are, and which of them a study takes.

    Attributes:
        folder: that its publisher's archive was unpacked into, relative to the data folder of the run.
        procedural: so many drawn images in place of a folder, to learn from only.
        dataset: name in the registry; None for the name that stands before it in the profile.
        masks: folder of masks that somebody else made, relative likewise.
        learn_from: section that prompts are learned from; the authors learn from the "test" part of other data sets.
        split: share of the test images that prompts are learned from in place of a section, by group where there are
            groups, and which are then not measured on; None for no split.
        images: normal and anomalous images each, per class, that are drawn from each section; None for all.
    """

    folder: str | None = None
    procedural: Annotated[int, Field(gt=0)] | None = None
    dataset: str | None = None
    masks: str | None = None
    learn_from: Literal["training", "test"] = "test"
    split: Annotated[float, Field(gt=0, lt=1)] | None = None
    images: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Source:
        if (self.folder is None) == (self.procedural is None):
            raise ValueError("needs either folder or procedural")
        return self

    @property
    def disjoint(self) -> bool:
        """Whether what is learned from is not measured on."""
        return self.learn_from == "training" or self.split is not None


class Recipe(_Strict):
    """How a method is trained where it is not trained as all others are.

    Attributes:
        method: see :func:`anomalyclip_med.create_model`.
        source: name in the profile of the only data set that this is for; None for any.
        training: options of the training, above those of the profile.
    """

    method: str
    source: str | None = None
    training: dict[str, Any]


class Profile(_Strict):
    """What a study runs on: the backbone, the images, and how much of everything.

    Attributes:
        clip: backbone of all variants that name none.
        model: options of the detectors, below those of the variants.
        methods: further ones by method, between these two.
        training: options of the training, below those of the variants.
        recipes: others between these two, of one method; of several that fit, a later one is above an earlier one.
        seeds: of the random starts, the drawn images and the orders of the images; samples and splits are the same for
            all.
        data: the data sets that are there.
        groups: names for several of them.
    """

    clip: str
    model: dict[str, Any] = {}
    methods: dict[str, dict[str, Any]] = {}
    training: dict[str, Any] = {}
    recipes: tuple[Recipe, ...] = ()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    data: Annotated[dict[str, Source], Field(min_length=1)]
    groups: dict[str, tuple[str, ...]] = {}

    @model_validator(mode="after")
    def _check(self) -> Profile:
        _check_methods([*self.methods, *(recipe.method for recipe in self.recipes)])
        if unknown := [r.source for r in self.recipes if r.source is not None and r.source not in self.data]:
            raise ValueError(f"recipes: no such data set: {', '.join(unknown)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one stands there twice")
        for name, source in self.data.items():
            if source.folder:
                data_set(source.dataset or name)
        for group, members in self.groups.items():
            if group in self.data:
                raise ValueError(f"groups.{group}: is a data set's name as well")
            if unknown := [name for name in members if name not in self.data]:
                raise ValueError(f"groups.{group}: no such data set: {', '.join(unknown)}")
        return self

    def shared(self, name: str, other: str) -> bool:
        """Whether two names stand for the same data set, whatever part of it each takes."""
        ours, theirs = self.data[name], self.data[other]
        if ours.procedural or theirs.procedural:
            return name == other
        known_as = ours.dataset or name
        return known_as == (theirs.dataset or other) and (known_as != _OWN_PICTURES or ours.folder == theirs.folder)

    def members(self, name: str) -> tuple[str, ...]:
        """The data sets that a name stands for.

        Raises:
            ConfigurationError: for none.
        """
        if name in self.data:
            return (name,)
        if name in self.groups:
            return self.groups[name]
        known = ", ".join([*self.data, *self.groups])
        raise ConfigurationError(f"no data set or group {name!r} in the profile: there are {known}")


def _check_methods(names: Iterable[str]) -> None:
    if unknown := [name for name in names if name not in METHODS]:
        raise ValueError(f"no such method: {', '.join(unknown)}; there are {', '.join(METHODS)}")


class Variant(_Strict):
    """A method with its options.

    Attributes:
        method: see :func:`anomalyclip_med.create_model`.
        model: its options there.
        training: options of the bundle's training, by their names in ``train.json``.
        train: whether it learns at all; false measures the random start.
        references: so many normal images of the target, from the part that is not measured on, which patches are
            compared with; others for each seed.
        published: method whose published figures stand beside, in the name of ``published_results.csv``; None where
            the variant is not what was published.
        paper: figures of the paper's ablation tables, in percent, by metric, which stand beside ours of MVTec AD.
    """

    method: str = "anomalyclip"
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    train: bool = True
    references: Annotated[int, Field(ge=0)] = 0
    published: str | None = None
    paper: dict[Metric, float] = {}

    @property
    def seeded(self) -> bool:
        """Whether a result depends on the seed."""
        return bool(METHODS[self.method].losses or self.references)

    @model_validator(mode="after")
    def _check(self) -> Variant:
        _check_methods([self.method])
        if self.published and self.published not in (known := {figure.method for figure in published_figures()}):
            raise ValueError(f"nothing was published of {self.published!r}; of {', '.join(sorted(known))} there is")
        return self


class Table(_Strict):
    """A table of the results.

    Attributes:
        metrics: that stand together in one cell, as the paper has them.
        rows: what a row is.
        columns: what a column is, other than the rows. Over sources or targets that are neither the mean is taken, of
            those that all have; of variants each has a table of its own. Where targets are rows or columns, one more
            has their mean.
    """

    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    rows: Axis = "target"
    columns: Axis = "variant"

    @model_validator(mode="after")
    def _check(self) -> Table:
        if self.rows == self.columns:
            raise ValueError("rows and columns are the same")
        return self


class Study(_Strict):
    """A study of variants over what they learn from and are measured on.

    Attributes:
        name: of the study.
        title: one line.
        remarks: what to know to read the tables.
        profile: what it runs on.
        variants: by the names of the tables.
        learn_from: one entry for each training: a data set or group of the profile, or a list of them, which are
            learned from one after the other. A group stands for one training for each of its members.
        measure_on: data sets or groups.
        within: whether what was learned from is measured on as well, which needs a section or a split of its own.
            Otherwise a data set is not measured on after it, or another part of it, was learned from.
        tables: to be made.
        matrix: metrics of which a figure of sources by targets is drawn.
        sheets: images per target that are shown with their mask and each variant's map.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: str
    remarks: str = ""
    profile: Profile
    variants: Annotated[dict[str, Variant], Field(min_length=1)]
    learn_from: Annotated[tuple[str | tuple[str, ...], ...], Field(min_length=1)]
    measure_on: Annotated[tuple[str, ...], Field(min_length=1)]
    within: bool = False
    tables: Annotated[tuple[Table, ...], Field(min_length=1)]
    matrix: tuple[Metric, ...] = ()
    sheets: Annotated[int, Field(ge=0)] = 0


def load_study(path: str | Path, profile: str | None = None) -> Study:
    """Read and check a study.

    Args:
        path: YAML with the fields of :class:`Study`; ``profile`` names a file ``profiles/NAME.yaml`` beside it.
        profile: name that takes the place of the file's own.

    Raises:
        ConfigurationError: a file is missing or not YAML, or holds an unknown key or a value that does not fit; names
            the file, the key and what is wrong.
    """
    path = Path(path).expanduser()
    content = _read(path)
    name = profile or content.get("profile")
    if not isinstance(name, str):
        raise ConfigurationError(f"{path}: profile must name a file of profiles/, without its ending")
    profile_path = path.parent / "profiles" / f"{name}.yaml"
    content["profile"] = _validated(Profile, _read(profile_path), profile_path)
    return _validated(Study, content, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: not a readable YAML file ({error})") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: holds no settings")
    return content


def _validated(model: type[_M], content: dict[str, Any], path: Path) -> _M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        told = [f"  {'.'.join(map(str, e['loc'])) or model.__name__}: {e['msg']}" for e in error.errors()]
        raise ConfigurationError(f"{path}:\n" + "\n".join(told)) from None
