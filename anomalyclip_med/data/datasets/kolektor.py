"""KolektorSDD: parts of commutators, an image and its label side by side; what is anomalous stands in the label."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from anomalyclip_med.data.datasets.dataset import DataSet, Expected
from anomalyclip_med.data.datasets.layouts import ObjectFolders, split_by_name
from anomalyclip_med.data.datasets.pairing import pair
from anomalyclip_med.data.datasets.samples import Listing, Sample, warning
from anomalyclip_med.data.datasets.tree import Tree, key
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.data.masks import MaskRule, binary_mask

_CLASS = "electrical commutators"
_RULE = MaskRule.NONZERO


@dataclass(frozen=True)
class KolektorFolders:
    """``kos01/Part0.jpg`` with ``kos01/Part0_label.bmp``, 50 folders of 8 images or so."""

    text: str = "kos01/Part0.jpg, kos01/Part0_label.bmp (palette pictures of 0 and 1), ..., kos50"

    def find(self, tree: Tree) -> Listing | None:
        """List the parts; one whose label marks a pixel is anomalous."""
        listing = Listing()
        for folder in tree.folders(r"kos\d+"):
            images, masks, _ = split_by_name(tree.pictures[folder], r"(?P<base>part\d+)[ _-]?label")
            pairs, problems = pair(images, masks)
            listing.problems += problems
            for image, own in pairs.items():
                if not own:
                    detail = "no label tells whether there is a defect: taken as normal"
                    listing.problems.append(warning("mask-missing", detail, [image]))
                label = int(any(binary_mask(open_picture(mask), _RULE).any() for mask in own))
                group = folder.name.casefold()
                listing.samples.append(Sample(image, label, _CLASS, own, defect="defect" * label, group=group))
        return listing if listing.samples else None


@dataclass(frozen=True)
class KolektorObjectFolders:
    """MVTec AD's layout, as AnomalyCLIP's authors pass it on; parts are told by the files' names."""

    text: str = "electrical commutators/test/{good,defect}/kos01_Part0_0.png, as AnomalyCLIP's authors pass it on"

    def find(self, tree: Tree) -> Listing | None:
        """List the images."""
        listing = ObjectFolders(self.text, object=_CLASS).find(tree)
        if listing is None:
            return None
        for number, sample in enumerate(listing.samples):
            part = re.match(r"kos\d+", key(sample.image.stem.split("_")[0]))
            if part:
                listing.samples[number] = replace(sample, group=part.group())
        return listing


SDD = DataSet(
    name="sdd",
    title="KolektorSDD (Kolektor Surface-Defect Dataset)",
    aliases=("kolektorsdd", "ksdd", "kolektor"),
    what="Surfaces of plastic embedding in electrical commutators; some have cracks",
    objects=(_CLASS,),
    licence="CC BY-NC-SA 4.0",
    url="https://www.vicos.si/resources/kolektorsdd/",
    reference="Tabernik et al., Segmentation-Based Deep-Learning Approach for Surface-Defect Detection, "
    "Journal of Intelligent Manufacturing 2020",
    layouts=(KolektorFolders(), KolektorObjectFolders()),
    mask_rule=_RULE,
    expected=(Expected({"test": (347, 52)}, "Tabernik et al. 2020: 399 images, 52 with a visible defect"),),
    remarks=(
        "there are releases with fine masks and with boxes; results do not compare",
        "the publisher's folds come as Python pickles, which are not read: all images are a test set",
        "AnomalyCLIP's figures are of a re-pack with cut images, whose counts differ and could not be checked",
    ),
)

DATA_SETS = (SDD,)
