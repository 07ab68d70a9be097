"""The explorer's page: one file with its pictures, numbers, script and plotting library."""

import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert

from alit.analysis.study_data import StudyData
from alit.report.explorer.charts import length_chart, loss_chart, task_chart
from alit.report.explorer.data import explorer_data
from alit.report.site import TEMPLATES, Site

PAGE = "explorer.html"
SCALE_OF_ERRORS = 4  # how much brighter the map of errors is than the errors
THUMBNAIL_COLUMNS = ("image_id", "strip", "maps", "latents", "publishable")


def write_explorer(
    site: Site, data: StudyData, thumbnails: pd.DataFrame, *, private: bool, command: str, page: str = PAGE
) -> Path:
    """Write the explorer of a sweep.

    Args:
        site: where the page goes.
        data: of the sweep.
        thumbnails: columns `THUMBNAIL_COLUMNS`, see `alit.tokenizer.thumbnails`.
        private: whether pictures may be on the page whose terms forbid publishing them.
        command: what makes the page again.
        page: its name below the site's folder.
    """
    explorer = explorer_data(data, list(thumbnails["image_id"]))
    shown = [image.image_id for image in explorer.shown]
    pictured = bool(private or thumbnails["publishable"].all())
    content = explorer.to_json() | {
        "pictures": _pictures(thumbnails.set_index("image_id").loc[shown]) if pictured else [],
        "charts": {"task": task_chart(), "loss": loss_chart(), "length": length_chart()},
    }
    return site.write(
        page,
        "explorer.html",
        title="Explorer",
        command=command,
        explorer=explorer,
        pictured=pictured,
        publishable=bool(thumbnails["publishable"].all()),
        scale=SCALE_OF_ERRORS,
        content=in_script(json.dumps(content, ensure_ascii=False, separators=(",", ":"))),
        library=in_script(plotting_library()),
        library_name=_library_name(),
        licenses=(TEMPLATES / "vega-licenses.txt").read_text(encoding="utf-8"),
        script=in_script((TEMPLATES / "explorer.js").read_text(encoding="utf-8")),
        styles=[(TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "explorer.css")],
    )


@cache
def plotting_library() -> str:
    """Return the script that draws the charts; bundling it takes seconds, once a process."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def in_script(text: str) -> str:
    """Return a script's text, or JSON, such that it ends no script element; strings in it mean what they did."""
    return re.sub(r"<(?=/script|!--)", r"\\u003c", text, flags=re.IGNORECASE)


def _pictures(thumbnails: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "strip": _address("image/webp", each["strip"]),
            "maps": _address("image/png", each["maps"]),
            "latents": [int(latent) for latent in each["latents"]],
        }
        for each in thumbnails.to_dict("records")
    ]


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _library_name() -> str:
    newest = vl_convert.get_vegalite_versions()[-1]
    return f"Vega {vl_convert.get_vega_version()}, Vega-Lite {newest}, Vega-Embed {vl_convert.get_vega_embed_version()}"
