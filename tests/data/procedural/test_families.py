"""Every family by itself: parameters as data, drawing as a function of them, at several sizes."""

import json

import numpy as np
import pytest

from anomalyclip_med.data.procedural.defects import DEFECTS
from anomalyclip_med.data.procedural.family import describe
from anomalyclip_med.data.procedural.generation import draw_defect, noticeable
from anomalyclip_med.data.procedural.looks import LOOKS
from anomalyclip_med.data.procedural.objects import OBJECTS
from anomalyclip_med.data.procedural.scene import Scene, ScenePlan
from anomalyclip_med.data.procedural.textures import TEXTURES

SIZES = (64, 224, 518)


def scene_of(seed: int, size: int = 128, object_share: float = 0.5) -> Scene:
    rng = np.random.default_rng(seed)
    return ScenePlan.sample(rng, dict.fromkeys(TEXTURES, 1.0), dict.fromkeys(OBJECTS, 1.0), object_share).draw(size)


def textured(seed: int, size: int = 128) -> Scene:
    """A busy mid-grey scene without object, on which every family of defects can show."""
    rng = np.random.default_rng(seed)
    tone = np.clip(0.5 + 0.12 * rng.standard_normal((size, size)), 0, 1).astype(np.float32)
    image = np.repeat(tone[..., None], 3, axis=2)
    return Scene(image=image, support=np.ones_like(tone), background=np.zeros_like(image))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TEXTURES)
def test_texture(name, size):
    parameters = TEXTURES[name].sample(np.random.default_rng(1))
    tone = parameters.draw(size)
    assert tone.shape == (size, size)
    assert tone.dtype == np.float32
    assert 0.0 <= tone.min() < tone.max() <= 1.0
    np.testing.assert_array_equal(tone, parameters.draw(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OBJECTS)
def test_object_covers_a_fair_part_of_the_picture(name, size):
    covered = []
    for seed in range(4):
        shell = OBJECTS[name].sample(np.random.default_rng(seed)).shell(size)
        assert shell.shape == (size, size)
        assert shell.dtype == np.float32
        assert shell.min() >= 0.0
        covered.append(float((shell < 1).mean()))
    assert min(covered) > 0.05
    assert min(covered) < 0.95


def test_structures_scale_with_the_size():
    """The same outline at twice the size, averaged down, is the outline: sizes change pixels, not the picture."""
    for seed in range(4):
        for family in OBJECTS.values():
            shape = family.sample(np.random.default_rng(seed))
            small, large = shape.shell(64) < 1, shape.shell(128) < 1
            assert abs(large.reshape(64, 2, 64, 2).mean(axis=(1, 3)) - small).mean() < 0.02


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LOOKS)
def test_look(name, size):
    image = scene_of(5, size).image
    before = image.copy()
    parameters = LOOKS[name].sample(np.random.default_rng(3))
    seen = parameters.apply(image)
    assert seen.shape == image.shape
    assert seen.dtype == np.float32
    assert seen.min() >= 0.0
    assert seen.max() <= 1.0
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(seen, parameters.apply(image))
    assert np.abs(seen - image).max() > 1e-3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DEFECTS)
def test_defect_is_valid_at_every_size(name, size):
    family = DEFECTS[name]
    for seed in range(2):
        scene = scene_of(seed, size)
        before = scene.image.copy()
        area = float(np.sqrt(family.areas[0] * family.areas[1]))
        parameters = family.sample(np.random.default_rng(seed), area)
        image, mask = draw_defect(scene, parameters)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.float32
        assert image.min() >= 0.0
        assert image.max() <= 1.0
        assert mask.any()
        np.testing.assert_array_equal(scene.image, before)
        again, same = draw_defect(scene, parameters)
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(mask, same)


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_changes_the_inside_and_hardly_the_outside(name):
    inside, outside = [], []
    family = DEFECTS[name]
    for seed in range(12):
        scene = textured(seed)
        area = float(np.sqrt(family.areas[0] * family.areas[1]))
        image, mask = draw_defect(scene, family.sample(np.random.default_rng(seed), area))
        if not noticeable(scene.image, image, mask):
            continue
        change = np.abs(image - scene.image).max(axis=2)
        inside.append(change[mask].mean())
        outside.append(change[~mask].mean())
    assert len(inside) >= 3
    assert np.median(inside) > 0.05
    # Soft edges and halos reach over the outline of the mask, but most of the change lies inside.
    assert np.median(np.array(inside) / (np.array(outside) + 1e-6)) > 10
    assert np.min(np.array(inside) / (np.array(outside) + 1e-6)) > 2


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_stays_on_the_object(name):
    family = DEFECTS[name]
    for seed in range(4):
        scene = scene_of(seed, object_share=1.0)
        image, mask = draw_defect(scene, family.sample(np.random.default_rng(seed), family.areas[1]))
        assert not (mask & (scene.support <= 0.5)).any()
        np.testing.assert_array_equal(image[scene.support == 0], scene.image[scene.support == 0])


@pytest.mark.parametrize(
    "name", ["blob", "inlay", "stain", "texture_swap", "smoothing", "gain", "bump", "ring", "paste"]
)
@pytest.mark.parametrize("area", [0.002, 0.02, 0.3])
def test_regions_have_the_area_asked_for(name, area):
    for seed in range(3):
        _, mask = draw_defect(textured(seed, 224), DEFECTS[name].sample(np.random.default_rng(seed), area))
        assert mask.mean() == pytest.approx(area, rel=0.1)


@pytest.mark.parametrize("name", ["scratch", "crack", "hair", "points"])
def test_small_defects_stay_within_a_few_times_their_area(name):
    family = DEFECTS[name]
    for area in family.areas:
        masks = [
            draw_defect(textured(seed, 224), family.sample(np.random.default_rng(seed), area))[1].mean()
            for seed in range(10)
        ]
        assert area / 4 < np.median(masks) < area * 4


def test_noticeable_needs_more_change_in_a_busy_picture():
    mask = np.zeros((64, 64), dtype=np.bool_)
    mask[20:40, 20:40] = True
    flat = np.full((64, 64, 3), 0.5, dtype=np.float32)
    busy = textured(0, 64).image
    step = (0.03 * mask[..., None]).astype(np.float32)
    assert noticeable(flat, flat + step, mask)
    assert not noticeable(busy, busy + step, mask)
    assert not noticeable(flat, flat + step, np.zeros_like(mask))


def test_recipes_are_json():
    rng = np.random.default_rng(0)
    for registry in (TEXTURES, OBJECTS, LOOKS):
        for name, family in registry.items():
            recipe = describe(family.sample(rng))
            assert recipe["family"] == name
            assert json.loads(json.dumps(recipe)) == recipe
    for name, family in DEFECTS.items():
        recipe = describe(family.sample(rng, 0.01))
        assert recipe["family"] == name
        assert json.loads(json.dumps(recipe)) == recipe
