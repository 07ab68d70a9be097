"""dvc.yaml says what each stage reads: the rooms of the code that it imports from, and the sections of the profile."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT

from alit.paths import RunPaths
from alit.studies import STUDIES
from alit.training.variants import TrainingSettings

# They read, check and place; what they read is tracked as params, and where files lie stands in dvc.yaml.
FRAME = {"alit/__init__.py", "alit/config.py", "alit/errors.py", "alit/files.py", "alit/paths.py", "alit/settings.py"}
FRAME |= {"experiments/__init__.py", "experiments/stage.py"}
UNTRACKED = {"device", "devices", "execution"}  # where and how a stage runs is not what it computes


def expand() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every stage by its name, with its study and what that reads put in; the profile stays a placeholder."""
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    studies = yaml.safe_load((ROOT / "params.yaml").read_text())["studies"]
    for name, content in pipeline["stages"].items():
        if "foreach" in content:
            for key, item in studies.items():
                yield f"{name}@{key}", _put_in(content["do"], {"key": key, "item": item})
        elif "matrix" in content:
            for study in content["matrix"]["study"]:
                yield f"{name}@{study}", _put_in(content, {"item.study": study})
        else:
            yield name, content


def _put_in(content: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    text = json.dumps(content)
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return json.loads(text)


STAGES = dict(expand())


def module_file(name: str) -> str | None:
    """Return the file of a module or package of the checkout."""
    path = name.replace(".", "/")
    return next((file for file in (f"{path}.py", f"{path}/__init__.py") if (ROOT / file).is_file()), None)


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the files that import statements name, lazy ones included; parents of a module give it nothing."""
    names: set[str] = set()
    for node in (node for top in nodes for node in ast.walk(top)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if module_file(name) else node.module for name in modules}
    own = {name for name in names if name.split(".")[0] in ("alit", "experiments")}
    return {file for name in own if (file := module_file(name)) is not None}


def closure(files: set[str]) -> set[str]:
    """Return the files and all that they import, directly or not."""
    found: set[str] = set()
    while files := files - found - FRAME:
        found |= files
        files = set().union(*(imported([ast.parse((ROOT / file).read_text())]) for file in files))
    return found


def parts(stage: str) -> list[ast.AST]:
    """Return the statements of a stage's script that it runs: of `measure`, only the function of its study."""
    script, _, study = STAGES[stage]["cmd"].split()[2:5] if "measure " in STAGES[stage]["cmd"] else (None, None, None)
    if script is None:
        script = STAGES[stage]["cmd"].split()[2]
    body = ast.parse((ROOT / f"{script.replace('.', '/')}.py").read_text()).body
    if study is None:
        return list(body)
    return [node for node in body if not isinstance(node, ast.FunctionDef) or node.name in ("main", study)]


def code_of(stage: str) -> set[str]:
    """Return every file of code that decides what a stage makes."""
    name, _, study = stage.partition("@")
    script = f"{STAGES[stage]['cmd'].split()[2].replace('.', '/')}.py"
    starts = imported(parts(stage))
    if name == "claims":
        starts.add(f"alit/studies/{study}/claims.py")  # imported by its name
    if name == "notebook":
        cells = json.loads((ROOT / "notebooks" / f"{study}.ipynb").read_text())["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        starts |= imported([ast.parse(code)])
    return closure(starts) | {script}


@pytest.mark.parametrize("stage", STAGES)
def test_everything_that_a_stage_imports_lies_inside_its_deps(stage):
    deps = STAGES[stage]["deps"]
    missing = {file for file in code_of(stage) if not any(f"{file}/".startswith(f"{dep}/") for dep in deps)}
    assert missing == set()


@pytest.mark.parametrize("name", {stage.partition("@")[0]: None for stage in STAGES})
def test_every_room_among_the_deps_is_imported_by_the_stage_or_another_of_its_group(name):
    group = [stage for stage in STAGES if stage.partition("@")[0] == name]
    code = {stage: code_of(stage) for stage in group}
    for number, first in enumerate(STAGES[group[0]]["deps"]):
        if first.startswith(("alit/", "experiments/")):
            deps = [(stage, STAGES[stage]["deps"][number]) for stage in group]
            assert any(f"{file}/".startswith(f"{dep}/") for stage, dep in deps for file in code[stage]), first


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_sections_that_the_script_reads(stage):
    listed = {
        section
        for entry in STAGES[stage].get("params", [])
        if isinstance(entry, dict)
        for sections in entry.values()
        for section in sections
    }
    source = "\n".join(ast.unparse(node) for node in parts(stage))
    read = set(re.findall(r"stage\.read\('([\w.]+)'", source))
    if "stage.read_all(TrainingSettings, data=stage.data_config)" in source:
        read |= set(TrainingSettings.model_fields) - {"data"}  # kept beside the image sets by their stage
    if stage.startswith("measure"):
        read |= {"seed"}  # of those that draw
    assert listed == read - UNTRACKED


def test_every_dep_that_a_stage_makes_is_an_out_of_a_stage():
    outs = {out for stage in STAGES.values() for out in stage["outs"]}
    made = {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith(("runs/", "reports/"))}
    assert {dep for dep in made if not any(f"{out}/".startswith(f"{dep}/") for out in outs)} == set()


def test_the_stage_that_ends_the_report_makes_or_waits_for_every_page_that_its_pages_link():
    frame = (ROOT / "alit" / "report" / "templates" / "base.html").read_text()
    linked = {f"reports/${{profile}}/{page}" for page in re.findall(r'\("(\w+\.html)", "', frame)}
    assert len(linked) > 5
    assert linked <= {*STAGES["site"]["outs"], *STAGES["site"]["deps"]}


def test_there_are_as_many_studies_as_the_package_knows():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert set(yaml.safe_load((ROOT / "params.yaml").read_text())["studies"]) == set(STUDIES)
    assert set(pipeline["plots"]) == {f"reports/${{profile}}/{study}/figures" for study in STUDIES}
    assert {f"reports/${{profile}}/{study}/index.html" for study in STUDIES} <= set(STAGES["site"]["outs"])


def test_outs_lie_where_the_package_looks_for_them():
    paths = RunPaths(Path(), "${profile}")
    outs = {out for stage in STAGES.values() for out in stage["outs"]}
    names = ("data", "rejected", "task_models", "pretrained", "base", "distilled", "tokenizer", "sweep", "baselines")
    assert {str(getattr(paths, name)) for name in (*names, "variants", "examples", "claims")} <= outs
    assert {str(folder) for study in STUDIES for folder in (paths.study_claims(study), paths.executed(study))} <= outs


@pytest.mark.slow
def test_dvc_accepts_the_pipeline(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text() + "    no_scm = true\n")
    (tmp_path / "configs").mkdir()
    for file in ("dvc.yaml", "params.yaml", *(f"configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml"))):
        (tmp_path / file).write_text((ROOT / file).read_text())
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=tmp_path,
        env={"PATH": str(Path(sys.executable).parent), "HOME": str(tmp_path), "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(STAGES)
