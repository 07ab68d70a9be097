"""The layout of an embedded scene: a pinhole camera above a ground plane that ends at a backdrop.

Lengths on the picture are shares of its side, rows counted from the top. A ground point at depth z meters is
seen at row `horizon + drop / z`, so an object's depth follows from where it stands and the other way round.
Everything is drawn before anything is rasterized, so a seed gives the same scene at every image size.
"""

from typing import NamedTuple

from alit.data.scenes.shapes import SCENE_CLASSES, SHAPES
from alit.data.scenes.textures import (
    BACKDROPS,
    DIRECTIONS,
    GROUNDS,
    REGULAR_PATTERNS,
    Crop,
    Draws,
    Texture,
    Variant,
    draw_crop,
    draw_texture,
)
from alit.data.sources import FACTORS, Factor

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a controlled factor
MIDDLE = 0.5  # level of the factors that do not vary
MOST_OTHERS = 8  # objects behind the main one, in controlled scenes

GROUND_NAMES = {
    "brick": "bricks",
    "coins": "a sheet of coins",
    "grass": "grass",
    "gravel": "gravel",
    "moon": "moon dust",
}
# Tints of the gray ground photographs, in 1/256: natural ones for base scenes, unusual ones for near ones.
_TINTS: dict[Variant, tuple[tuple[int, int, int], ...]] = {
    "base": ((150, 250, 110), (300, 260, 200), (330, 190, 150), (240, 240, 250), (200, 220, 130)),
    "near": ((200, 160, 300), (140, 230, 260), (320, 200, 230), (270, 270, 160)),
}


class Body(NamedTuple):
    """One object."""

    label: int
    depth: float  # meters
    center: tuple[float, float]  # column, row
    extent: tuple[float, float]  # width, height
    foot: float  # row where it meets the ground, or above which it hangs
    direction: tuple[float, float]  # cosine and sine of its rotation
    texture: Texture


class Layer(NamedTuple):
    """A surface of the stage: a photograph's crop with its contrast lowered and its colors shifted."""

    crop: Crop
    contrast: int  # 1/256
    gains: tuple[int, int, int]  # 1/256, per channel


class Camera(NamedTuple):
    """The camera, and where the main object stands in its picture."""

    horizon: float  # row
    drop: float  # rows below the horizon at 1 m
    wall: float  # depth of the backdrop, meters
    depth: float  # of the main object, meters
    size: float  # of the main object
    foot: float  # row where the main object meets the ground


class Stage(NamedTuple):
    """A whole scene, before it is drawn."""

    clutter: float  # 0 to 1
    bodies: tuple[Body, ...]  # nearest first; the first gives the label
    backdrop: Layer
    ground: Layer
    horizon: float  # row
    drop: float
    wall: float  # depth of the backdrop, meters
    light: int  # side that the light comes from


def photographs_of(stage: Stage) -> frozenset[str]:
    """Return the names of the photographs that a scene is composed from (data/README.md has their licenses)."""
    crops = [layer.crop for layer in (stage.backdrop, stage.ground)]
    crops += [body.texture.crop for body in stage.bodies if body.texture.pattern == "mottled"]
    return frozenset(crop.photo for crop in crops)


def draw_stage(draws: Draws, variant: Variant) -> Stage:
    """Choose a scene.

    The clutter setting alone decides how many objects are expected, how large (and so how busy) a piece of a
    photograph fills the background, and how strong and likely patterns are.
    """
    clutter = draws.between(0.0, 1.0)
    camera = draw_camera(draws)
    main = draw_main(draws, variant, clutter, camera)
    count = int(clutter * 8 * draws.between(0.75, 1.25) + draws.between(0.0, 1.0))
    bodies = (main, *draw_others(draws, variant, clutter, camera, count))
    backdrop, ground = draw_layers(draws, variant, clutter)
    light = draws.choice((-1, 1))
    return Stage(clutter, bodies, backdrop, ground, camera.horizon, camera.drop, camera.wall, light)


def draw_controlled(draws: Draws, factor: Factor, level: float) -> Stage:
    """Choose a scene with `factor` at `level` (0 to 1) and the other factors at the middle one.

    In other scenes one clutter setting moves the number of objects, their patterns and the background together. Here
    the scene takes the same draws at every level, so that its levels differ in that factor alone, and at the middle
    level the scene of a seed is the same picture for every factor. The stage's clutter, and so its complexity, is
    the level.

    objects: 0 to `MOST_OTHERS` objects behind the main one; nearer ones come first, so that no object hides an earlier
    one. texture: every object has a pattern, from none (plain) to one of full contrast and fineness. background:
    backdrop and ground show from a small, pale piece of a photograph to most of it, undimmed.
    """
    levels: dict[Factor, float] = {**dict.fromkeys(FACTORS, MIDDLE), factor: level}
    camera = draw_camera(draws)
    drawn = [draw_main(draws, "base", 1.0, camera), *draw_others(draws, "base", 1.0, camera, MOST_OTHERS)]
    bodies = [_patterned(draws, body, levels["texture"]) for body in drawn]
    shown = 1 + round(levels["objects"] * MOST_OTHERS)
    backdrop, ground = draw_layers(draws, "base", levels["background"])
    light = draws.choice((-1, 1))
    return Stage(level, tuple(bodies[:shown]), backdrop, ground, camera.horizon, camera.drop, camera.wall, light)


def _patterned(draws: Draws, body: Body, level: float) -> Body:
    """Give an object a pattern of two colors, whatever pattern it had, and weaken it to a level."""
    while (texture := draw_texture(draws, "base", 1.0)).pattern not in REGULAR_PATTERNS:
        pass
    return body._replace(texture=_weaken(texture, level))


def _weaken(texture: Texture, level: float) -> Texture:
    """Bring the second color towards the first and make the pattern coarser; at level 0 the surface is plain."""
    red, green, blue = (int(a + (b - a) * level) for a, b in zip(texture.first, texture.second, strict=True))
    return texture._replace(
        pattern=texture.pattern if level > 0 else None,
        second=(red, green, blue),
        frequency=texture.frequency * (0.4 + 0.6 * level),
    )


def draw_camera(draws: Draws) -> Camera:
    """Choose the camera and the main object's place."""
    horizon, wall = draws.between(0.22, 0.45), draws.between(5.0, 14.0)
    depth, size = draws.between(1.4, 2.2), draws.between(0.4, 0.6)
    foot = draws.between(0.8, 0.97)
    return Camera(horizon, (foot - horizon) * depth, wall, depth, size, foot)


def draw_main(draws: Draws, variant: Variant, clutter: float, camera: Camera) -> Body:
    """Choose the nearest and largest object."""
    return _draw_body(draws, variant, clutter, camera.depth, camera.size, draws.between(0.3, 0.7), camera.foot)


def draw_others(draws: Draws, variant: Variant, clutter: float, camera: Camera, count: int) -> list[Body]:
    """Choose `count` objects behind the main one, nearest first."""
    columns = [(slot + draws.between(0.15, 0.85)) / max(count, 1) for slot in range(count)]
    others = []
    for column in columns:
        # Even in 1/z: as many objects in each band of rows of the ground.
        nearness = draws.between(1 / (camera.wall * 0.75), 1 / (camera.depth * 1.25))
        scale = camera.size * draws.between(0.75, 1.15) * camera.depth * nearness
        # Far objects would be specks at 32 px: none is drawn smaller than a third of the main one.
        other = max(scale, camera.size / 3)
        foot = camera.horizon + camera.drop * nearness
        others.append(_draw_body(draws, variant, clutter, 1 / nearness, other, column, foot))
    return sorted(others, key=lambda body: body.depth)


def draw_layers(draws: Draws, variant: Variant, clutter: float) -> tuple[Layer, Layer]:
    """Choose backdrop and ground; how many draws they take does not depend on the clutter."""
    backdrop = _draw_layer(draws, BACKDROPS[variant], clutter, _draw_gains(draws))
    return backdrop, _draw_layer(draws, GROUNDS[variant], clutter, draws.choice(_TINTS[variant]))


def _draw_body(
    draws: Draws, variant: Variant, clutter: float, depth: float, size: float, column: float, foot: float
) -> Body:
    """Choose an object at a place."""
    label = draws.integer(0, len(SCENE_CLASSES))
    shape = SHAPES[SCENE_CLASSES[label]]
    width, height = size * draws.between(0.88, 1.12), size * draws.between(0.92, 1.08)
    lift = height * draws.between(0.05, 0.35) if shape.floats and draws.chance(0.35) else 0.0
    row = max(foot - lift + height / 2 * shape.foot, 0.42 * height)
    return Body(
        label=label,
        depth=depth,
        center=(column, row),
        extent=(width, height),
        foot=foot,
        direction=_rotation(draws, shape.tilt),
        texture=draw_texture(draws, variant, clutter),
    )


def _rotation(draws: Draws, tilt: int) -> tuple[float, float]:
    """Choose a rotation of at most `tilt` degrees: the half-angle formulas need no mathematics library."""
    if tilt == 180:
        cosine, sine = draws.choice(DIRECTIONS)
        return (cosine, sine) if draws.chance(0.5) else (-cosine, -sine)
    # With t = tan(angle / 2), (1 - t^2, 2t) / (1 + t^2) is a unit vector; t is nearly linear in the angle.
    half = tilt / 114.6 * draws.between(-1.0, 1.0)
    scale = 1 + half * half
    return (1 - half * half) / scale, 2 * half / scale


def _draw_gains(draws: Draws) -> tuple[int, int, int]:
    """Choose the exposure and white balance of a backdrop."""
    exposure = draws.integer(120, 290)
    red, green, blue = (exposure * draws.integer(200, 313) // 256 for _ in range(3))
    return red, green, blue


def _draw_layer(draws: Draws, photos: tuple[str, ...], clutter: float, gains: tuple[int, int, int]) -> Layer:
    """Choose a surface: at low clutter a small, pale piece of a photograph, at high most of it, undimmed."""
    share = 0.05 + 0.9 * clutter * clutter * draws.between(0.6, 1.0)
    contrast = int(256 * (0.35 + 0.65 * clutter))
    exposure = draws.integer(210, 380)
    red, green, blue = (gain * exposure // 256 for gain in gains)
    return Layer(draw_crop(draws, photos, share), contrast, (red, green, blue))
