"""Settings of the documentation's site: `make docs` builds it from the pages of this repository, without network.

The checkout is the source folder, so that a page's relative links lead to the same page here and on the site.
"""

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import alit

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "ALIT Suite"
author = "ALIT Suite maintainers"
version = release = alit.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "complete_reference",
    "default_run",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "RESULTS.md",
    "data/README.md",
    "zoo/**README.md",
]
# Folders that hold no page, some of them huge, are not searched.
exclude_patterns = [
    "docs/_*",
    ".*",
    "data/[!R]*",
    "dvc_plots",
    "reports",
    "runs",
    "tests",
    "zoo/wip",
]
templates_path = ["_templates"]

myst_heading_anchors = 4
default_role = "code"  # a name between single backticks is code in docstrings, as in Markdown
napoleon_numpy_docstring = False
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"  # types of other packages are named, not linked: that would need the network
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 88

HIDDEN = "\ue000"  # of Unicode's private use: no docstring has it

html_theme = "pydata_sphinx_theme"
html_title = "ALIT Suite"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_extra"]
html_sidebars = {"**": ["all-pages.html"]}
html_theme_options = {
    "logo": {"text": "ALIT Suite", "link": "docs/index"},
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "show_nav_level": 1,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_copy_source = False
html_show_sourcelink = False
html_context = {"default_mode": "auto"}


def setup(app: Sphinx) -> None:
    """Say of docstrings what napoleon and autodoc would get wrong: it runs at priority 500."""
    app.connect("autodoc-process-docstring", describe_field, priority=300)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)


def hide_colons(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Hide colons from napoleon where it takes what stands before them for a type: types stand in signatures here."""
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(":", HIDDEN)
    for number, line in enumerate(lines[:-1]):
        if line.strip() in ("Returns:", "Yields:"):
            lines[number + 1] = lines[number + 1].replace(":", HIDDEN)


def show_colons(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Put the colons back."""
    lines[:] = [line.replace(HIDDEN, ":") for line in lines]


def describe_field(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Describe a field of a named tuple by the comment behind it, instead of by its number."""
    if lines and lines[0].startswith("Alias for field number"):
        lines[:] = field_comment(*name.rsplit(".", 1))


def field_comment(owner: str, field: str) -> list[str]:
    """Return the comment behind a field of a class, as lines."""
    module, _, kind = owner.rpartition(".")
    source = inspect.getsource(getattr(import_module(module), kind))
    found = re.search(rf"^    {field}: [^#\n]*#\s*(.+)$", source, re.MULTILINE)
    return [f"{found[1][0].upper()}{found[1][1:].rstrip('.')}.", ""] if found else []
