"""The ten classes of the embedded scenes: the pixels inside each shape, and the brightness of its surface.

A shape takes coordinates u (right) and v (up), float32 (h, w), of which it fills about [-1, 1], and the side
that the light comes from (-1 left, 1 right). It uses only `+`, `-`, `*`, `/`, square roots and comparisons, which
IEEE 754 rounds the same everywhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Surface(NamedTuple):
    """The pixels of a shape and their brightness, without a color."""

    inside: np.ndarray  # bool (h, w)
    shade: np.ndarray  # float32 (h, w), 1 = the surface's own color


class Shape(NamedTuple):
    """A class of objects."""

    draw: Callable[[np.ndarray, np.ndarray, int], Surface]
    tilt: int  # greatest rotation in degrees either way
    floats: bool  # may hang in the air
    foot: float  # lowest v of the upright shape


def _lit(u: np.ndarray, v: np.ndarray, depth: np.ndarray, side: int) -> np.ndarray:
    """Shade a round surface with unit normal (u, v, depth): soft light from above, front and one side."""
    toward = 0.5 * side * u + 0.6 * v + 0.62 * depth
    gleam = np.maximum(toward - 0.9, 0)
    return 0.34 + 0.78 * np.maximum(toward, 0) + 4 * gleam


def _root(square: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(square, 0))


def _slope(u: np.ndarray, v: np.ndarray, side: int) -> np.ndarray:
    """Shade a flat front, a little brighter towards the light."""
    return 0.86 + 0.16 * (side * u) + 0.16 * v


def _ball(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    square = u * u + v * v
    return Surface(square <= 1, _lit(u, v, _root(1 - square), side))


def _cube(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    across = np.abs(u)
    inside = (across <= 0.87) & (np.abs(v) + 0.575 * across <= 1)
    faces = np.where(u * side > 0, 0.82, 0.48)
    return Surface(inside, np.where(v >= 0.575 * across, 1.12, faces))


def _pyramid(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    """Two faces that meet in an edge from the tip (0, 1) to the near corner (0.2, -1)."""
    high = 1 - v
    inside = (u >= -0.56 * high) & (u <= 0.56 * high) & (v >= -1 - 0.22 * (u - 0.2)) & (v >= -1 + 0.25 * (u - 0.2))
    right = u > 0.1 * high
    return Surface(inside, np.where(right == (side > 0), 1.05, 0.55))


def _cylinder(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    across = u / 0.66
    lid = across * across + (v - 0.7) * (v - 0.7) * 12
    floor = across * across + (v + 0.72) * (v + 0.72) * 12
    inside = (np.abs(across) <= 1) & (((v <= 0.7) & (v >= -0.72)) | (lid <= 1) | (floor <= 1))
    body = 0.3 + 0.8 * np.maximum(0.6 * side * across + 0.75 * _root(1 - across * across), 0)
    return Surface(inside, np.where(lid <= 1, 1.15, body))


def _ring(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    radius = np.maximum(_root(u * u + v * v), 1e-3)
    across = (radius - 0.74) / 0.26
    shade = _lit(across * u / radius, across * v / radius, _root(1 - across * across), side)
    return Surface(np.abs(across) <= 1, shade)


# Unit vectors every 72 degrees from straight up, rounded so that no mathematics library matters.
_TIPS = ((0.0, 1.0), (-0.95106, 0.30902), (-0.58779, -0.80902), (0.58779, -0.80902), (0.95106, 0.30902))


def _star(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    """A pentagram: a point is inside when at most one of the five lines cuts it off; faces alternate."""
    u, v = u / 1.08, v / 1.08
    beyond = np.zeros(u.shape, np.int32)
    nearest = np.full(u.shape, -2, np.float32)
    half = np.zeros(u.shape, np.float32)
    for tip_u, tip_v in _TIPS:
        along = u * np.float32(tip_u) + v * np.float32(tip_v)
        beyond += along > 0.33
        closer = along > nearest
        nearest = np.where(closer, along, nearest)
        half = np.where(closer, u * np.float32(tip_v) - v * np.float32(tip_u), half)
    return Surface(beyond <= 1, np.where(half * side > 0, 1.1, 0.68))


def _heart(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    a, b = 1.16 * u, 1.14 * v + 0.14
    round_part = a * a + b * b - 1
    inside = round_part * round_part * round_part - a * a * b * b * b <= 0
    depth = _root(-round_part * 0.8 + 0.25)
    return Surface(inside, _lit(0.7 * u, 0.7 * v, np.minimum(depth, 1), side))


def _cross(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    across, up = np.abs(u), np.abs(v)
    inside = (np.minimum(across, up) <= 0.34) & (np.maximum(across, up) <= 1)
    bevel = (np.minimum(across, up) > 0.24) | (np.maximum(across, up) > 0.9)
    lit = np.where(u * side + v > 0, 1.2, 0.6)
    return Surface(inside, np.where(bevel, lit, _slope(u, v, side)))


def _crescent(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    bite = (u - 0.5) * (u - 0.5) + (v - 0.2) * (v - 0.2)
    inside = (u * u + v * v <= 1) & (bite >= 0.64)
    return Surface(inside, _slope(u, v, side) + 0.12)


def _tree(u: np.ndarray, v: np.ndarray, side: int) -> Surface:
    across = np.abs(u)
    crown = np.zeros(u.shape, bool)
    shade = np.where(u * side > 0, 1.08, 0.72).astype(np.float32)
    for top, bottom, width in ((1.0, 0.3, 0.48), (0.62, -0.15, 0.64), (0.2, -0.62, 0.8)):
        tier = (v >= bottom) & (across * (top - bottom) <= width * (top - v))
        shade = np.where(tier & ~crown & (v < top - 0.45 * (top - bottom)), shade * 0.86, shade)
        crown |= tier
    trunk = (across <= 0.15) & (v >= -1) & (v < -0.6) & ~crown
    return Surface(crown | trunk, np.where(trunk, 0.35, shade))


SHAPES: dict[str, Shape] = {
    "ball": Shape(_ball, 180, True, -1.0),
    "cube": Shape(_cube, 8, False, -1.0),
    "pyramid": Shape(_pyramid, 8, False, -1.0),
    "cylinder": Shape(_cylinder, 12, False, -1.0),
    "ring": Shape(_ring, 180, True, -1.0),
    "star": Shape(_star, 36, True, -0.87),
    "heart": Shape(_heart, 25, True, -1.0),
    "cross": Shape(_cross, 45, True, -1.0),
    "crescent": Shape(_crescent, 180, True, -1.0),
    "tree": Shape(_tree, 6, False, -1.0),
}
SCENE_CLASSES = tuple(SHAPES)
