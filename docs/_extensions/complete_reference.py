"""Compares the reference with the package: a public name that no page describes is a warning, which stops `make docs`.

Public are all modules of `alit` and the functions and classes that they define, but for names that begin with "_".
"""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import alit

REFERENCE = "docs/reference/"
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Compare once all pages are read."""
    app.connect("env-check-consistency", compare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def compare(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that the reference lacks, where there is a reference."""
    if not any(page.startswith(REFERENCE) for page in env.found_docs):
        return
    domain = env.domains.python_domain
    for module in public_modules():
        if module.__name__ not in domain.modules:
            logger.warning("%s: no page describes the module %s", REFERENCE, module.__name__)
            continue
        for name in public_names(module):
            places = {f"{module.__name__}.{name}"} | ({f"alit.{name}"} if name in alit.__all__ else set())
            if not places & domain.objects.keys():
                logger.warning("%s: no page describes %s.%s; has it a docstring?", REFERENCE, module.__name__, name)


def public_modules() -> Iterator[ModuleType]:
    """Yield the modules below `alit`."""
    for found in pkgutil.walk_packages(alit.__path__, "alit."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield import_module(found.name)


def public_names(module: ModuleType) -> list[str]:
    """Return the functions and classes that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]
