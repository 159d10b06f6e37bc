"""What a cell is run with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.studies.cells import Workplace, references
from anomalyclip_med.studies.plan import Evaluation


def drawn(folder: Path, count: int, seed: int = 0) -> list[str] | None:
    workplace = Workplace(folder, folder, {"t": "/data"}, {}, None, None)
    return references(Evaluation("k", {}, "v", "none", "t", seed, None, count), workplace)


def test_references_are_normal_images_that_are_not_measured_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    entries = [{"image": f"{n}.png", "label": n % 2, "class": "brain"} for n in range(12)]
    (tmp_path / "data" / "t.json").write_text(json.dumps({"training": entries, "test": []}))
    assert drawn(tmp_path, 0) is None
    normal = {f"/data/{n}.png" for n in range(0, 12, 2)}
    chosen = [drawn(tmp_path, 3, seed) for seed in (0, 0, 1, 2)]
    assert all(len(set(files or ())) == 3 and set(files or ()) <= normal for files in chosen)
    assert chosen[0] == chosen[1]
    assert len({str(files) for files in chosen}) > 1
    with pytest.raises(ConfigurationError, match="6 normal images are kept apart, not 7"):
        drawn(tmp_path, 7)
    (tmp_path / "data" / "t.json").write_text(json.dumps({"training": [*entries, entries[0] | {"class": "liver"}]}))
    with pytest.raises(ConfigurationError, match="it has several"):
        drawn(tmp_path, 1)
