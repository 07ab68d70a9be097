"""What the reference makes of docstrings: Google's, but types stand in signatures, and fields are told in comments."""

import inspect
import re
from importlib import import_module
from typing import Any

from sphinx.application import Sphinx

HIDDEN = "\ue000"  # of Unicode's private use: no docstring has it


def setup(app: Sphinx) -> dict[str, bool]:
    """Work around napoleon, which runs at priority 500, and mend what comes out."""
    app.connect("autodoc-process-docstring", describe_field, priority=300)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)
    app.connect("html-page-context", list_parameters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


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


def list_parameters(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Make a list of the parameters of a long signature: Sphinx makes them descriptions of nothing."""
    if "body" in context:
        context["body"] = re.sub(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>", as_list, context["body"])


def as_list(found: re.Match[str]) -> str:
    """Return descriptions without terms as a list."""
    items = found[1].replace("<dd>", "<li>").replace("</dd>", "</li>")
    return f'<ul class="parameters">\n{items}</ul>'


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
