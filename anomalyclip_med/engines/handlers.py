"""Handlers that a bundle's evaluator runs."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from tqdm import tqdm

from anomalyclip_med import __version__
from anomalyclip_med.data import Scan
from anomalyclip_med.engines.worker import Worker
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.inferers import MapThreshold, RunResults, ScanResult
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers import (
    MapFile,
    StudyReport,
    scores_table,
    write_index,
    write_map_png,
    write_map_sidecar,
    write_overlay_png,
    write_scores_csv,
    write_scores_json,
)
from anomalyclip_med.writers.dicom import DicomOutput
from anomalyclip_med.writers.places import edge_letters, slice_place


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

        def update(engine: Engine) -> None:
            batch = engine.state.batch  # taken apart, or whole
            bar.update(len(batch) if isinstance(batch, list) else len(batch["label"]))

        engine.add_event_handler(Events.ITERATION_COMPLETED, update)
        # Not on EXCEPTION_RAISED: ignite swallows an exception that has a handler.
        engine.add_event_handler(Events.COMPLETED, lambda _: bar.close())


_PARTIAL = ".partial-"
_MOST_WARNINGS = 10
"""Of scans, that are printed at the end of a run."""
_BATCHES_AHEAD = 1
"""Of the model, before it waits for the writer; each holds its maps at the size of the slices."""


def make_output_dir(path: str | Path) -> None:
    """Make the folder of the outputs and see that it can be written to, before hours of work depend on it.

    What a killed run left half-written there is removed.

    Args:
        path: of the folder.

    Raises:
        ConfigurationError: it cannot be made or written to.

    Examples:
        >>> from anomalyclip_med.engines import make_output_dir
        >>> Path("results").touch()
        >>> make_output_dir("results/today")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: results/today: results cannot be written there (Not a directory)
    """
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for partial in folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(partial)
    except OSError as error:
        raise ConfigurationError(f"{folder}: results cannot be written there ({error.strerror})") from None


class ScanWriter:
    """Puts the maps back on their scans' grids and writes each scan's files, in a thread beside the model.

    Per scan, in a folder of its name: ``<scan>_map.nii.gz`` on the scan's grid with ``<scan>_map.json`` beside it,
    ``<scan>_map.png`` for a 2-D scan, and ``<scan>_overlay_<slice>.png`` of the highest scored slices; of a DICOM scan
    also what ``dicom`` asks for, see :func:`anomalyclip_med.writers.dicom.write_dicom`; what cannot be made of a scan
    is a warning. Overlays and DICOM objects of an earlier run are removed. Per run: ``scores.csv`` and ``scores.json``;
    with ``report``, ``reports/<study>.html`` per study and ``index.html`` over all of them, pages without any link to
    the outside.

    The map of one scan at a time lies in a temporary file in ``output_dir``, mapped into memory, so that a long series
    takes disk and not memory. It is compressed slice by slice; the other files follow the scan's last slice. Files are
    written aside and moved into place when complete. A scan whose files cannot be written is recorded, and the run goes
    on. Batches are taken up in their order while the model is at the next one. Before an error ends the run, whatever
    the model has finished is taken up.

    Args:
        results: filled by this handler.
        output_dir: folder of the outputs, see :func:`make_output_dir`.
        load: reads the slices that are drawn.
        provenance: put into every output, see :func:`anomalyclip_med.inferers.provenance`.
        top_slices: how many of the highest scored slices of each scan are drawn.
        report: whether pages for a browser are written.
        dicom: kinds of DICOM objects, "pm", "seg", "sc", "sr", in a list or joined by commas.
        threshold: of the DICOM segmentation, see :func:`anomalyclip_med.inferers.map_threshold`; None for a fractional
            one.
        deidentify: whether DICOM objects are without the patient's identity.

    Raises:
        ConfigurationError: ``top_slices`` is negative, there is no such kind of DICOM object, or an option is for
            objects that were not asked for.
    """

    def __init__(
        self,
        results: RunResults,
        output_dir: str | Path,
        load: LoadSliced,
        provenance: dict[str, Any],
        top_slices: int = 3,
        report: bool = False,
        dicom: str | Sequence[str] = (),
        threshold: MapThreshold | None = None,
        deidentify: bool = False,
    ) -> None:
        self.results = results
        self.output_dir = Path(output_dir).expanduser()
        self.load = load
        self.provenance = provenance
        self.top_slices = top_slices
        self.report = report
        self.dicom = _dicom_outputs(dicom)
        self.threshold = threshold
        self.deidentify = deidentify
        if deidentify and not self.dicom:
            raise ConfigurationError("deidentify is for DICOM objects: name them with dicom=pm,seg,sc,sr")
        if threshold and DicomOutput.SEGMENTATION not in self.dicom:
            raise ConfigurationError("threshold is for the DICOM segmentation: ask for it with dicom=seg")
        if top_slices < 0:
            raise ConfigurationError(f"top_slices={top_slices} must not be negative")
        self._worker = Worker(_BATCHES_AHEAD)
        self._current: int | None = None
        self._page: StudyReport | None = None
        self._map: np.ndarray = np.empty(0, dtype=np.float32)
        self._aside = Path()
        self._file: MapFile | None = None
        self._opened = ExitStack()  # both of them
        self._failure: Exception | None = None

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.finish())
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._end)

    def _collect(self, engine: Engine) -> None:
        self._worker.submit(self._add_batch, engine.state.batch, engine.state.output)

    def _end(self, engine: Engine, error: BaseException) -> None:
        with suppress(Exception):  # the first error is the one that counts
            self._worker.wait()
        self._close_files()
        raise error  # ignite takes it for handled otherwise

    def _add_batch(self, items: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        for item, output in zip(items, outputs, strict=True):
            self._add(item, output["pred"])

    def _add(self, item: dict[str, Any], pred: Any) -> None:
        number, index = int(item["scan"]), int(item["slice"])
        result = self.results.scans[number]
        if number != self._current:
            self._current = number
            self.results.start_scan(number)
            self._map = self._empty_map(result.scan)
            self._failure = None
        if item["failure"]:
            self.results.fail_slice(number, index, item["failure"])
            result.scan.slice_view(self._map, index)[...] = np.nan
        elif item["empty"]:
            result.empty.add(index)
            result.scores[index] = 0
            result.scan.slice_view(self._map, index)[...] = 0
        else:
            anomaly_map, score = pred.cpu().numpy()
            result.scores[index] = score.max()  # one value wherever the model has looked
            result.scan.slice_view(self._map, index)[...] = anomaly_map
        self._store_map(result.scan, index)
        if index == len(result.scan.slices) - 1:
            try:
                self._write(result)
                if self.report:
                    self._page = self._page or StudyReport(self.output_dir)
                    self._page.add_scan(result, self._map, self.load)
            except (OSError, ValueError, ScanError) as error:  # a full disk, a grid that the format cannot hold
                result.write_failure = result.scan.show(f"{result.scan.name}: its files could not be written: {error}")
            self._close_files()
            result.scan.close()
            if record := self.results.end_scan(number):
                page = self.output_dir / "reports" / f"{record['study']}.html"
                if self._page:
                    self._write_page(self._page, page, record)
                    self._page = None
                else:
                    page.unlink(missing_ok=True)  # of an earlier run
                self.results.end_study(record)

    def _empty_map(self, scan: Scan) -> np.ndarray:
        try:
            with tempfile.TemporaryFile(dir=self.output_dir) as file:
                if hasattr(os, "posix_fallocate"):  # not on macOS
                    # Writing to a mapped page that has no room on the disk would kill the process.
                    os.posix_fallocate(file.fileno(), 0, 4 * math.prod(scan.shape))
                # Fortran's order: what NIfTI stores, and an acquired slice is one piece of the file.
                return np.memmap(file, np.float32, shape=scan.shape, order="F")
        except OSError as error:
            raise ConfigurationError(
                f"{self.output_dir}: no room for the map of {scan.name} ({error.strerror}); what is finished is kept: "
                "make room and run the same command again"
            ) from None

    def _store_map(self, scan: Scan, index: int) -> None:
        """Store what of the scan's map is complete with a slice; a failure is kept until the scan is written."""
        if self._failure:
            return
        try:
            if self._file is None:
                aside = tempfile.TemporaryDirectory(dir=self.output_dir, prefix=_PARTIAL)
                self._aside = Path(self._opened.enter_context(aside))
                path = self._aside / f"{scan.name}_map.nii.gz"
                self._file = self._opened.enter_context(MapFile(path, self._map, scan, self._description))
            self._file.store(scan.whole_planes(index))
            if index == len(scan.slices) - 1:
                self._file.close()
        except (OSError, ValueError, ScanError) as error:
            self._failure = error

    def _close_files(self) -> None:
        """Remove what of a scan was written aside and not moved into place."""
        self._file = None
        with suppress(OSError):  # where the disk is full
            self._opened.close()

    @property
    def _description(self) -> str:
        untrained = "UNTRAINED " if self.provenance["notice"] else ""
        return f"{untrained}anomaly map [0, 1], anomalyclip_med {__version__}"

    def _write(self, result: ScanResult) -> None:
        """Write the files of one scan."""
        folder = self.output_dir / result.scan.name
        folder.mkdir(exist_ok=True)
        for stale in [*folder.glob("*_overlay_*.png"), *folder.glob("*.dcm")]:
            stale.unlink()
        for path in self._files(result, self._aside):
            path.replace(folder / path.name)
            result.outputs.append(f"{result.scan.name}/{path.name}")

    def _dicom_files(self, result: ScanResult, folder: Path) -> Iterator[Path]:
        from anomalyclip_med.writers.dicom import write_dicom

        scan, kinds = result.scan, self.dicom
        if self.threshold and self.threshold.modality not in (None, scan.modality):
            kinds = kinds - {DicomOutput.SEGMENTATION}
            scan.warnings.append(
                f"dicom-not-written: the threshold is of normal {self.threshold.modality}, so there is no segmentation"
            )
        try:
            yield from write_dicom(
                kinds,
                folder,
                result,
                self._map,
                self.load,
                self.provenance,
                threshold=self.threshold.value if self.threshold else None,
                deidentify=self.deidentify,
                top_slices=self.top_slices,
            )
        except ScanError as error:
            scan.warnings.append(scan.show(f"dicom-not-written: {error}"))

    def _write_page(self, page: StudyReport, path: Path, record: dict[str, Any]) -> None:
        """Write the page of a study and put its path into the record."""
        try:
            path.parent.mkdir(exist_ok=True)
            page.write(path, record, self.provenance, index="../index.html")
        except OSError as error:
            record["series"][-1]["write_failure"] = f"{path.name}: the report could not be written: {error}"
            return
        record["report"] = f"reports/{path.name}"

    def _files(self, result: ScanResult, folder: Path) -> Iterator[Path]:
        """Write the files of one scan into a folder; yields each when it is complete."""
        scan = result.scan
        notice = self.provenance["notice"]

        if self._failure:
            raise self._failure
        yield folder / f"{scan.name}_map.nii.gz"
        path = folder / f"{scan.name}_map.json"
        write_map_sidecar(path, result, self.provenance)
        yield path
        if len(scan.slices) == 1 and not result.failures:
            path = folder / f"{scan.name}_map.png"
            write_map_png(path, scan.slice_view(self._map, 0), self._description)
            yield path
        for index in result.top_slices(self.top_slices):
            try:
                image = self.load.read(scan, index)
            except ScanError as error:  # it could be read a moment ago
                scan.warnings.append(scan.show(f"overlay-missing: slice {index}: {error}"))
                continue
            row, column = np.linalg.norm(image.affine.numpy()[:3, :2], axis=0)
            path = folder / f"{scan.name}_overlay_{index:04d}.png"
            write_overlay_png(
                path,
                image.numpy().transpose(1, 2, 0),
                scan.slice_view(self._map, index),
                title=f"{scan.name}   slice {index}   score {result.scores[index]:.3f}",
                notice=notice,
                pixel_aspect=float(row / column),
                edges=edge_letters(scan),
                caption=self._caption(scan, index),
            )
            yield path
        if self.dicom:
            yield from self._dicom_files(result, folder)

    def _caption(self, scan: Scan, index: int) -> str:
        info, window = scan.slices[index], self.load.describe(scan)
        place = slice_place(info.frame, info.position, info.instance_number)
        return " · ".join(filter(None, (place, f"window {window}" if window else "", "research use only")))

    def finish(self) -> None:
        """Write the scores of all studies and print a summary.

        Raises:
            ConfigurationError: the files cannot be written.
        """
        self._worker.wait()
        index = self.output_dir / "index.html"
        try:
            write_scores_csv(self.output_dir / "scores.csv", self.results, self.provenance)
            write_scores_json(self.output_dir / "scores.json", self.results, self.provenance)
            if self.report:
                write_index(index, self.results.studies(), self.provenance, self.results.skipped)
            else:
                index.unlink(missing_ok=True)  # of an earlier run
                with suppress(OSError):  # where pages are left
                    index.with_name("reports").rmdir()
        except OSError as error:
            raise ConfigurationError(
                f"{self.output_dir}: the scores cannot be written ({error.strerror}); every finished study is kept: "
                "run the same command again"
            ) from None
        print(f"\n{scores_table(self.results)}\n\n{self._summary()}")

    def _summary(self) -> str:
        lines = [f"Results: {self.output_dir}"]
        if self.results.skipped:
            lines.append(f"{len(self.results.skipped)} file(s) skipped; scores.json says why")
        if any(result.scan.shown == result.scan.name for result in self.results.scans):
            lines.append("Names stand for files: 'anomalyclip-med names PATH' tells which")
        series = [entry for study in self.results.studies() for entry in study["series"]]
        warnings = [f"{entry['scan']}: {warning}" for entry in series for warning in entry["warnings"]]
        lines += warnings[:_MOST_WARNINGS]
        if len(warnings) > _MOST_WARNINGS:
            lines.append(f"and {len(warnings) - _MOST_WARNINGS} warnings more; scores.json has them all")
        lines += self.provenance["warnings"]
        if self.provenance["notice"]:
            lines.append(self.provenance["notice"])
        return "\n".join(lines)


def _dicom_outputs(kinds: str | Sequence[str]) -> set[DicomOutput]:
    named = [kind for kind in (kinds.split(",") if isinstance(kinds, str) else kinds) if kind]
    if unknown := set(named) - set(DicomOutput):
        raise ConfigurationError(f"dicom={kinds!r}: unknown {', '.join(sorted(unknown))}: use {', '.join(DicomOutput)}")
    return {DicomOutput(kind) for kind in named}
