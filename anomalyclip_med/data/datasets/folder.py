"""One's own images: a table, or names of folders and files, tell labels and masks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from anomalyclip_med.data.datasets.dataset import DataSet
from anomalyclip_med.data.datasets.layouts import IMAGES, MASKS, ClassFolders, ObjectFolders, nearest, split_by_name
from anomalyclip_med.data.datasets.pairing import MASK_NAME, pair
from anomalyclip_med.data.datasets.samples import SECTIONS, Listing, Sample, warning
from anomalyclip_med.data.datasets.tables import read_rows
from anomalyclip_med.data.datasets.tree import Tree, key
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.data.masks import MaskRule, binary_mask
from anomalyclip_med.errors import ConfigurationError

OBJECT = "object"
"""The class where nothing tells one."""

NORMAL = r"good|ok|normals?|no|healthy|negatives?|nofindings?|nondefect(ive)?|defectfree|control|0|n"

_COLUMNS = {
    "image": ("image", "imagepath", "imgpath", "file", "filename", "path", "img", "name", "id"),
    "label": ("label", "anomaly", "anomalous", "abnormal", "target", "diagnosis"),
    "mask": ("mask", "maskpath", "segmentation", "groundtruth"),
    "object": ("class", "clsname", "object", "category", "organ"),
    "defect": ("defect", "speciename", "type", "finding"),
    "group": ("group", "patient", "patientid", "case", "subject", "study", "sequence"),
    "section": ("section", "split", "phase", "subset"),
}
_LABELS = {
    **dict.fromkeys(("0", "0.0", "normal", "good", "ok", "no", "healthy", "negative", "false"), 0),
    **dict.fromkeys(("1", "1.0", "anomaly", "anomalous", "abnormal", "defect", "bad", "yes", "positive", "true"), 1),
}


@dataclass(frozen=True)
class LabelTable:
    """A CSV file with a row for each image."""

    text: str = (
        "a CSV file with the columns image and label (0 or 1, normal or anomalous), and as far as known mask (several "
        "joined by ; or |, or a row each), class, defect, group, section; files by path or by a name that occurs once, "
        "suffix or not; several such tables are called train..., val... and test..."
    )

    def find(self, tree: Tree) -> Listing | None:
        """List the rows; None if no table has an image and a label column.

        Raises:
            ConfigurationError: a table has a mistake, or of several it is not told which sections they are.
        """
        tables = [path for path in tree.tables if path.suffix.lower() == ".csv"]
        found: list[tuple[Path, list[dict[str, str]], dict[str, str]]] = []
        for table in sorted(tables, key=lambda path: (len(path.parts), path)):
            if found and len(table.parts) > len(found[0][0].parts):
                break
            rows, columns = _read(table)
            if "image" in columns and ("label" in columns or "mask" in columns):
                found.append((table, rows, columns))
        sections = {table: _section(table) if len(found) > 1 else "test" for table, _, _ in found}
        if "" in sections.values() or len(set(sections.values())) < len(found):
            names = ", ".join(table.relative_to(tree.root).as_posix() for table in sections)
            raise ConfigurationError(
                f"{tree.root}: several tables of images ({names}); name them train, val and test, or leave one"
            )
        listing = Listing()
        for table, rows, columns in found:
            part = self._list(tree, table, rows, columns, sections[table])
            listing.samples += part.samples
            listing.problems += part.problems
        labels = {sample.label for sample in listing.samples if sample.section == "test"}
        if labels == {0}:
            detail = "no anomalous image in the test section: image metrics need both"
            listing.problems.append(warning("class-missing", detail))
        return listing if found else None

    @staticmethod
    def _list(
        tree: Tree, table: Path, rows: list[dict[str, str]], columns: dict[str, str], default_section: str
    ) -> Listing:
        listing = Listing()
        files = _Files(tree, table)
        absent, unmarked = [], []
        found: dict[tuple[Path, str, str, str], tuple[dict[str, str], list[Path]]] = {}
        for number, row in enumerate(rows, 2):
            cell = {what: row[column] for what, column in columns.items()}
            image = files.find(cell["image"])
            if image is None:
                absent.append(cell["image"])
                continue
            masks = tuple(
                files.need(name.strip(), number) for name in re.split("[;|]", cell.get("mask", "")) if name.strip()
            )
            told = cell.get("label", "").casefold()
            if told and told not in _LABELS:
                raise ConfigurationError(f"{table}: line {number} has the label {told!r}; write 0 or 1")
            section = {"train": "training", "val": "validation", "valid": "validation"}.get(
                cell.get("section", "").casefold(), cell.get("section", "").casefold() or default_section
            )
            if section not in SECTIONS:
                raise ConfigurationError(f"{table}: line {number} has the section {section!r}; write train or test")
            label_told = str(_LABELS[told]) if told else ""
            same = (image, label_told, section, cell.get("object") or OBJECT)
            found.setdefault(same, (cell, []))[1].extend(masks)  # a row for each mask is one image
        for (image, label_told, section, thing), (cell, several) in found.items():
            masks = tuple(dict.fromkeys(several))
            if not label_told and not masks:
                unmarked.append(image)
            label = int(label_told or _marked(masks))
            defect = cell.get("defect", "") if label else ""
            listing.samples.append(Sample(image, label, thing, masks, section, defect, cell.get("group", "")))
        if absent:
            detail = f"{len(absent)} rows of {table.name} have no image, such as {absent[0]}"
            listing.problems.append(warning("image-missing", detail))
        if unmarked:
            detail = "neither a label nor a mask: taken as normal"
            listing.problems.append(warning("label-missing", detail, unmarked))
        if not listing.samples:
            raise ConfigurationError(f"{table}: no row names an image below {tree.root}; see its first column")
        return listing


@dataclass(frozen=True)
class ImagesAndMasks:
    """Images with masks in another folder or beside them; what a mask marks is anomalous, all else normal."""

    text: str = (
        "images/ with masks/ (or beside each other as x.png and x_mask.png, x_mask_1.png); an image whose masks are "
        "empty is normal, and so is one without a mask, with a warning"
    )

    def find(self, tree: Tree) -> Listing | None:
        """List the images."""
        listing = Listing()
        for folder in tree.folders(IMAGES):
            partner = nearest(tree, folder, [f for f in tree.folders(MASKS) if f.parent == folder.parent])
            if partner is not None:
                self._list(tree, folder, tree.pictures[folder], tree.pictures[partner], listing)
        if not listing.samples:
            for folder, files in tree.pictures.items():
                images, masks, _ = split_by_name(files, MASK_NAME)
                if masks:
                    self._list(tree, folder, images, masks, listing)
        return listing if listing.samples else None

    @staticmethod
    def _list(tree: Tree, folder: Path, images: list[Path], masks: list[Path], listing: Listing) -> None:
        pairs, problems = pair(images, masks)
        listing.problems += problems
        missing = [image for image, own in pairs.items() if not own]
        if missing:
            listing.problems.append(warning("mask-missing", "images without a mask: taken as normal", missing))
        section = tree.section(folder) or "test"
        listing.samples += [Sample(i, int(_marked(own)), OBJECT, own, section) for i, own in pairs.items()]


@dataclass(frozen=True)
class LabelFolders:
    """Folders named after labels: a known word for normal, anything else for a kind of anomaly."""

    text: str = (
        "normal/ (or good, ok, no, healthy, negative, ...) beside folders of anomalies, whose names are their kinds; "
        "masks beside their images as x_mask.png; in train/ and test/ or not"
    )

    def find(self, tree: Tree) -> Listing | None:
        """List the folders; None if there is no folder of normal images."""
        if not tree.folders(NORMAL):
            return None
        has_masks = any(split_by_name(files, MASK_NAME)[1] for files in tree.pictures.values())
        anomalous = f"(?!({NORMAL}|{IMAGES}|{MASKS})$).*"
        return ClassFolders(
            self.text, OBJECT, NORMAL, anomalous, {MASKS: "masks"}, MASK_NAME if has_masks else None, together=True
        ).find(tree)


class _Files:
    """Finds the files that a table names: relative to the table, to the root, or by a name that occurs once."""

    def __init__(self, tree: Tree, table: Path) -> None:
        self.table = table
        self.places = (table.parent, tree.root)
        self.known = {path for files in tree.pictures.values() for path in files}
        self.by_name: dict[str, list[Path]] = {}
        for path in sorted(self.known):
            for name in {path.name.casefold(), path.stem.casefold()}:
                self.by_name.setdefault(name, []).append(path)

    def find(self, name: str) -> Path | None:
        for place in self.places:
            if place / name in self.known:
                return place / name
        found = self.by_name.get(Path(name).name.casefold(), [])
        if len(found) > 1:
            raise ConfigurationError(f"{self.table}: {name!r} fits several files; write their paths")
        return found[0] if found else None

    def need(self, name: str, line: int) -> Path:
        found = self.find(name)
        if found is None:
            raise ConfigurationError(f"{self.table}: line {line} names {name}, which does not exist")
        return found


def _read(table: Path) -> tuple[list[dict[str, str]], dict[str, str]]:
    """A table's rows, and what is meant by its columns: "image" to the column's name."""
    rows = read_rows(table)
    names = {key(name): name for name in (rows[0] if rows else {})}
    columns = {}
    for what, spellings in _COLUMNS.items():
        found = next((names[s] for s in spellings if s in names), None)
        if found is not None:
            columns[what] = found
    return rows, columns


def _section(table: Path) -> str:
    """The section that a table's name begins with, "" if it does not."""
    starts = {"train": "training", "val": "validation", "test": "test"}
    return next((section for start, section in starts.items() if key(table.stem).startswith(start)), "")


def _marked(masks: tuple[Path, ...]) -> bool:
    """Whether anything is stored but 0: what number or grey stands for an anomaly is not known."""
    return any(binary_mask(open_picture(mask), MaskRule.NONZERO).any() for mask in masks)


FOLDER = DataSet(
    name="folder",
    title="a folder of one's own",
    what="Images with labels or masks, told by a table or by names",
    objects=(),
    licence="your own",
    url="",
    reference="",
    layouts=(
        LabelTable(),
        ObjectFolders("OBJECT/test/{good,DEFECT}/*, OBJECT/ground_truth/DEFECT/*, as MVTec AD has it", normal=NORMAL),
        LabelFolders(),
        ImagesAndMasks(),
    ),
    mask_rule=MaskRule.HALF,
    own_masks=True,
    remarks=(
        "scans with geometry (DICOM series, NIfTI) are for 'anomalyclip-med score'; here go single images",
        "masks of few numbers up to 127 (classes, 0 and 100) and palette pictures are read by `stored>0`, with a note",
    ),
)

DATA_SETS = (FOLDER,)
