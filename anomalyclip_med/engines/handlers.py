"""Handlers that a bundle's evaluator runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from tqdm import tqdm

from anomalyclip_med import __version__
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.inferers import RunResults, ScanResult
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers import (
    scores_table,
    write_map_nifti,
    write_map_png,
    write_overlay_png,
    write_scores_csv,
    write_scores_json,
)


class SliceProgress:
    """A progress bar that counts slices.

    Args:
        total: slices of the run.
    """

    def __init__(self, total: int) -> None:
        self.total = total

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        bar = tqdm(total=self.total, unit="slice", desc="scoring")
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: bar.update(len(e.state.batch)))
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, lambda *_: bar.close())


class ScanWriter:
    """Puts the maps back on their scans' grids and writes each scan's files when its last slice is done.

    Per scan, in a folder of its name: ``<scan>_map.nii.gz`` on the scan's grid, ``<scan>_map.png`` for a 2-D scan,
    and ``<scan>_overlay_<slice>.png`` of the highest scored slices. Per run: ``scores.csv`` and ``scores.json``.
    Holds the map of one scan at a time.

    Args:
        results: filled by this handler.
        output_dir: folder of the outputs, created where needed.
        load: reads the slices that are drawn.
        top_slices: how many of the highest scored slices of each scan are drawn.

    Raises:
        ConfigurationError: ``output_dir`` is a file, or ``top_slices`` is negative.
    """

    def __init__(self, results: RunResults, output_dir: str | Path, load: LoadSliced, top_slices: int = 3) -> None:
        self.results = results
        self.output_dir = Path(output_dir).expanduser()
        self.load = load
        self.top_slices = top_slices
        if top_slices < 0:
            raise ConfigurationError(f"top_slices={top_slices} must not be negative")
        if self.output_dir.exists() and not self.output_dir.is_dir():
            raise ConfigurationError(f"{self.output_dir} is a file: give a folder for the outputs")
        self._current: int | None = None
        self._map = np.empty(0, dtype=np.float32)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self._add(int(item["scan"]), int(item["slice"]), item["failure"], output["pred"])

    def _add(self, number: int, index: int, failure: str, pred: Any) -> None:
        result = self.results.scans[number]
        if number != self._current:
            self._current = number
            self._map = np.full(result.scan.shape, np.nan, dtype=np.float32)
        if failure:
            self.results.fail_slice(number, index, failure)
        else:
            anomaly_map, score = pred.cpu().numpy()
            result.scores[index] = score.mean(dtype=np.float64)
            result.scan.slice_view(self._map, index)[...] = anomaly_map
        if index == len(result.scan.slices) - 1:
            self._write(result)

    def _write(self, result: ScanResult) -> None:
        scan, provenance = result.scan, self.results.provenance
        folder = self.output_dir / scan.name
        folder.mkdir(parents=True, exist_ok=True)
        notice = provenance["notice"]
        description = f"{'UNTRAINED ' if notice else ''}anomaly map [0, 1], anomalyclip_med {__version__}"

        result.outputs.append(folder / f"{scan.name}_map.nii.gz")
        write_map_nifti(result.outputs[-1], self._map, scan, description)
        if len(scan.slices) == 1 and not result.failures:
            result.outputs.append(folder / f"{scan.name}_map.png")
            write_map_png(result.outputs[-1], scan.slice_view(self._map, 0), description)
        for index in result.top_slices(self.top_slices):
            try:
                image = self.load.read(scan, index)
            except ScanError as error:  # it could be read a moment ago
                scan.warnings.append(f"overlay-missing: slice {index}: {error}")
                continue
            row, column = np.linalg.norm(image.affine.numpy()[:3, :2], axis=0)
            result.outputs.append(folder / f"{scan.name}_overlay_{index:04d}.png")
            write_overlay_png(
                result.outputs[-1],
                image.numpy().transpose(1, 2, 0),
                scan.slice_view(self._map, index),
                title=f"{scan.name}   slice {index}   score {result.scores[index]:.3f}",
                notice=notice,
                pixel_aspect=float(row / column),
            )
        scan.close()

    def _finish(self, engine: Engine) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_scores_csv(self.output_dir / "scores.csv", self.results)
        write_scores_json(self.output_dir / "scores.json", self.results)
        print(f"\n{scores_table(self.results)}\n\n{self._summary()}")

    def _summary(self) -> str:
        lines = [f"Results: {self.output_dir}"]
        if self.results.skipped:
            lines.append(f"{len(self.results.skipped)} file(s) skipped; scores.json says why")
        lines += self.results.provenance["warnings"]
        if self.results.provenance["notice"]:
            lines.append(self.results.provenance["notice"])
        return "\n".join(lines)
