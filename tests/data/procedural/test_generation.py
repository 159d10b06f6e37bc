"""Pictures from seeds: determinism, ranges, labels, areas; the settings; the data set; the contact sheet."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from anomalyclip_med.data.procedural import ProceduralDataset, Settings, contact_sheet, generate
from anomalyclip_med.data.procedural.defects import DEFECTS
from anomalyclip_med.data.procedural.looks import LOOKS
from anomalyclip_med.data.procedural.objects import OBJECTS
from anomalyclip_med.data.procedural.textures import TEXTURES
from anomalyclip_med.errors import ConfigurationError

ANOMALOUS = Settings(anomalous_share=1.0)
NORMAL = Settings(anomalous_share=0.0)


@given(seed=st.integers(0, 2**63), size=st.sampled_from([32, 64, 97]))
@budget(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_seed_gives_a_valid_picture(seed, size):
    sample = generate(seed, size)
    assert sample.image.shape == (size, size, 3)
    assert sample.image.dtype == np.float32
    assert np.isfinite(sample.image).all()
    assert sample.image.min() >= 0.0
    assert sample.image.max() <= 1.0
    assert sample.mask.shape == (size, size)
    assert sample.mask.dtype == np.bool_
    assert sample.label == int(bool(sample.recipe["defects"])) == int(sample.mask.any())
    assert json.loads(json.dumps(sample.recipe)) == sample.recipe


@given(seed=st.integers(0, 2**63))
@budget(max_examples=40, deadline=None)
def test_anomalous_and_flawless_twins(seed):
    flawed, flawless = generate(seed, 64, ANOMALOUS), generate(seed, 64, NORMAL)
    assert flawed.label == 1
    assert flawless.label == 0
    assert flawed.recipe["scene"] == flawless.recipe["scene"]
    assert flawed.recipe["looks"] == flawless.recipe["looks"]
    assert not np.array_equal(flawed.image, flawless.image)


@given(seed=st.integers(0, 2**63))
@budget(max_examples=20, deadline=None)
def test_before_looks_the_change_is_inside_the_mask(seed):
    plain = {"looks_per_image": (0, 0)}
    flawed, flawless = generate(seed, 64, replace(ANOMALOUS, **plain)), generate(seed, 64, replace(NORMAL, **plain))
    change = np.abs(flawed.image - flawless.image).max(axis=2)
    assert change[flawed.mask].mean() > 1.5 * change[~flawed.mask].mean()
    assert change[flawed.mask].mean() > 0.01


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    first = [generate(seed, 96) for seed in range(12)]
    for seed in reversed(range(12)):
        again = generate(seed, 96)
        assert again.image.tobytes() == first[seed].image.tobytes()
        assert again.mask.tobytes() == first[seed].mask.tobytes()
        assert again.recipe == first[seed].recipe
    assert len({sample.image.tobytes() for sample in first}) == 12


def test_global_random_state_is_neither_read_nor_written():
    np.random.seed(1)  # noqa: NPY002
    before = generate(5, 64)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert generate(5, 64).image.tobytes() == before.image.tobytes()
    np.random.seed(1)  # noqa: NPY002
    generate(6, 64)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_areas_labels_and_signs_cover_their_ranges():
    samples = [generate(seed, 96) for seed in range(250)]
    assert 0.6 < np.mean([sample.label for sample in samples]) < 0.8
    areas = np.array([sample.mask.mean() for sample in samples if sample.label])
    assert areas.max() <= 0.32
    for low, high, least in ((0.0, 0.003, 0.05), (0.003, 0.03, 0.1), (0.03, 0.1, 0.12), (0.1, 0.32, 0.12)):
        assert ((areas > low) & (areas <= high)).mean() > least
    brighter = []
    for sample in samples[:120]:
        if sample.label:
            flawless = generate(sample.recipe["seed"], 96, NORMAL)
            brighter.append((sample.image - flawless.image)[sample.mask].mean() > 0)
    assert 0.25 < np.mean(brighter) < 0.75


def test_every_family_is_reached():
    seen = set()

    def collect(recipe):
        if isinstance(recipe, dict):
            seen.add(recipe.get("family"))
            for value in recipe.values():
                collect(value)
        elif isinstance(recipe, list):
            for value in recipe:
                collect(value)

    for seed in range(300):
        collect(generate(seed, 32, ANOMALOUS).recipe)
    assert {*TEXTURES, *OBJECTS, *DEFECTS, *LOOKS} <= seen


def test_only_weighted_families_are_drawn():
    chosen = Settings(
        textures={"fractal": 1.0},
        objects={"sector": 1.0},
        defects={"blob": 1.0, "inlay": 0.0},
        looks={"gamma": 1.0},
        anomalous_share=1.0,
        object_share=1.0,
        looks_per_image=(1, 1),
        area=(0.01, 0.02),
    )
    for seed in range(10):
        recipe = generate(seed, 64, chosen).recipe
        assert recipe["scene"]["surface"]["texture"]["family"] == "fractal"
        assert recipe["scene"]["body"]["shape"]["family"] == "sector"
        assert {defect["family"] for defect in recipe["defects"]} == {"blob"}
        assert all(0.01 <= defect["region"]["area"] <= 0.02 for defect in recipe["defects"])
        assert [look["family"] for look in recipe["looks"]] == ["gamma"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"textures": {"wool": 1.0}}, "unknown wool"),
        ({"defects": {}}, "at least one"),
        ({"objects": {"pebble": 0.0}}, "at least one"),
        ({"looks": {"gamma": -1.0}}, "not negative"),
        ({"looks": {"gamma": float("nan")}}, "finite"),
        ({"looks": {"gamma": 1.0}, "looks_per_image": (0, 2)}, "1 have weight"),
        ({"anomalous_share": 1.2}, "anomalous_share"),
        ({"object_share": -0.1}, "object_share"),
        ({"large_share": 2.0}, "large_share"),
        ({"defects_per_image": (0, 2)}, "defects_per_image"),
        ({"looks_per_image": (3, 2)}, "looks_per_image"),
        ({"area": (0.2, 0.1)}, "area"),
        ({"area": (0.0, 0.1)}, "area"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        Settings(**wrong)


def test_size_and_seed_are_checked():
    with pytest.raises(ConfigurationError, match="size"):
        generate(0, 16)
    with pytest.raises(ConfigurationError, match="seed"):
        generate(-1)
    with pytest.raises(ConfigurationError, match="length"):
        ProceduralDataset(0, 0)


def test_dataset_items_depend_on_seed_and_index_only():
    data = ProceduralDataset(length=8, seed=7, size=48)
    longer = ProceduralDataset(length=20, seed=7, size=48)
    other = ProceduralDataset(length=8, seed=8, size=48)
    backwards = [data[index] for index in reversed(range(8))][::-1]
    for index in range(8):
        item = data[index]
        assert item["image"].shape == (3, 48, 48)
        assert item["mask"].shape == (1, 48, 48)
        assert item["image"].dtype == item["mask"].dtype == torch.float32
        assert set(item["mask"].unique().tolist()) <= {0.0, 1.0}
        assert item["label"] == int(item["mask"].any())
        for same in (backwards[index], longer[index]):
            assert torch.equal(item["image"], same["image"])
            assert torch.equal(item["mask"], same["mask"])
        assert not torch.equal(item["image"], other[index]["image"])
    with pytest.raises(IndexError):
        data[8]


def test_workers_change_nothing():
    data = ProceduralDataset(length=6, seed=3, size=32)
    alone = next(iter(DataLoader(data, batch_size=6)))
    shared = next(iter(DataLoader(data, batch_size=6, num_workers=2)))
    for key in ("image", "mask", "label"):
        assert torch.equal(alone[key], shared[key])


def test_a_contact_sheet_of_all_families(tmp_path):
    contact_sheet(tmp_path / "families.png", columns=2, seed=0, size=32)
    with Image.open(tmp_path / "families.png") as sheet:
        assert sheet.height == (1 + len(TEXTURES) + len(OBJECTS) + len(DEFECTS) + len(LOOKS)) * 46
        # Outlines of masks are drawn somewhere.
        assert (np.asarray(sheet) == (0, 255, 0)).all(axis=2).any()
