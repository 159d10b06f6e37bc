"""Stands in for `score`: makes one secondary capture of a study, or what the study's description asks for."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

study, output = Path(sys.argv[1]), Path(sys.argv[sys.argv.index("-o") + 1])
files = sorted(study.glob("*.dcm"))
dataset = dcmread(files[0])
wish = dataset.get("StudyDescription", "")
if wish == "FAIL":
    sys.exit(2)
if wish == "KILL":
    os.kill(os.getpid(), signal.SIGKILL)
if wish == "HANG":
    time.sleep(1000)
if wish.startswith("UNTIL "):  # this file exists
    while not Path(wish.removeprefix("UNTIL ")).exists():
        time.sleep(0.05)
dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
dataset.SeriesInstanceUID = generate_uid()
dataset.Modality = "OT"
dataset.Manufacturer = "anomalyclip_med"
dataset.ConversionType = "WSD"
dataset.ImageComments = f"{len(files)} instances"
(output / "scan").mkdir(parents=True)
dataset.save_as(output / "scan" / "scan_sc_0000.dcm", enforce_file_format=True)
sys.exit(1 if wish == "PARTLY" else 0)
