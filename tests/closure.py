"""What a module imports, read from its text: followed through the checkout, without running anything."""

import ast
import json
from pathlib import Path

OWN = ("alit", "experiments")


def module_file(name: str, root: Path) -> Path | None:
    """Return the file of a module of the checkout, `__init__.py` for a package; None when there is none."""
    path = root.joinpath(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imported_files(tree: ast.AST, package: str, root: Path) -> set[Path]:
    """Return the files of the checkout that import statements anywhere in `tree` name.

    Importing a submodule runs the `__init__.py` of its packages too: those count as well.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], node.module or ""])
            origin = base.strip(".") if node.level else node.module or ""
            names |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    own = {name for name in names if name.split(".")[0] in OWN}
    with_parents = {".".join(name.split(".")[: k + 1]) for name in own for k in range(len(name.split(".")))}
    return {file for name in with_parents if (file := module_file(name, root)) is not None}


def direct_imports(path: Path, root: Path) -> set[Path]:
    """Return the files of the checkout that one module or notebook imports."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text())["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        return imported_files(ast.parse(source), "", root)
    package = ".".join(path.relative_to(root).parent.parts)
    return imported_files(ast.parse(path.read_text()), package, root) - {path}


def import_closure(path: Path, root: Path) -> set[Path]:
    """Return every file of the checkout that running `path` may import, itself included.

    The names that `alit/__init__.py` offers are loaded when asked for (a test holds that), so it is not followed.
    """
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        if current != root / "alit" / "__init__.py":
            waiting += direct_imports(current, root)
    return found
