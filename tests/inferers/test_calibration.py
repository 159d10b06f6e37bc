"""Percentiles among normal studies: their numbers, what may be compared, and the three commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import percentileofscore

from anomalyclip_med.cli import main
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.inferers import Calibration, calibrate, map_threshold, read_calibration, write_calibration

MODEL = {"clip": "a.pt", "clip_sha256": "1", "image_size": 224, "feature_layers": [7, 8]}
SETTINGS = {"window": "brain", "empty_below": 0.0, "plane": "auto", "top_slices": 3}


def calibration_of(scores: list[float], pixels: np.ndarray | None = None, modality: str = "CT") -> Calibration:
    known = np.sort(scores)
    pixels = np.ones(1000, np.int64) if pixels is None else pixels
    levels = ("study", "series", "slice")
    return Calibration(
        modality, MODEL, SETTINGS, dict.fromkeys(levels, len(known)), dict.fromkeys(levels, known), pixels
    )


def test_pixels_outside_of_the_region_are_no_normal_pixels(tmp_path):
    values = np.zeros((10, 8, 2))
    values[2:6, 1:4] = 0.4
    folder = results(tmp_path / "r", [[0.4, 0.3]], [values])
    report = json.loads((folder / "scores.json").read_text())
    series = report["studies"][0]["series"][0]
    series |= {"region": [1, 5, 2, 8], "shape": [10, 8, 2]}
    (folder / "scores.json").write_text(json.dumps(report))
    found = calibrate([folder])
    assert found.pixels.sum() == 2 * 4 * 6
    assert found.pixels[400] == 2 * 4 * 3


def results(folder: Path, scores: list[list[float | None]], maps: list[np.ndarray], **model) -> Path:
    """A folder as a run leaves it: a study per list of slice scores."""
    studies = []
    for number, (slices, values) in enumerate(zip(scores, maps, strict=True)):
        (folder / f"s{number}").mkdir(parents=True)
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), folder / f"s{number}" / f"s{number}_map.nii.gz")
        highest = max((s for s in slices if s is not None), default=None)
        series = {"modality": "CT", "score": highest, "slices": [{"score": s} for s in slices]}
        series["outputs"] = [f"s{number}/s{number}_map.nii.gz"]
        studies.append({"score": highest, "series": [series]})
    content = {"model": MODEL | model, "settings": SETTINGS, "studies": studies}
    (folder / "scores.json").write_text(json.dumps(content))
    return folder


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=60).map(lambda values: [v / 20 for v in values]),
    st.integers(0, 20).map(lambda v: v / 20),
)
def test_the_percentile_is_the_share_of_lower_scores_and_half_the_equal_ones(scores, score):
    expected = percentileofscore(scores, score, kind="mean")
    assert calibration_of(scores).percentile("series", score) == pytest.approx(expected)


def test_a_calibration_is_written_where_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    results(tmp_path / "normal", [[0.4]], [np.full((2, 2, 1), 0.4)])
    write_calibration("~/calibration.json", calibrate(["~/normal"]))
    assert (tmp_path / "calibration.json").is_file()
    assert read_calibration("~/calibration.json").percentile("series", 0.5) == 100


def test_thousands_of_scores_keep_their_percentiles(tmp_path):
    rng = np.random.default_rng(0)
    slices = rng.beta(2, 5, 5000)
    found = calibrate([results(tmp_path / "r", [list(slices)], [rng.random((4, 4, 5))])])
    assert len(found.scores["slice"]) == 1001
    assert found.counts == {"study": 1, "series": 1, "slice": 5000}
    for score in (0.05, 0.2, 0.4, 0.8):
        assert found.percentile("slice", score) == pytest.approx(percentileofscore(slices, score), abs=0.1)


def test_calibration_collects_what_was_scored_and_survives_the_file(tmp_path):
    rng = np.random.default_rng(1)
    maps = [rng.random((6, 5, 3)), rng.random((6, 5, 2))]
    maps[0][..., 1] = np.nan  # a slice that could not be read
    one = results(tmp_path / "one", [[0.1, None, 0.3]], maps[:1])
    other = results(tmp_path / "other", [[0.2, 0.4], [None]], [maps[1], np.full((6, 5, 1), np.nan)])
    write_calibration(tmp_path / "c.json", calibrate([one, other]))
    found = read_calibration(tmp_path / "c.json")
    assert found.counts == {"study": 2, "series": 2, "slice": 4}
    assert found.scores["slice"].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert found.scores["study"].tolist() == [0.3, 0.4]
    assert found.pixels.sum() == 6 * 5 * 4
    values = np.concatenate([m[np.isfinite(m)] for m in maps])
    for percentile in (50, 90, 99):
        assert found.pixel_value(percentile) == pytest.approx(
            np.percentile(values, percentile, method="inverted_cdf"), abs=1.1e-3
        )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.floats(0.1, 99.9))
def test_so_many_percent_of_the_normal_pixels_lie_below_the_threshold(values, percentile):
    pixels = np.histogram(values, bins=1000, range=(0, 1))[0]
    found = calibration_of([0.5], pixels).pixel_value(percentile)
    edge = np.floor(np.array(values) * 1000) / 1000  # a value may lie anywhere in its bin
    assert np.mean(edge <= found) * 100 >= percentile - 1e-9 or found == 1


def test_a_record_gets_percentiles_where_they_mean_something():
    slices = [{"score": 0.25}, {"score": None}]
    ct = {"modality": "CT", "score": 0.25, "slices": slices, "warnings": []}
    us = {"modality": "US", "score": 0.9, "slices": [{"score": 0.9}], "warnings": []}
    study = {"score": 0.25, "series": [ct]}
    mixed = {"score": 0.9, "series": [ct | {"warnings": [], "slices": []}, us]}
    found = calibration_of([0.1, 0.2, 0.3, 0.4])
    for record in (study, mixed):
        for series in record["series"]:
            found.annotate_series(series)
        found.annotate_study(record)
    assert study["percentile"] == ct["percentile"] == slices[0]["percentile"] == 50
    assert "percentile" not in slices[1]
    assert ct["warnings"] == []
    assert "percentile" not in mixed
    assert "percentile" not in us
    assert us["warnings"] == ["not-calibrated: the normals are CT, this is US"]


def test_a_run_with_other_settings_cannot_be_compared():
    found = calibration_of([0.5])
    found.check({"model": MODEL | {"clip": "renamed.pt"}, "settings": SETTINGS | {"top_slices": 0}})
    with pytest.raises(
        ConfigurationError, match="image_size 224 there and 518 here, window 'brain' there and 'auto' h"
    ):
        found.check({"model": MODEL | {"image_size": 518}, "settings": SETTINGS | {"window": "auto"}})


def test_what_cannot_be_calibrated_on(tmp_path):
    with pytest.raises(ConfigurationError, match="named twice"):
        calibrate([tmp_path, tmp_path / "."])
    empty = np.zeros((2, 2, 1))
    with pytest.raises(ConfigurationError, match=r"scores\.json: no such file; score the normal studies first"):
        calibrate([tmp_path])
    with pytest.raises(ConfigurationError, match="no scored study"):
        calibrate([results(tmp_path / "none", [[None]], [empty])])
    one = results(tmp_path / "one", [[0.1]], [empty])
    with pytest.raises(ConfigurationError, match="two: scored with other weights or settings"):
        calibrate([one, results(tmp_path / "two", [[0.1]], [empty], image_size=448)])
    report = json.loads((one / "scores.json").read_text())
    report["studies"].append({"score": 0.2, "series": [report["studies"][0]["series"][0] | {"modality": "MR"}]})
    (one / "scores.json").write_text(json.dumps(report))
    with pytest.raises(ConfigurationError, match=r"several modalities \(CT, MR\)"):
        calibrate([one])
    (one / "s0" / "s0_map.nii.gz").unlink()
    with pytest.raises(ConfigurationError, match=r"s0_map\.nii\.gz: a map of these results is missing"):
        calibrate([one])


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "other"}', None], ids=["empty", "list", "nothing", "format", "unsorted"]
)
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "c.json"
    if content is None:
        write_calibration(path, calibration_of([0.1, 0.2]))
        content = path.read_text().replace("[0.1, 0.2]", "[0.2, 0.1]")
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"c\.json: "):
        read_calibration(path)
    with pytest.raises(ConfigurationError, match="anomalyclip-med calibrate"):
        read_calibration(tmp_path / "absent.json")


def test_thresholds():
    found = calibration_of([0.5])  # a pixel in each thousandth
    assert map_threshold(None, None) is None
    assert map_threshold(0.3, None) == map_threshold("0.3", None) == (0.3, None)
    assert map_threshold("p99.5", found) == (0.995, "CT")
    with pytest.raises(ConfigurationError, match="give a calibration"):
        map_threshold("p99", None)
    for wrong in (0, 1, 1.5, -1, "p0", "p100", "high", "nan", "pp3"):
        with pytest.raises(ConfigurationError, match="give a number above 0"):
            map_threshold(wrong, found)


def test_the_three_commands(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder, count in (("normal", 5), ("new", 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            picture = rng.integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / folder / f"{number}.png")
    model = ["--clip", "untrained", "--image-size", "70", "--top-slices", "0", "--show-names", "--device", "cpu"]
    file = str(tmp_path / "c.json")
    assert main(["score", str(tmp_path / "normal"), "-o", str(tmp_path / "n"), *model]) == 0
    assert main(["calibrate", str(tmp_path / "n"), "-o", file]) == 0
    assert "5 normal studies, 5 series, 5 slices" in capsys.readouterr().out
    assert main(["score", str(tmp_path / "new"), "-o", str(tmp_path / "out"), *model, "--calibration", file]) == 0
    assert "percentile of 5 normals" in capsys.readouterr().out
    normals = [s["score"] for s in json.loads((tmp_path / "n" / "scores.json").read_text())["studies"]]
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert report["calibration"]["normals"] == {"study": 5, "series": 5, "slice": 5}
    for study in report["studies"]:
        expected = percentileofscore(normals, study["score"], kind="mean")
        assert study["percentile"] == study["series"][0]["slices"][0]["percentile"] == pytest.approx(expected)
    with (tmp_path / "out" / "scores.csv").open() as rows:
        told = {row["study"]: float(row["percentile"]) for row in csv.DictReader(rows)}
    assert told == {study["study"]: study["percentile"] for study in report["studies"]}
    other = [*model, "--window", "percentile", "--calibration", file]
    assert main(["score", str(tmp_path / "new"), "-o", str(tmp_path / "out"), *other]) == 2
    assert "window 'auto' there and 'percentile' here" in capsys.readouterr().err
