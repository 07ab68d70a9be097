"""Controlled scenes: one factor of complexity moves, and nothing else does."""

import hashlib

import numpy as np
import pytest
from test_data_scenes import SEEDS, digest

from alit.data.scenes.layout import LEVELS, MOST_OTHERS, draw_controlled
from alit.data.scenes.scene import ControlledSource, render_controlled
from alit.data.scenes.textures import Draws
from alit.data.sources import FACTORS
from alit.errors import ConfigError

# Of the pixels, masks and depth of SEEDS at 32 pixels at every level; see test_data_scenes.
DIGESTS = {
    "objects": "1b72f5038068feff9ef3d1ac1b09bb2d062ae315334955fd050827096910e7d4",
    "texture": "ad4a9d6fa2c2660281921521e4e8a1e3668ee809b50dd8bbc2520a24e7f0fba8",
    "background": "514ac81a26bae2a4d6c777b9af5d434755e77aa11e27576cb37c41d374a856f7",
}


def levels_of(factor, seed, size=64):
    return [render_controlled(seed, size, factor, level) for level in LEVELS]


def stages_of(factor, seed):
    return [draw_controlled(Draws(seed, 3), factor, level) for level in LEVELS]


def detail(image):
    return np.abs(np.diff(image.astype(int), axis=0)).mean() + np.abs(np.diff(image.astype(int), axis=1)).mean()


@pytest.mark.parametrize("factor", FACTORS)
def test_a_seed_and_level_give_the_same_bytes_on_every_platform(factor):
    digests = [digest(scene) for seed in SEEDS for scene in levels_of(factor, seed, 32)]
    assert hashlib.sha256(b"".join(digests)).hexdigest() == DIGESTS[factor]


def test_at_the_middle_level_all_factors_show_the_same_picture():
    for seed in SEEDS:
        assert len({digest(render_controlled(seed, 32, factor, 0.5)) for factor in FACTORS}) == 1


@pytest.mark.parametrize("factor", FACTORS)
def test_the_complexity_is_the_level(factor):
    assert [scene.complexity for scene in levels_of(factor, 3)] == [0, 25, 50, 75, 100]


def test_the_number_of_objects_moves_bodies_only():
    for seed in SEEDS:
        stages = stages_of("objects", seed)
        assert [len(stage.bodies) for stage in stages] == [1, 3, 5, 7, 1 + MOST_OTHERS]
        assert len({stage._replace(clutter=0, bodies=()) for stage in stages}) == 1
        assert all(stage.bodies == stages[-1].bodies[: len(stage.bodies)] for stage in stages)


def test_another_object_hides_none_that_was_there():
    for seed in SEEDS:
        fewer, more = (render_controlled(seed, 64, "objects", level) for level in (0.25, 1.0))
        assert np.array_equal(more.masks[fewer.masks > 0], fewer.masks[fewer.masks > 0])


def test_texture_moves_patterns_only():
    for seed in SEEDS:
        stages = stages_of("texture", seed)
        bare = [tuple(body._replace(texture=None) for body in stage.bodies) for stage in stages]
        assert len({stage._replace(clutter=0, bodies=()) for stage in stages}) == 1
        assert len(set(bare)) == 1
        textures = [stage.bodies[0].texture for stage in stages]
        assert textures[0].pattern is None
        assert all(texture.pattern == textures[-1].pattern for texture in textures[1:])
        assert np.all(np.diff([texture.frequency for texture in textures]) > 0)
        contrasts = [np.abs(np.subtract(texture.first, texture.second)).sum() for texture in textures]
        assert contrasts[0] == 0
        assert np.all(np.diff(contrasts) >= 0)


def test_the_background_moves_its_layers_only():
    for seed in SEEDS:
        stages = stages_of("background", seed)
        kept = {"clutter": 0, "backdrop": None, "ground": None}
        assert len({stage._replace(**kept) for stage in stages}) == 1
        assert len({(stage.backdrop.gains, stage.backdrop.crop.photo) for stage in stages}) == 1
        assert np.all(np.diff([stage.backdrop.crop.side for stage in stages]) > 0)
        assert np.all(np.diff([stage.backdrop.contrast for stage in stages]) > 0)
        scenes = levels_of("background", seed)
        assert all(np.array_equal(scene.masks, scenes[0].masks) for scene in scenes)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_brings_detail(factor):
    found = np.array([[detail(scene.image) for scene in levels_of(factor, seed)] for seed in SEEDS])
    assert np.all(np.diff(found.mean(axis=0)) > 0)


def test_the_source_shows_each_scene_at_every_level():
    source = ControlledSource("many", "objects", "val", 10, 32)
    records = [source.record(index) for index in range(len(source))]
    assert [record.complexity for record in records] == [0, 25, 50, 75, 100] * 2
    assert [record.origin for record in records] == [records[0].origin] * 5 + [records[5].origin] * 5
    assert len({record.image_id for record in records}) == 10
    assert all(record.image_id.startswith("objects-val-") for record in records)
    assert {record.label for record in records[:5]} == {records[0].label}
    assert source.digest(3) != source.digest(4)


def test_a_scene_that_lacks_levels_is_refused():
    with pytest.raises(ConfigError, match=r"data\.sets many: expected a multiple of 5 images"):
        ControlledSource("many", "objects", "val", 7, 32)
