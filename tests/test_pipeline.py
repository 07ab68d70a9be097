"""dvc.yaml says what each stage reads: every module it imports, every section of the profile it looks at."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from closure import direct_imports, import_closure, module_file
from stage_reads import (
    CONFIG,
    DECLARATIONS,
    MADE,
    NOTEBOOKS,
    RESOURCES,
    ROOT,
    STAGES,
    STUDIES,
    code_read,
    deps_of,
    script,
    sections_of,
    sections_read,
    write_deps,
)

from alit.paths import RunPaths

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())


def code_deps(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if not dep.startswith(MADE)]


def params(stage: str) -> set[str]:
    entries = STAGES[stage].get("params", [])
    return {key for entry in entries if isinstance(entry, dict) for key in entry[CONFIG]}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_everything_the_stage_imports(stage):
    deps = code_deps(stage)
    missing = {file for file in code_read(stage) if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)}
    assert missing == set(), "run: python tests/stage_reads.py"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_nothing_that_the_stage_does_not_import(stage):
    assert set(code_deps(stage)) == set(deps_of(stage)), "run: python tests/stage_reads.py"


def test_writing_the_deps_changes_nothing():
    text = (ROOT / "dvc.yaml").read_text()
    assert write_deps(text) == text, "run: python tests/stage_reads.py"


def test_files_of_the_package_that_are_no_modules_are_known():
    others = {path.parent for path in (ROOT / "alit").rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert {str(folder.relative_to(ROOT)) for folder in others} == set(RESOURCES)
    assert "alit/report/templates" in STAGES["notebook"]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_exactly_the_sections_the_stage_reads(stage):
    assert params(stage) == sections_of(stage)


@pytest.mark.parametrize("file", sorted(file for file in DECLARATIONS if file.startswith("alit/config/")))
def test_modules_left_out_of_the_deps_derive_nothing(file):
    nodes = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)]
    derived = [node.name for node in nodes for mark in node.decorator_list if "property" in ast.unparse(mark)]
    assert derived == []


@pytest.mark.parametrize("stage", STAGES)
def test_stage_describes_itself_and_runs_its_own_module(stage):
    assert STAGES[stage]["desc"].endswith(".")
    assert STAGES[stage]["cmd"].startswith(f"python -m experiments.{script(stage).stem} ${{profile}}")


@pytest.mark.parametrize("stage", STAGES)
def test_script_is_thin_and_callable_from_a_test(stage):
    text = script(stage).read_text()
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    main = next(node for node in functions if node.name == "main")
    assert ast.unparse(main.args) == "argv: Sequence[str] | None=None"
    assert text.rstrip().endswith("run_command(main)")
    assert len(text.splitlines()) <= 80


def test_every_script_belongs_to_a_stage():
    helpers = {"__init__", "repro", "leftovers", "zoo", "results"}
    assert {path.stem for path in (ROOT / "experiments").glob("*.py")} - helpers == {
        script(stage).stem for stage in STAGES
    }


def test_every_dep_that_a_stage_makes_is_an_out_of_a_stage():
    outs = {out for stage in STAGES.values() for out in stage["outs"]}
    outs |= {out.replace("${item.study}", study) for out in outs for study in STUDIES}
    measured = {f"runs/${{profile}}/measured/{study}" for study in NOTEBOOKS["measured_notebook"]}
    needed = {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith(("runs/", "reports/"))}
    assert measured <= outs
    assert needed - {"runs/${profile}/measured/${item.study}"} <= outs


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
    names = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(names) == {"profile", "studies", "measured_studies"}
    assert (ROOT / "configs" / f"{names['profile']}.yaml").is_file()
    assert all((ROOT / "notebooks" / f"{study}.ipynb").is_file() for study in STUDIES)


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_names_its_part_of_the_paper_and_its_leading_figure(study):
    notebook = json.loads((ROOT / "notebooks" / f"{study}.ipynb").read_text())
    about = notebook["metadata"]["alit"]
    assert about["paper"].startswith(("Fig. ", "Tab. ", "Sec. "))
    assert any(f'"{about["lead"]}"' in "".join(cell["source"]) for cell in notebook["cells"])


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
    notebooks = {f"{stage}@{study}" for stage, studies in NOTEBOOKS.items() for study in studies}
    assert set(done.stdout.split()) == {name for name in STAGES if name not in NOTEBOOKS} | notebooks


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
    code = {"cell_type": "code", "source": ["from alit.rooms.one import f\n"]}
    notebook = tmp_path / "study.ipynb"
    notebook.write_text(json.dumps({"cells": [code, {"cell_type": "markdown", "source": "import"}]}))
    names = {path.name for path in import_closure(notebook, tmp_path)}
    assert names == {"study.ipynb", "__init__.py", "one.py", "two.py", "three.py"}
    assert module_file("alit.absent", tmp_path) is None
    assert package / "one.py" in direct_imports(notebook, tmp_path)


def test_sections_are_found_however_the_profile_is_named():
    source = (
        "def f(settings: Profile, other: int):\n    settings.sweep; other.finetune\n"
        "a = load_profile(p)\na.data\nload_profile(p).seed\nif (b := load_profile(p)):\n    b.report\nx.distill\n"
    )
    assert sections_read(source) == {"sweep", "data", "seed", "report"}
