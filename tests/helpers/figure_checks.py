"""What holds for every figure of the suite."""

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from alit.plots.style import Plot, style


def words(figure: Figure) -> set[str]:
    """Return every text of a figure."""
    return {text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()}


def check_plot(plot: Plot, again: Plot, folder: Path) -> None:
    """Two drawings of one table are the same bytes, described, without date or version."""
    for each, name in ((plot, "1"), (again, "2")):
        assert each.save(folder / name, "figure") is each
    for kind in ("png", "svg"):
        assert (folder / "1" / f"figure.{kind}").read_bytes() == (folder / "2" / f"figure.{kind}").read_bytes()
    with Image.open(folder / "1" / "figure.png") as image:
        assert image.info["Description"] == plot.alt
        assert "Software" not in image.info
    assert "<dc:date>" not in (folder / "1" / "figure.svg").read_text()
    check_description(plot.alt)


def check_description(alt: str) -> None:
    """A description is one line that ends a sentence and holds numbers, all of them known."""
    assert alt.endswith(".")
    assert "\n" not in alt
    assert "nan" not in alt
    assert any(character.isdigit() for character in alt)


def check_text_fits(figure: Figure) -> None:
    """No text leaves the figure, and no two titles overlap."""
    with style():
        figure.canvas.draw()
    width, height = figure.bbox.width, figure.bbox.height
    for axes in figure.axes:
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            box = text.get_window_extent()
            if text.get_text():
                assert min(box.x0, box.y0) >= -1
                assert box.x1 <= width + 1
                assert box.y1 <= height + 1
    titles = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert not any(one.overlaps(other) for one, other in combinations(titles, 2))
