"""Scenes whose complexity is set by hand: one factor varies, everything else of the scene stays as it is.

In the other scenes one clutter setting moves the number of objects, their patterns and the background together. Here
each factor has a level of its own from 0 to 1. A scene takes the same draws at every level, so that its levels differ
in that factor alone, and at the middle level the scene of a seed is the same picture whatever the factor.

objects: 0 to `MOST_OTHERS` objects behind the main one; nearer ones come first, so that no object hides an earlier one.
texture: every object has a pattern, from none (plain) to one of full contrast and fineness.
background: backdrop and ground show from a small, pale piece of a photograph to most of it, undimmed.
"""

from alit.config.s_factor import FACTORS, Factor
from alit.data.scene_draws import Draws
from alit.data.scene_layout import Body, Stage, draw_layers, draw_main, draw_others, draw_view
from alit.data.scene_textures import REGULAR_PATTERNS, Texture, draw_texture

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIDDLE = 0.5  # level of the factors that do not vary
MOST_OTHERS = 8


def draw_controlled(draws: Draws, factor: Factor, level: float) -> Stage:
    """Choose a scene with `factor` at `level` (0 to 1) and the other factors at the middle one.

    The stage's clutter, and so the scene's complexity, is the level.
    """
    levels: dict[Factor, float] = {**dict.fromkeys(FACTORS, MIDDLE), factor: level}
    view = draw_view(draws)
    drawn = [draw_main(draws, "base", 1.0, view), *draw_others(draws, "base", 1.0, view, MOST_OTHERS)]
    bodies = [_patterned(draws, body, levels["texture"]) for body in drawn]
    shown = 1 + round(levels["objects"] * MOST_OTHERS)
    backdrop, ground = draw_layers(draws, "base", levels["background"])
    light = draws.choice((-1, 1))
    return Stage(level, tuple(bodies[:shown]), backdrop, ground, view.horizon, view.drop, view.wall, light)


def _patterned(draws: Draws, body: Body, level: float) -> Body:
    """Give an object a pattern of two colours, whatever it had, and weaken it to a level."""
    while (texture := draw_texture(draws, "base", 1.0)).pattern not in REGULAR_PATTERNS:
        pass
    return body._replace(texture=_weaken(texture, level))


def _weaken(texture: Texture, level: float) -> Texture:
    """Bring the second colour towards the first and make the pattern coarser; at level 0 the surface is plain."""
    red, green, blue = (int(a + (b - a) * level) for a, b in zip(texture.first, texture.second, strict=True))
    return texture._replace(
        pattern=texture.pattern if level > 0 else None,
        second=(red, green, blue),
        frequency=texture.frequency * (0.4 + 0.6 * level),
    )
