"""Settings of the documentation's site: `make docs` builds it from the pages of this repository, without network.

The checkout is the source folder, so that a page's relative links lead to the same page here and on the site.
"""

import sys
from pathlib import Path

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
    "docstrings",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "RESULTS.md",
    "data/README.md",
    "results/*.md",
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
autodoc_default_options = {"members": True, "exclude-members": "model_config"}  # pydantic documents that
python_maximum_signature_line_length = 88

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
