"""Arrows between the rooms point one way, and importing the package stays light."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from closure import direct_imports, module_file

from alit.paths import project_root

ROOT = project_root(Path(__file__).parent)
GROUND = {"config", "errors"}

# Room -> rooms that it may import, beside itself.
MAY_IMPORT = {
    "errors": set(),
    "config": {"errors"},
    "paths": {"errors"},
    "fingerprint": set(),
    "models": GROUND,
    "data": GROUND,
    "tokens": GROUND | {"token_file"},
    "protocol": GROUND,
    "codec": GROUND | {"protocol"},
    "token_file": GROUND | {"tokens"},
    "rollout": {"models"},
    "criteria": GROUND | {"models", "rollout"},
    "allocation": {"errors"},
    "inputs": {"errors"},
    "encoding": GROUND | {"models", "rollout", "criteria", "allocation", "tokenizer"},  # tokenizer: for its type
    "hub": GROUND,
    "tokenizer": GROUND
    | {"models", "tokens", "fingerprint", "protocol", "rollout", "criteria", "inputs", "encoding", "hub"},
    "published": GROUND | {"models", "tokenizer"},
    "grid_tokenizer": {"models", "protocol"},
    "targets": GROUND | {"protocol", "tokenizer", "grid_tokenizer", "training"},
    "cost": GROUND | {"protocol", "criteria", "encoding", "tokenizer", "grid_tokenizer", "training"},
    "training": GROUND | {"models", "tokenizer", "data"},
    "tasks": GROUND | {"models", "data"},
    "sweep": GROUND | {"tasks", "data", "protocol", "codec"},
    "probing": GROUND | {"data", "tokenizer"},
    "analysis": GROUND | {"paths", "allocation"},
    "plots": {"errors"},
    "report": GROUND | {"analysis", "plots", "paths"},
    "cli": GROUND | {"models", "data", "tokens", "token_file", "criteria", "tokenizer", "published", "cost"},
}
FORBIDDEN_PACKAGES = {  # room -> packages that it must not import anywhere, not even inside a function
    "analysis": {"torch", "torchvision", "timm", "transformers", "matplotlib", "seaborn"},
    "plots": {"torch", "torchvision", "timm", "transformers"},
    "report": {"torch", "torchvision", "timm", "transformers"},
    "config": {"torch", "numpy", "pandas"},
}
LAZY = ("timm", "transformers", "torchvision", "torch_fidelity", "torchmetrics")
MODULES = sorted(path for path in (ROOT / "alit").rglob("*.py") if path != ROOT / "alit" / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT / "alit").parts[0].removesuffix(".py")


def packages(path: Path) -> set[str]:
    """Return the top-level names of everything that a module imports, at any depth of its code."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_rooms_upstream_of_it(path):
    own = room(path)
    assert own in MAY_IMPORT, f"name the new room {own} and what it may import"
    imported = {room(target) for target in direct_imports(path, ROOT) if target.is_relative_to(ROOT / "alit")}
    assert imported - {own, "__init__"} <= MAY_IMPORT[own]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_keeps_to_the_packages_of_its_room(path):
    assert packages(path) & FORBIDDEN_PACKAGES.get(room(path), set()) == set()
    assert packages(path) & {"experiments", "tests"} == set()


def test_heavy_packages_are_imported_inside_functions_only():
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & set(LAZY), path


@pytest.mark.parametrize(
    "name", ["alit", "alit.tokenizer.tokenizer", "alit.models", "alit.tasks", "alit.sweep", "alit.training"]
)
def test_importing_stays_light(name):
    if module_file(name, ROOT) is None:
        pytest.skip(f"{name} is not there")
    code = f"import sys, {name}; print(*sorted({set(LAZY)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_tables_are_analysed_without_torch():
    code = "import sys, alit.analysis, alit.plots, alit.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("chosen", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_has_chosen(chosen, found):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    code = "import sys, os, alit; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment | chosen, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [found, "False"]
