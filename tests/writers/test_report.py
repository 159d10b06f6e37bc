"""Reports, opened from their files in a browser: paging, the map's place and colours, strangers' text, sizes."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from anomalyclip_med.data import Scan, SkippedFile, find_scans
from anomalyclip_med.data.scan import SliceInfo
from anomalyclip_med.data.slicing import Slicing
from anomalyclip_med.errors import ScanError
from anomalyclip_med.inferers import RunResults
from anomalyclip_med.inferers.provenance import UNTRAINED_NOTICE
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers import StudyReport, write_index
from anomalyclip_med.writers.overlay import heat_colormap
from anomalyclip_med.writers.report.pages import percentile_text, slice_ranges, voxel_size
from anomalyclip_med.writers.report.plot import plot_paths
from anomalyclip_med.writers.report.study import thinned

ATTACK = "</script><!--<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'&{{7*7}}"
OFFLINE = "offline-backbone: a network of unknown origin"
PROVENANCE: dict[str, Any] = {
    "package": "anomalyclip_med",
    "version": "0.0",
    "packages": {"torch": "2.0"},
    "trained": True,
    "notice": None,
    "model": {"clip": "offline", "clip_sha256": "ab" * 32, "prompts": "p.safetensors", "feature_layers": [7, 8]},
    "settings": {"window": "auto"},
    "warnings": [OFFLINE],
}
LOAD = LoadSliced("image")


class MadeScan(Scan):
    """Slices of noise over a gradient; some of them cannot be read."""

    def __init__(self, name: str, slices: int, side: int = 24, unreadable: tuple[int, ...] = ()) -> None:
        shape = (side, side, slices)
        super().__init__(
            source=Path(name),
            format="dicom",
            modality="CT",
            shape=shape,
            affine=np.diag([1.0, 1.0, 2.0, 1.0]),
            slicing=Slicing.acquired(shape),
            slices=[SliceInfo(i, None, None, 2.0 * i) for i in range(slices)],
            stored_range=(0.0, 255.0),
            study=f"study_of_{name}",
            series=name,
        )
        self.name = self.shown = name
        self.unreadable = unreadable

    def _read(self, index: int, place: int, time: int) -> np.ndarray:
        if index in self.unreadable:
            raise ScanError("the file is gone")
        noise = np.random.default_rng(index).normal(0, 20, self.shape[:2])
        return np.clip(128 + noise + np.linspace(-60, 60, self.shape[0]), 0, 255).astype(np.float32)


def written(folder: Path, results: RunResults, maps: list[np.ndarray], provenance: Any = PROVENANCE, **limits) -> Path:
    """The page of the only study of a run."""
    report = StudyReport(folder, **limits)
    for result, anomaly_map in zip(results.scans, maps, strict=True):
        report.add_scan(result, anomaly_map, LOAD)
    (study,) = results.studies()
    report.write(folder / "report.html", study, provenance)
    assert [p.name for p in folder.iterdir() if p.name.startswith(("tmp", "."))] == []
    return folder / "report.html"


def made(scans: list[Scan]) -> tuple[RunResults, list[np.ndarray]]:
    """Results whose scores rise from 0.1 to 0.9 with the slices, and maps that hold them everywhere."""
    results = RunResults(scans, [])
    maps = []
    for result in results.scans:
        result.scores[:] = np.linspace(0.1, 0.9, len(result.scores))
        maps.append(np.broadcast_to(result.scores.astype(np.float32), result.scan.shape).copy())
    return results, maps


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on the PATH to open reports in")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page; in the end it must have logged nothing, such as a violation of its policy, and fetched nothing."""
    messages: list[str] = []
    requests: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 900})

    def open_page(path: Path) -> Any:
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.resolve().as_uri())
        return page

    yield open_page
    context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith(("data:", "file:"))] == []
    assert [url for url in requests if url.startswith("file:") and not url.endswith(".html")] == []


def shows(page: Any, index: int, series: int = 0) -> None:
    """Wait until a slice's pictures are drawn, and compare what is written beside them."""
    page.wait_for_selector(f"#series-{series} .screen[data-shown='{index}']", timeout=5000)
    assert page.inner_text(f"#series-{series} .index") == f"slice {index}"


def pixels(page: Any, canvas: str) -> np.ndarray:
    """(rows, columns, 4) uint8 of a canvas."""
    rows, columns, values = page.evaluate(
        """(name) => { const c = document.querySelector(name);
        const copy = new OffscreenCanvas(c.width, c.height).getContext("2d", {willReadFrequently: true});
        copy.drawImage(c, 0, 0);
        return [c.height, c.width, [...copy.getImageData(0, 0, c.width, c.height).data]] }""",
        canvas,
    )
    return np.array(values, np.uint8).reshape(rows, columns, 4)


def test_slices_are_paged_through(tmp_path: Path, opened: Callable[..., Any]) -> None:
    results, maps = made([MadeScan("scan", 50)])
    page = opened(written(tmp_path, results, maps))
    shows(page, 49)  # the highest scored one
    assert page.inner_text(".strip .value") == "0.900"
    assert "98.0 mm" in page.inner_text(".place")
    bright = pixels(page, ".image").copy()

    page.fill(".position", "10")
    shows(page, 10)
    assert page.inner_text(".strip .value") == f"{results.scans[0].scores[10]:.3f}"
    assert page.get_attribute(".position", "aria-valuetext") == "slice 10, 0.263"
    assert (pixels(page, ".image") != bright).any()

    for target in (".screen", ".position"):
        page.fill(".position", "10")
        page.focus(target)
        for key, index in (
            ("ArrowDown", 11),
            ("ArrowRight", 12),
            ("ArrowUp", 11),
            ("ArrowLeft", 10),
            ("PageDown", 20),
            ("PageUp", 10),
            ("End", 49),
            ("ArrowDown", 49),
            ("Home", 0),
            ("ArrowUp", 0),
        ):
            page.keyboard.press(key)
            shows(page, index)
            assert page.input_value(".position") == str(index)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")  # nothing has the focus
    shows(page, 1)

    page.hover(".screen")
    page.mouse.wheel(0, 120)
    shows(page, 2)
    page.mouse.wheel(0, -120)
    shows(page, 1)
    page.click(".step[aria-label='Next slice']")
    shows(page, 2)

    box = page.locator(".plot").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 30 / 49, box["y"] + 5)
    shows(page, 30)
    cursor = page.locator(".cursor").bounding_box()
    assert cursor["x"] == pytest.approx(box["x"] + box["width"] * 30 / 49, abs=2)

    jumps = page.locator(".jump")
    assert jumps.evaluate_all("buttons => buttons.map(b => b.dataset.slice)") == ["49", "48", "47", "46", "45", "44"]
    jumps.nth(2).click()
    shows(page, 47)
    assert jumps.nth(2).get_attribute("aria-pressed") == "true"
    assert jumps.nth(0).get_attribute("aria-pressed") == "false"


def test_the_overlay_fades_and_goes(tmp_path: Path, opened: Callable[..., Any]) -> None:
    page = opened(written(tmp_path, *made([MadeScan("scan", 3)])))
    style = "getComputedStyle(document.querySelector('.overlay')).{}"
    assert page.evaluate(style.format("opacity")) == "0.7"
    page.fill(".strength", "25")
    assert page.evaluate(style.format("opacity")) == "0.25"
    assert page.inner_text("output") == "25 %"
    page.uncheck(".toggle")
    assert page.evaluate(style.format("display")) == "none"
    page.focus(".screen")
    page.keyboard.press("o")
    assert page.evaluate(style.format("display")) == "block"


def test_the_map_lies_where_it_belongs_in_the_colours_of_the_fixed_scale(
    tmp_path: Path, opened: Callable[..., Any]
) -> None:
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])  # LAS, pixels twice as high as wide
    values = np.zeros((40, 30, 4), np.float32)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "volume.nii")
    (scan,), _ = find_scans([tmp_path / "volume.nii"])
    hot = np.zeros(scan.shape, np.float32)
    view = scan.slice_view(hot, 2)
    view[5, 30], view[20, 10], view[28, 38] = 1.0, 0.5, 0.1
    scan.slice_view(hot, 1)[7, 8] = 0.5
    # The picture is white around the hottest spot.
    scan.slice_view(values, 2)[2:9, 25:36] = 1
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "volume.nii")
    (scan,), _ = find_scans([tmp_path / "volume.nii"])

    results = RunResults([scan], [])
    results.scans[0].scores[:] = [0.0, 0.1, 1.0, 0.2]
    page = opened(written(tmp_path, results, [hot]))
    shows(page, 2)
    overlay, image = pixels(page, ".overlay"), pixels(page, ".image")
    assert overlay.shape == image.shape == (30, 40, 4)
    colors = (heat_colormap()(np.arange(256)) * 255).round()
    for row, column, value in ((5, 30, 255), (20, 10, 128), (28, 38, 26)):
        # A canvas multiplies with the transparency, which rounds faint colours.
        np.testing.assert_allclose(overlay[row, column, 3], colors[value, 3], atol=1)
        np.testing.assert_allclose(overlay[row, column, :3], colors[value, :3], atol=255 / colors[value, 3] + 1)
    assert np.count_nonzero(overlay[..., 3]) == 3
    assert image[5, 30, 0] > 200
    assert image[20, 10, 0] < 60

    # On the screen: both canvases fill one box with the slice's proportions in mm.
    boxes = [page.locator(name).bounding_box() for name in (".stack", ".image", ".overlay")]
    assert boxes[0] == boxes[1] == boxes[2]
    assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx(40 * 1 / (30 * 2), rel=0.01)
    edges = [page.inner_text(f".edge.{side}") for side in ("top", "right", "bottom", "left")]
    assert edges == ["A", "L", "P", "R"]

    page.fill(".position", "1")  # half of the scale stays half of it where nothing is higher
    shows(page, 1)
    assert pixels(page, ".overlay")[7, 8, 3] == pytest.approx(colors[128, 3], abs=1)
    page.fill(".position", "0")
    shows(page, 0)
    assert not pixels(page, ".overlay").any()


def test_text_of_strangers_stays_text(tmp_path: Path, opened: Callable[..., Any]) -> None:
    scan = MadeScan("scan", 4)
    scan.name = scan.shown = scan.modality = scan.study = scan.series = ATTACK
    scan.warnings = [ATTACK, f"code: {ATTACK}"]
    results, maps = made([scan])
    results.scans[0].scores[1] = np.nan
    results.scans[0].failures[1] = ATTACK
    results.scans[0].write_failure = ATTACK
    hostile = {**PROVENANCE, "notice": ATTACK, "warnings": [ATTACK], "settings": {ATTACK: ATTACK}}
    path = written(tmp_path, results, maps, hostile)
    study = {**results.studies()[0], "report": path.name}
    write_index(tmp_path / "index.html", [study], hostile, [SkippedFile(Path(ATTACK), ATTACK, True, ATTACK)])
    for name, times in (("report.html", 8), ("index.html", 6)):
        page = opened(tmp_path / name)
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        assert page.evaluate("document.body.textContent").count("window.pwned=1</script><img") >= times
        assert "49" not in page.title()
    page = opened(path)
    page.fill(".position", "1")
    shows(page, 1)
    assert page.inner_text(".note") == ATTACK
    assert page.evaluate("window.pwned") is None


def test_a_page_runs_no_script_but_its_own(tmp_path: Path, browser: Any) -> None:
    path = written(tmp_path, *made([MadeScan("scan", 2)]))
    path.write_text(path.read_text().replace("<main>", "<main><script>window.pwned=1</script>"))
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("window.pwned") is None
    page.wait_for_selector(".screen[data-shown='1']")
    page.close()


def test_failed_empty_and_missing_slices_are_told_apart(tmp_path: Path, opened: Callable[..., Any]) -> None:
    lost = MadeScan("lost", 3)
    lost.study = "study_of_scan"
    results, maps = made([MadeScan("scan", 10, unreadable=(2, 8)), lost])
    first, second = results.scans
    first.scores[2], first.failures[2] = np.nan, "damaged"
    first.scores[4], first.empty = 0, {4}
    maps[0][..., 4] = 0
    second.scores[:], second.failures = np.nan, dict.fromkeys(range(3), "no pixels")
    page = opened(written(tmp_path, results, maps))

    shows(page, 9)
    page.focus("#series-0 .screen")
    page.keyboard.press("ArrowUp")
    shows(page, 7)  # slice 8 could be scored, but not be read again
    assert any(warning == "report-missing: slice 8: the file is gone" for warning in first.scan.warnings)
    assert "7 of 9" not in page.inner_text("#series-0 .thinned")
    assert "8 of 9 scored slices" in page.inner_text("#series-0 .thinned")
    page.fill("#series-0 .position", "2")
    shows(page, 2)
    assert page.inner_text("#series-0 .strip .value") == "not scored"
    assert page.inner_text("#series-0 .note") == "damaged"
    assert not pixels(page, "#series-0 .image").any()
    page.fill("#series-0 .position", "4")
    shows(page, 4)
    assert page.inner_text("#series-0 .note").startswith("empty")
    assert page.get_attribute("#series-0 path.failed", "d") == "M2,1v-0.1"
    assert page.get_attribute("#series-0 path.empty", "d") == "M4,1v-0.1"

    assert "No slice of this series can be shown" in page.inner_text("#series-1 .screen")
    assert "slices 0\N{EN DASH}2: no pixels" in page.inner_text("#series-1 .notes")
    assert "3 not scored" in page.inner_text(".cards")


def test_banners_and_provenance(tmp_path: Path, opened: Callable[..., Any]) -> None:
    results, maps = made([MadeScan("scan", 2)])
    page = opened(written(tmp_path, results, maps))
    assert page.locator(".untrained").count() == 0
    assert "a network of unknown origin" in page.inner_text(".banner")
    page.click("footer summary")
    assert "ab" * 32 in page.inner_text("footer")
    assert "For research only" in page.inner_text("header")

    untrained = {**PROVENANCE, "notice": UNTRAINED_NOTICE, "warnings": []}
    write_index(tmp_path / "index.html", results.studies(), untrained, [])
    page = opened(tmp_path / "index.html")
    assert page.inner_text(".untrained").startswith("UNTRAINED")
    assert page.locator(".banner").count() == 1


def test_percentiles_stand_where_there_are_any(tmp_path: Path, opened: Callable[..., Any]) -> None:
    results, maps = made([MadeScan("scan", 2)])
    assert "normals" not in written(tmp_path, results, maps).read_text()
    (study,) = results.studies()
    study["percentile"] = study["series"][0]["percentile"] = 95.96
    report = StudyReport(tmp_path)
    report.add_scan(results.scans[0], maps[0], LOAD)
    report.write(tmp_path / "report.html", study, PROVENANCE)
    page = opened(tmp_path / "report.html")
    assert "above the 95th percentile of your normals" in page.inner_text(".facts")
    write_index(tmp_path / "index.html", [study], PROVENANCE, [])
    assert "96.0" in opened(tmp_path / "index.html").inner_text(".cards")


def test_the_index_ranks_and_links(tmp_path: Path, opened: Callable[..., Any]) -> None:
    scans = [MadeScan(name, 3) for name in ("low", "failed", "high")]
    skipped = [SkippedFile(Path("broken.nii"), "damaged", True, "broken.nii"), SkippedFile(Path("notes.txt"), "text")]
    results = RunResults(scans, skipped)
    results.scans[0].scores[:] = 0.2
    results.scans[1].failures = dict.fromkeys(range(3), "gone")
    results.scans[2].scores[:] = [0.1, 0.8, 0.3]
    studies = results.studies()
    folder = tmp_path / "a folder #1"
    folder.mkdir()
    report = StudyReport(tmp_path)
    report.add_scan(results.scans[2], np.zeros(scans[2].shape, np.float32), LOAD)
    report.write(folder / "report.html", studies[2], PROVENANCE, index="../index.html")
    studies[2]["report"] = "a folder #1/report.html"
    write_index(tmp_path / "index.html", studies, PROVENANCE, results.skipped)

    page = opened(tmp_path / "index.html")
    rows = page.locator(".cards tbody tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["study_of_high", "study_of_low", "study_of_failed"]
    assert "0.800" in rows[0]
    assert "top slice 1" in rows[0]
    assert "not scored" in rows[2]
    assert "gone" in rows[2]
    assert "broken.nii" in page.inner_text(".unreadable")
    assert page.locator("summary").all_inner_texts()[1] == "1 file belongs to no scan"
    page.click(".cards a")
    shows(page, 1)
    assert page.locator("h1").inner_text() == "Study study_of_high"
    page.click("header a")
    assert page.locator("h1").inner_text() == "Studies by score"


def test_a_long_series_is_thinned_and_says_so(tmp_path: Path, opened: Callable[..., Any]) -> None:
    assert thinned(range(7), [], 1) == list(range(7))
    assert thinned(range(7), [4, 1], 3) == [0, 1, 3, 4, 6]

    results, maps = made([MadeScan("scan", 20)])
    results.scans[0].scores[5] = 1.0
    page = opened(written(tmp_path, results, maps, top_slices=2, max_slices=5))
    shows(page, 5)
    assert page.locator("script[type='text/plain']").count() == 7  # 0, 4, 8, 12, 16 and the two highest, 5 and 19
    assert "7 of 20 scored slices are held here: one in 4" in page.inner_text(".thinned")
    page.focus(".screen")
    page.keyboard.press("ArrowDown")
    shows(page, 8)
    page.fill(".position", "14")  # as far from 12 as from 16
    shows(page, 12)
    assert page.get_attribute("path.line", "d").count(",") == 20


def test_a_study_of_many_series_is_thinned_as_a_whole(tmp_path: Path, opened: Callable[..., Any]) -> None:
    scans: list[Scan] = [MadeScan("long", 40), MadeScan("short", 2)]
    for scan in scans:
        scan.study = "study"
    results, maps = made(scans)
    page = opened(written(tmp_path, results, maps, top_slices=2, max_slices=20, max_study_slices=10))
    shows(page, 39)
    held = page.locator("script[type='text/plain']").evaluate_all("all => all.map(e => e.id)")
    # The short series' slices are its highest: it keeps them. The long one was thinned to 21, then further.
    assert held == [f"slice-0-{i}" for i in (0, 8, 16, 24, 32, 38, 39)] + ["slice-1-0", "slice-1-1"]
    assert "one in 8" in page.inner_text("#series-0 .thinned")
    assert page.locator("#series-1 .thinned").count() == 0


@pytest.mark.slow
def test_large_pictures_are_reduced_and_say_so(tmp_path: Path, opened: Callable[..., Any]) -> None:
    page = opened(written(tmp_path, *made([MadeScan("scan", 1, side=1500)])))
    page.wait_for_selector(".screen[data-shown='0']")
    assert pixels(page, ".image").shape[:2] == (1024, 1024)
    assert pixels(page, ".overlay").shape[:2] == (256, 256)
    assert "to 1024 pixels" in page.inner_text(".reduced")
    assert page.locator(".position, .plot").count() == 0


def test_a_name_that_is_no_unicode_is_written(tmp_path: Path) -> None:
    results, maps = made([MadeScan("scan", 2)])
    results.scans[0].scan.shown = "scan_\udce9.nii"
    assert "scan_\\udce9.nii" in written(tmp_path, results, maps).read_text(encoding="utf-8")


@pytest.mark.slow
def test_300_noisy_slices_stay_small_in_the_file_and_in_memory(tmp_path: Path) -> None:
    results, maps = made([MadeScan("scan", 300, side=512)])
    rows, columns = np.mgrid[:512, :512] / 40
    maps[0] *= (0.5 + 0.5 * np.sin(rows) * np.cos(columns))[..., np.newaxis].astype(np.float32)
    report = StudyReport(tmp_path)
    report.add_scan(results.scans[0], maps[0], LOAD)
    (study,) = results.studies()
    tracemalloc.start()
    report.write(tmp_path / "report.html", study, PROVENANCE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (tmp_path / "report.html").stat().st_size
    assert 10e6 < size < 25e6
    assert peak < 5e6


def test_words_and_paths() -> None:
    assert slice_ranges([0, 2, 3, 4, 9]) == "0, 2\N{EN DASH}4, 9"
    assert [percentile_text(p) for p in (0.4, 1, 52.9, 93, 100)] == [
        "among the lowest of your normals",
        "above the 1st percentile of your normals",
        "above the 52nd percentile of your normals",
        "above the 93rd percentile of your normals",
        "above all of your normals",
    ]
    assert percentile_text(11).startswith("above the 11th")
    paths = plot_paths([0.5, None, 0.25, 1.0, 0.0], [False, False, False, False, True])
    assert paths == {
        "line": "M0,0.5000M2,0.7500L3,0.0000L4,1.0000",
        "dots": "M0,0.5000h0M2,0.7500h0M3,0.0000h0M4,1.0000h0",
        "failed": "M1,1v-0.1",
        "empty": "M4,1v-0.1",
    }
    many = plot_paths([0.5, None] + [0.25] * 500, [False] * 502)
    assert many["dots"] == "M0,0.5000h0"  # alone, it would not be seen without


def test_sizes_that_no_file_gives_are_not_made_up() -> None:
    record = RunResults([MadeScan("scan", 3)], []).studies()[0]["series"][0]
    assert voxel_size(record) == "1.00 \N{MULTIPLICATION SIGN} 1.00 \N{MULTIPLICATION SIGN} 2.00 mm"
    record["slices"][0]["position_mm"] = None
    assert voxel_size(record) == "1.00 \N{MULTIPLICATION SIGN} 1.00 mm"
    record["warnings"] = ["missing-pixel-spacing: the pixel size is unknown, 1 mm is assumed"]
    assert voxel_size(record) == "unknown"
