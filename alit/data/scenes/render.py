"""Rasterize a scene: the stage, then every object from the farthest to the nearest.

Edges are antialiased by supersampling. Colors are whole numbers throughout, and coordinates use only
operations that IEEE 754 rounds the same everywhere, so a scene has the same bytes on every platform.
"""

from typing import NamedTuple

import numpy as np

from alit.data.scenes.layout import Body, Layer, Stage
from alit.data.scenes.shapes import SCENE_CLASSES, SHAPES
from alit.data.scenes.textures import paint, read_crop, sum_blocks

_REACH = 1.2  # no rotated shape leaves this many half extents


class Raster(NamedTuple):
    """A picture in the making; drawing changes it in place."""

    colors: np.ndarray  # int32 (3, size, size) in [0, 255]
    masks: np.ndarray  # uint8 (size, size), position of the object in the stage's bodies plus 1
    depth: np.ndarray  # float32 (size, size), meters


class Window(NamedTuple):
    """The pixels that an object may touch."""

    rows: slice
    columns: slice
    u: np.ndarray  # float32 (1, w), half extents right of the center, at pixel or sample centers
    v: np.ndarray  # float32 (h, 1), half extents above it


def draw_raster(stage: Stage, size: int) -> Raster:
    """Draw a scene at `size` pixels per side."""
    raster = _draw_background(stage, size)
    fog = [int(channel.sum(dtype=np.int64)) // channel.size for channel in raster.colors]
    samples = 3 if size <= 128 else 2
    for number, body in reversed(list(enumerate(stage.bodies, start=1))):
        _draw_shadow(raster, body, size)
        haze = int(160 * max(0.0, 1 - stage.bodies[0].depth * 2 / body.depth))
        _draw_body(raster, body, number, stage.light, size, samples, haze, fog)
    return raster


def _draw_background(stage: Stage, size: int) -> Raster:
    """Draw the backdrop and, below its foot, the ground."""
    foot = stage.horizon + stage.drop / stage.wall
    rows = (np.arange(size) + 0.5) / size
    depth = np.where(rows < foot, stage.wall, stage.drop / np.maximum(rows - stage.horizon, 1e-3))
    # The row that the foot crosses is a mixture of both.
    share = np.clip((rows - foot) * size + 0.5, 0, 1)
    ground = (share * 256).astype(np.int32)[:, None]
    # Ground farther away is darker, down to three quarters at the backdrop.
    fade = (256 * (0.75 + 0.25 * np.clip((rows - foot) / (1 - foot), 0, 1))).astype(np.int32)[:, None]
    above, below = _read_layer(stage.backdrop, size), _read_layer(stage.ground, size) * fade >> 8
    colors = (above * (256 - ground) + below * ground) >> 8
    meters = np.repeat(depth.astype(np.float32)[:, None], size, axis=1)
    return Raster(colors, np.zeros((size, size), np.uint8), meters)


def _read_layer(layer: Layer, size: int) -> np.ndarray:
    """Return a surface of the stage, int32 (3, size, size)."""
    crop = np.ascontiguousarray(read_crop(layer.crop, size).transpose(2, 0, 1))
    for channel, gain in zip(crop, layer.gains, strict=True):
        mean = int(channel.sum(dtype=np.int64)) // channel.size
        np.minimum(((mean + ((channel - mean) * layer.contrast >> 8)) * gain) >> 8, 255, out=channel)
    return crop


def _window(size: int, samples: int, center: tuple[float, float], extent: tuple[float, float], reach: float) -> Window:
    """Return the pixels within `reach` half extents of a center, with `samples` per pixel and axis."""
    slices, coordinates = [], []
    for middle, length in zip(center, extent, strict=True):
        half = length / 2
        first = min(max(int((middle - half * reach) * size), 0), size)
        last = min(max(int((middle + half * reach) * size) + 1, first), size)
        positions = (np.arange(first * samples, last * samples) + 0.5) / (size * samples)
        slices.append(slice(first, last))
        coordinates.append(((positions - middle) / half).astype(np.float32))
    return Window(slices[1], slices[0], coordinates[0][None, :], -coordinates[1][:, None])


def _draw_shadow(raster: Raster, body: Body, size: int) -> None:
    """Darken the ground under an object, most in the middle."""
    width, height = body.extent
    window = _window(size, 1, (body.center[0], body.foot), (width * 1.1, height * 0.3), 1.0)
    square = window.u * window.u + window.v * window.v
    factor = (256 - 128 * np.maximum(1 - square, 0)).astype(np.int32)
    patch = raster.colors[:, window.rows, window.columns]
    patch[...] = patch * factor >> 8


def _draw_body(
    raster: Raster, body: Body, number: int, light: int, size: int, samples: int, haze: int, fog: list[int]
) -> None:
    """Draw one object over the picture; a pixel belongs to the object when it covers at least half."""
    window = _window(size, samples, body.center, body.extent, _REACH)
    if window.u.size == 0 or window.v.size == 0:
        return
    cosine, sine = (np.float32(value) for value in body.direction)
    u, v = window.u * cosine + window.v * sine, window.v * cosine - window.u * sine
    # The light stays where it is when the object turns by up to a quarter; beyond that it changes sides.
    inside, shade = SHAPES[SCENE_CLASSES[body.label]].draw(u, v, light if cosine >= 0 else -light)
    brightness = (shade * np.float32(256)).astype(np.int32)
    covered = sum_blocks(inside.astype(np.int32), samples)
    parts = samples * samples
    for channel, paint_channel, mist in zip(raster.colors, paint(body.texture, u, v), fog, strict=True):
        lit = np.minimum(brightness * paint_channel >> 8, 255)
        lit += (mist - lit) * haze >> 8
        patch = channel[window.rows, window.columns]
        patch[...] = (sum_blocks(lit * inside, samples) + patch * (parts - covered)) // parts
    shown = 2 * covered >= parts
    raster.masks[window.rows, window.columns][shown] = number
    raster.depth[window.rows, window.columns][shown] = body.depth
