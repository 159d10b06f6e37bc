"""Collects real scans that the dependencies' own packages bring along, so that the demo downloads nothing.

Usage: python tools/demo_inputs.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nibabel
from pydicom.data import get_testdata_file

DICOM = {
    "CT_small.dcm": "ct_slice.dcm",
    "MR_small.dcm": "mr_slice.dcm",
    "examples_ybr_color.dcm": "ultrasound_cine.dcm",
    "examples_palette.dcm": "ultrasound_palette.dcm",
}


def main(folder: Path) -> None:
    """Copy the scans into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in DICOM.items():
        shutil.copyfile(str(get_testdata_file(name, download=False)), folder / target)
    shutil.copyfile(Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii", folder / "mr_volume.nii")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
