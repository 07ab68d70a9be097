"""The explorer's charts as Vega-Lite specifications; the page's script puts rows into their named data.

Colors are the style sheet's variables, so that charts follow light and dark with the page.
"""

from typing import Any

Spec = dict[str, Any]
OWN, OTHER, INK = "var(--accent)", "var(--quiet)", "var(--ink)"
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": OTHER,
        "titleColor": OTHER,
        "titleFontWeight": "normal",
        "domainColor": OTHER,
        "tickColor": OTHER,
        "gridColor": "var(--line)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "tickCount": 5,
        "labelOverlap": "parity",
        "labelSeparation": 6,
    },
}


def task_chart() -> Spec:
    """A task by capacity under one criterion, the same length for all, and where the slider stands.

    Data `curve` and `uniform`: capacity, value, low, high; `now`: capacity, value, own (of the criterion).
    """
    capacity = _axis("capacity", "capacity", axis={"format": ".0%"})
    layers = []
    for name, color, dash in (("uniform", OTHER, [4, 3]), ("curve", OWN, [1, 0])):
        band = {"x": capacity, "y": _axis("low"), "y2": {"field": "high"}}
        line = {"x": capacity, "y": _axis("value"), "order": {"field": "capacity"}}
        layers.append(_layer(name, {"type": "area", "opacity": 0.16, "color": color}, band))
        layers.append(_layer(name, {"type": "line", "strokeWidth": 1.8, "color": color, "strokeDash": dash}, line))
    dot = {"type": "point", "filled": True, "opacity": 1}
    color = {"condition": {"test": "datum.own", "value": OWN}, "value": OTHER}
    layers.append(_layer("now", dot | {"size": 85}, {"x": capacity, "y": _axis("value"), "color": color}))
    return _chart(layers, height=170)


def loss_chart() -> Spec:
    """One image's L1 by tokens, the length that is shown, and where each criterion stops.

    Data `losses`: length, l1; `now`: one row of it; `stops`: length, label (letters of the criteria that stop there).
    """
    place = {"x": _axis("length", "tokens", zero=True), "y": _axis("l1", "L1 error")}
    stop = {"x": {"field": "length", "type": "quantitative"}}
    label = stop | {"y": {"value": 0}, "text": {"field": "label"}}
    layers = [
        _layer("losses", {"type": "line", "strokeWidth": 1.8, "color": OWN}, place),
        _layer("losses", {"type": "point", "size": 24, "filled": True, "opacity": 1, "color": OWN}, place),
        _layer("stops", {"type": "rule", "strokeDash": [3, 3], "color": OTHER}, stop),
        _layer("stops", {"type": "text", "dy": -8, "fontSize": 12, "color": INK}, label),
        _layer("now", {"type": "point", "size": 120, "strokeWidth": 2, "color": INK}, place),
    ]
    return _chart(layers, height=230)


def length_chart() -> Spec:
    """Selected length against a measure of complexity, a mark an image.

    Data `marks`: image (its place), x, y (the length, moved a little so that marks stay apart), met; `pointed`: the row
    of the image that is looked at.
    """
    place = {
        "x": _axis("x", "", axis={"grid": False}),
        "y": _axis("y", "selected tokens", zero=True),
    }
    looks = {
        "color": {"condition": {"test": "datum.met", "value": OWN}, "value": "var(--against)"},
        "shape": {"condition": {"test": "datum.met", "value": "circle"}, "value": "triangle-up"},
    }
    layers = [
        _layer(
            "marks", {"type": "point", "size": 46, "filled": True, "opacity": 0.75, "cursor": "pointer"}, place | looks
        ),
        _layer("pointed", {"type": "point", "size": 170, "strokeWidth": 2, "color": INK}, place),
    ]
    return _chart(layers, height=280)


def _axis(field: str, title: str | None = None, *, zero: bool = False, axis: Spec | None = None) -> Spec:
    known = {"field": field, "type": "quantitative", "title": title, "scale": {"zero": zero, "nice": False}}
    return known | ({} if axis is None else {"axis": axis})


def _layer(data: str, mark: Spec, encoding: Spec) -> Spec:
    return {"data": {"name": data}, "mark": mark, "encoding": encoding}


def _chart(layers: list[Spec], height: int) -> Spec:
    size = {"width": "container", "height": height, "autosize": {"type": "fit", "contains": "padding"}}
    return {**size, "layer": layers, "config": CONFIG}
