"""Data sets by name: how their publishers lay them out, and what is made of them.

`prepare` finds one in the folder it was unpacked into and checks it; its `Prepared.write` gives a data list, which
`anomalyclip_med.data.datalist.read_datalist` and the bundle's evaluation read.
"""

from __future__ import annotations

from anomalyclip_med.data.datasets.prepare import Prepared, prepare
from anomalyclip_med.data.datasets.registry import DATA_SETS, data_set
from anomalyclip_med.data.datasets.samples import Severity
from anomalyclip_med.data.datasets.shared import shared_files

__all__ = ["DATA_SETS", "Prepared", "Severity", "data_set", "prepare", "shared_files"]
