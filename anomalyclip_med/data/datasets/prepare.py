"""From a folder as a publisher packs it to a data list that says what it is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anomalyclip_med import __version__
from anomalyclip_med.data.datasets import meta
from anomalyclip_med.data.datasets.checks import (
    check_counts,
    check_duplicates,
    check_files,
    check_groups,
    check_left_out,
    check_shared,
    counts,
    fitting_rule,
    hash_files,
)
from anomalyclip_med.data.datasets.dataset import DataSet
from anomalyclip_med.data.datasets.pairing import pair, without_mask
from anomalyclip_med.data.datasets.registry import data_set
from anomalyclip_med.data.datasets.samples import SECTIONS, Listing, Problem, Sample, Severity, relative, warning
from anomalyclip_med.data.datasets.tree import Tree, key
from anomalyclip_med.data.masks import MaskRule
from anomalyclip_med.errors import ConfigurationError

_SHOWN_FILES = 3


@dataclass(frozen=True)
class Prepared:
    """A data set that was found and checked.

    Attributes:
        entry: what the registry knows of it.
        root: the folder that paths are relative to.
        samples: the images, by section and path.
        rule: how masks become binary.
        problems: what is odd, warnings first.
        hashes: image to SHA-256 of its file.
    """

    entry: DataSet
    root: Path
    samples: tuple[Sample, ...]
    rule: MaskRule
    problems: tuple[Problem, ...]
    hashes: dict[Path, str]

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Normal and anomalous images of each section."""
        return counts(self.samples)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that may change results."""
        return tuple(p for p in self.problems if p.severity is Severity.WARNING)

    def summary(self) -> str:
        """What is odd, and how many images there are: lines to be read."""
        lines = []
        for problem in self.problems:
            names = [file.name for file in problem.files[:_SHOWN_FILES]]
            more = ["..."] if len(problem.files) > _SHOWN_FILES else []
            files = f" ({len(problem.files)} files: {', '.join(names + more)})" if names else ""
            lines.append(f"{problem.severity.value}: {problem.kind}: {problem.detail}{files}")
        lines += [
            f"{section}: {normal} normal, {anomalous} anomalous" for section, (normal, anomalous) in self.counts.items()
        ]
        return "\n".join(lines)

    def datalist(self) -> dict[str, Any]:
        """The data list: decathlon-style sections, and the facts at the top."""
        entry = self.entry
        content: dict[str, Any] = {
            "name": entry.name,
            "description": f"{entry.title}: {entry.what}",
            "licence": entry.licence,
            "reference": entry.reference,
            "source": entry.url,
            "remarks": list(entry.remarks),
            "prepared_by": f"anomalyclip_med {__version__}",
            "labels": {"0": "normal", "1": "anomalous"},
            "mask_rule": self.rule.value,
            "counts": {s: {"normal": n, "anomalous": a} for s, (n, a) in self.counts.items()},
            "numTraining": sum(s.section == "training" for s in self.samples),
            "numTest": sum(s.section == "test" for s in self.samples),
            "problems": [
                {
                    "kind": p.kind,
                    "severity": p.severity.value,
                    "detail": p.detail,
                    "files": [relative(f, self.root) for f in p.files],
                }
                for p in self.problems
            ],
        }
        for section in SECTIONS:
            entries = [self._entry(s) for s in self.samples if s.section == section]
            if entries or section == "test":
                content[section] = entries
        return content

    def meta(self) -> dict[str, Any]:
        """The same as AnomalyCLIP's ``meta.json``.

        Raises:
            ConfigurationError: an image has several masks, for which that format has no place.
        """
        return meta.content(self.samples, self.root)

    def write(self, path: Path, meta_json: Path | None = None) -> None:
        """Write the data list, and AnomalyCLIP's ``meta.json`` if it is wanted.

        Raises:
            ConfigurationError: a file cannot be written, or the data set does not fit ``meta.json``.
        """
        contents = {path: self.datalist()} | ({meta_json: self.meta()} if meta_json else {})
        for file, content in contents.items():
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                temporary = file.with_name(f"{file.name}.part")
                temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                temporary.replace(file)
            except OSError as error:
                raise ConfigurationError(f"{file}: cannot be written ({error.strerror}); name another one") from None

    def _entry(self, sample: Sample) -> dict[str, Any]:
        masks = [relative(mask, self.root) for mask in sample.masks]
        return {
            "image": relative(sample.image, self.root),
            "mask": masks if len(masks) > 1 else masks[0] if masks else None,
            "label": sample.label,
            "class": sample.object,
            "defect": sample.defect,
            "group": sample.group,
            "sha256": self.hashes[sample.image],
        }


def prepare(
    name: str,
    source: str | Path,
    masks: str | Path | None = None,
    class_name: str | None = None,
    beside: Sequence[str | Path] = (),
) -> Prepared:
    """Find a data set in a folder, and check every file of it.

    Args:
        name: as the registry knows it; ``folder`` for one's own.
        source: the folder that it was unpacked into, whatever lies above or beside it there; or an AnomalyCLIP
            ``meta.json``.
        masks: a folder of masks that somebody else made, paired with the images by name.
        class_name: the class of all images, instead of the one that is found.
        beside: data lists of other data sets that are reported with this one; files that are equal are a problem.

    Raises:
        ConfigurationError: the data set is not known, or not in the folder in any of its layouts.

    Examples:
        >>> from PIL import Image
        >>> for label in ("normal", "fracture"):
        ...     Path(label).mkdir()
        ...     Image.new("L", (8, 8)).save(f"{label}/1.png")
        >>> prepared = prepare("folder", ".", class_name="wrist")
        >>> print(prepared.summary())
        warning: duplicate-labels: equal files of which some are normal and some anomalous (2 files: 1.png, 1.png)
        test: 1 normal, 1 anomalous
        >>> prepared.write(Path("datalist.json"))
    """
    entry = data_set(name)
    source = Path(source).expanduser()
    if source.is_file() and source.suffix.lower() != ".json":
        raise ConfigurationError(f"{source}: neither a folder nor a meta.json; unpack it, and name the folder")
    if source.is_file():
        root, listing = source.parent, meta.read(source)
    else:
        root = source
        tree = Tree(root)
        listing = _find(entry, tree)
        _keep_known(entry, listing)
        listing.problems += check_left_out(tree, listing)
    rule = entry.mask_rule or MaskRule.ABOVE_127
    if masks is not None:
        _add_masks(listing, Path(masks).expanduser())
    if class_name is not None:
        listing.samples = [replace(s, object=class_name) for s in listing.samples]
    samples = sorted(listing.samples, key=lambda s: (SECTIONS.index(s.section), s.object, s.image))
    hashes = hash_files(samples)
    rule, told = fitting_rule(samples, rule) if entry.own_masks else (rule, [])
    problems = [
        *told,
        *listing.problems,
        *check_counts(entry, samples),
        *check_files(samples, rule),
        *check_duplicates(samples, hashes),
        *check_groups(samples),
        *(problem for other in beside for problem in check_shared(hashes, Path(other).expanduser())),
    ]
    problems.sort(key=lambda p: (p.severity is not Severity.WARNING, p.kind))
    return Prepared(entry, root, tuple(samples), rule, tuple(problems), hashes)


def _find(entry: DataSet, tree: Tree) -> Listing:
    for layout in entry.layouts:
        listing = layout.find(tree)
        if listing is not None:
            return listing
    known = "\n  ".join(layout.text for layout in entry.layouts)
    there = ", ".join(sorted(p.name for p in tree.root.iterdir())[:8]) or "nothing"
    raise ConfigurationError(
        f"{tree.root}: not laid out as {entry.name!r} is, there is {there}. Looked for, at any depth:\n  {known}"
    )


def _keep_known(entry: DataSet, listing: Listing) -> None:
    """Leave out the classes of other data sets that lie beside one of several classes."""
    known = {key(name) for name in entry.objects}
    other = [s for s in listing.samples if key(s.object) not in known]
    if len(known) < 2 or not other or len(other) == len(listing.samples):
        return
    listing.samples = [s for s in listing.samples if key(s.object) in known]
    names = ", ".join(sorted({s.object for s in other}))
    files = {file for s in other for file in (s.image, *s.masks)}
    listing.problems = [p for p in listing.problems if not p.files or not files.issuperset(p.files)]
    detail = f"left out: classes that are not the paper's ({names}), perhaps of another data set"
    listing.problems.append(warning("unexpected-class", detail, sorted(files)))


def _add_masks(listing: Listing, folder: Path) -> None:
    tree = Tree(folder)
    files = [file for files in tree.pictures.values() for file in files]
    if not files:
        raise ConfigurationError(f"{folder}: no masks there")
    anomalous = [s.image for s in listing.samples if s.label]
    pairs, problems = pair(anomalous, files)
    listing.samples = [replace(s, masks=s.masks + pairs.get(s.image, ())) for s in listing.samples]
    listing.problems += problems
    listing.problems += without_mask([s.image for s in listing.samples if s.label and not s.masks])
