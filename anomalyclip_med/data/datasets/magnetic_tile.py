"""Magnetic tile defects: image and mask have one name and two suffixes."""

from __future__ import annotations

from dataclasses import dataclass

from anomalyclip_med.data.datasets.dataset import DataSet, Expected
from anomalyclip_med.data.datasets.pairing import pair, without_mask
from anomalyclip_med.data.datasets.samples import Listing, Sample
from anomalyclip_med.data.datasets.tree import Tree, key
from anomalyclip_med.data.masks import MaskRule


@dataclass(frozen=True)
class TileFolders:
    """``MT_Crack/Imgs/x.jpg`` with ``MT_Crack/Imgs/x.png``; ``MT_Free`` is normal."""

    text: str = "MT_{Blowhole,Break,Crack,Fray,Uneven,Free}/Imgs/*.jpg with a mask *.png of the same name"

    def find(self, tree: Tree) -> Listing | None:
        """List the kinds of defect."""
        listing = Listing()
        for folder in tree.folders("imgs"):
            if not key(folder.parent.name).startswith("mt"):
                continue
            images = [p for p in tree.pictures[folder] if p.suffix.lower() in (".jpg", ".jpeg")]
            pairs, problems = pair(images, [p for p in tree.pictures[folder] if p.suffix.lower() == ".png"])
            listing.problems += problems
            kind = folder.parent.name.partition("_")[2]
            label = int(kind.casefold() != "free")
            missing = [image for image, own in pairs.items() if label and not own]
            listing.problems += without_mask(missing)
            listing.samples += [Sample(i, label, "tile", own, defect=kind * label) for i, own in pairs.items()]
        return listing if listing.samples else None


MAGNETIC_TILE = DataSet(
    name="magnetic_tile",
    title="Magnetic tile surface defects",
    aliases=("magnetictile", "mtd"),
    what="Surfaces of magnetic tiles; not one of the paper's data sets",
    objects=("tile",),
    licence="not stated; its authors ask to be cited",
    url="https://github.com/abin24/Magnetic-tile-defect-datasets.",
    reference="Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 2020",
    layouts=(TileFolders(),),
    mask_rule=MaskRule.ABOVE_127,
    expected=(Expected({"test": (952, 392)}, "Huang et al. 2020: 1344 images, 392 with a defect"),),
)

DATA_SETS = (MAGNETIC_TILE,)
