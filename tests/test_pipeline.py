"""dvc.yaml says what each stage reads: every module it imports, every section of the profile it looks at."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from closure import direct_imports, import_closure, module_file

from alit.config import Profile
from alit.paths import RunPaths, project_root

ROOT = project_root(Path(__file__).parent)
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
STUDIES = yaml.safe_load((ROOT / "params.yaml").read_text())["studies"]
CONFIG = "configs/${profile}.yaml"

# Only declare: checked names of values that DVC tracks as params, faults, and paths that stand in dvc.yaml.
DECLARATIONS = {
    "alit/__init__.py",
    "alit/config/__init__.py",
    "alit/config/data.py",
    "alit/config/evaluation.py",
    "alit/config/profile.py",
    "alit/config/settings.py",
    "alit/config/training.py",
    "alit/errors.py",
    "alit/paths.py",
    "experiments/__init__.py",
}
# Where a stage runs is not what it computes: moving to other hardware keeps the checkpoints.
UNTRACKED_SECTIONS = {"device", "devices"}


def script(stage: str) -> Path:
    return ROOT / "experiments" / f"{stage}.py"


def entry_points(stage: str) -> list[Path]:
    """Return the files that a stage runs: its script and, for studies, the notebooks."""
    notebooks = [ROOT / "notebooks" / f"{study}.ipynb" for study in STUDIES] if stage == "notebook" else []
    return [script(stage), *(path for path in notebooks if path.is_file())]


def closure(stage: str) -> set[str]:
    files = set().union(*(import_closure(path, ROOT) for path in entry_points(stage)))
    return {str(path.relative_to(ROOT)) for path in files if path.suffix == ".py"}


def code_deps(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if not dep.startswith(("runs/", "reports/", "notebooks/"))]


def covers(dep: str, file: str) -> bool:
    return file == dep or file.startswith(f"{dep}/")


def params(stage: str) -> set[str]:
    return {key for entry in STAGES[stage].get("params", []) for key in entry[CONFIG]}


def sections_read(path: Path) -> set[str]:
    """Return the sections of the profile that a file looks at.

    They are attributes of `load_profile(...)` itself, of names that it is assigned to, and of parameters that are
    annotated `Profile`.
    """
    nodes = list(ast.walk(ast.parse(path.read_text())))

    def is_load(node: ast.AST | None) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_profile"

    names = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and is_load(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names |= {node.target.id for node in nodes if isinstance(node, ast.NamedExpr) and is_load(node.value)}
    annotated = (node for node in nodes if isinstance(node, ast.arg) and node.annotation is not None)
    names |= {node.arg for node in annotated if ast.unparse(node.annotation).strip("\"'") == "Profile"}
    attributes = (node for node in nodes if isinstance(node, ast.Attribute) and node.attr in Profile.model_fields)
    return {
        node.attr
        for node in attributes
        if is_load(node.value) or (isinstance(node.value, ast.Name) and node.value.id in names)
    }


def every_section(stage: str) -> set[str]:
    return set().union(*(sections_read(ROOT / file) for file in closure(stage)))


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_everything_the_stage_imports(stage):
    missing = {file for file in closure(stage) - DECLARATIONS if not any(covers(dep, file) for dep in code_deps(stage))}
    assert missing == set()


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_dep_is_imported(stage):
    files = closure(stage)
    idle = {dep for dep in code_deps(stage) if not any(covers(dep, file) for file in files) and dep != "alit/report"}
    assert idle == set()


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_exactly_the_sections_the_stage_reads(stage):
    assert params(stage) == every_section(stage) - UNTRACKED_SECTIONS


@pytest.mark.parametrize("file", sorted(DECLARATIONS))
def test_modules_left_out_of_the_deps_derive_nothing(file):
    if file.startswith("alit/config/") and (ROOT / file).is_file():
        functions = [
            node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
        ]
        derived = [node.name for node in functions for mark in node.decorator_list if "property" in ast.unparse(mark)]
        assert derived == []


@pytest.mark.parametrize("stage", STAGES)
def test_stage_describes_itself_and_runs_its_own_module(stage):
    assert STAGES[stage]["desc"].endswith(".")
    assert STAGES[stage]["cmd"].startswith(f"python -m experiments.{stage} ${{profile}}")


@pytest.mark.parametrize("stage", STAGES)
def test_script_is_thin_and_callable_from_a_test(stage):
    text = script(stage).read_text()
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    main = next(node for node in functions if node.name == "main")
    assert ast.unparse(main.args) == "argv: Sequence[str] | None=None"
    assert text.rstrip().endswith("run_command(main)")
    assert len(text.splitlines()) < 80


def test_every_script_belongs_to_a_stage():
    helpers = {"__init__", "repro", "leftovers"}
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} - helpers == set(STAGES)


def test_every_dep_that_a_stage_makes_is_an_out_of_a_stage():
    outs = {out for stage in STAGES.values() for out in stage["outs"]}
    outs |= {out.replace("${item.study}", study) for out in outs for study in STUDIES}
    needed = {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith(("runs/", "reports/"))}
    assert needed <= outs


def test_the_report_waits_for_every_study():
    studies = {dep for dep in STAGES["report"]["deps"] if dep.startswith("reports/")}
    assert studies == {f"reports/${{profile}}/{study}" for study in STUDIES}
    assert set(PIPELINE["plots"]) == {f"reports/${{profile}}/{study}/figures" for study in STUDIES}


def test_outs_lie_where_the_package_looks_for_them():
    paths = RunPaths(Path(), "${profile}")
    outs = {out for stage in STAGES.values() for out in stage["outs"]}
    expected = ["data", "rejected", "task_models", "base", "distilled", "tokenizer", "sweep", "examples", "claims"]
    assert {str(getattr(paths, name)) for name in expected} <= outs


def test_matrix_and_profile_come_from_params():
    names = json.loads(json.dumps(yaml.safe_load((ROOT / "params.yaml").read_text())))
    assert set(names) == {"profile", "studies"}
    assert (ROOT / "configs" / f"{names['profile']}.yaml").is_file()
    for study in names["studies"]:
        assert (ROOT / "notebooks" / f"{study}.ipynb").is_file()


def test_dvc_accepts_the_pipeline(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=_copy_of_the_pipeline(tmp_path),
        env={"PATH": str(Path(sys.executable).parent), "HOME": str(tmp_path), "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = {name for name in STAGES if name != "notebook"} | {f"notebook@{study}" for study in STUDIES}
    assert set(done.stdout.split()) == expected


def _copy_of_the_pipeline(folder: Path) -> Path:
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text() + "    no_scm = true\n")
    (folder / "configs").mkdir()
    for file in ("dvc.yaml", "params.yaml", *(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml"))):
        (folder / file).write_text((ROOT / file).read_text())
    return folder


def test_the_closure_follows_packages_parents_and_notebooks(tmp_path):
    package = tmp_path / "alit" / "rooms"
    package.mkdir(parents=True)
    (tmp_path / "alit" / "__init__.py").write_text("import alit.unfollowed")
    (tmp_path / "alit" / "unfollowed.py").touch()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("def f():\n    from alit.rooms import two\n")
    (package / "two.py").write_text("from . import three")
    (package / "three.py").write_text("import numpy")
    cells = [
        {"cell_type": "code", "source": ["from alit.rooms.one import f\n"]},
        {"cell_type": "markdown", "source": "import"},
    ]
    notebook = tmp_path / "study.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    names = {path.name for path in import_closure(notebook, tmp_path)}
    assert names == {"study.ipynb", "__init__.py", "one.py", "two.py", "three.py"}
    assert module_file("alit.absent", tmp_path) is None
    assert package / "one.py" in direct_imports(notebook, tmp_path)


def test_sections_are_found_however_the_profile_is_named(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "def f(settings: Profile, other: int):\n    settings.sweep; other.finetune\n"
        "a = load_profile(p)\na.data\nload_profile(p).seed\nif (b := load_profile(p)):\n    b.report\nx.distill\n"
    )
    assert sections_read(path) == {"sweep", "data", "seed", "report"}
