"""What each stage of the pipeline reads, found in its code; run as a script, it writes the deps into dvc.yaml.

python tests/stage_reads.py
"""

import ast
import re
import textwrap
from itertools import groupby
from pathlib import Path

import yaml
from closure import import_closure

from alit.config.profile import Profile
from alit.paths import project_root

ROOT = project_root(Path(__file__).parent)
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
# Stages that execute notebooks, and the studies whose notebooks they are.
NOTEBOOKS = {"notebook": PARAMS["studies"], "measured_notebook": PARAMS["measured_studies"]}
STUDIES = [study for studies in NOTEBOOKS.values() for study in studies]
CONFIG = "configs/${profile}.yaml"
MADE = ("runs/", "reports/", "notebooks/", "configs/", "zoo")  # deps that are no code

# Only declare: checked names of values that DVC tracks as params, faults, and paths that stand in dvc.yaml.
DECLARATIONS = {
    "alit/__init__.py",  # names, loaded when asked for
    "alit/config/__init__.py",
    "alit/config/comparison.py",
    "alit/config/evaluation.py",
    "alit/config/profile.py",
    "alit/config/settings.py",
    "alit/config/training.py",
    "alit/errors.py",
    "alit/paths.py",
}
# Declare and derive: matter to the stages that read the section they belong to, or build what they describe.
DERIVING = {"alit/config/data.py": "data", "alit/config/model.py": "tokenizer"}
# Files that are no modules, with the module that reads them.
RESOURCES = {"alit/report/templates": "alit/report/site.py"}
# Where a stage runs is not what it computes: moving to other hardware keeps the checkpoints.
UNTRACKED_SECTIONS = {"device", "devices"}


def script(stage: str) -> Path:
    """Return the script of a stage."""
    return ROOT / "experiments" / ("notebook.py" if stage in NOTEBOOKS else f"{stage}.py")


def closure(stage: str) -> set[str]:
    """Return every module that a stage, or the notebooks it executes, may import; empty ones left out."""
    notebooks = [ROOT / "notebooks" / f"{study}.ipynb" for study in NOTEBOOKS.get(stage, [])]
    files = set().union(*(import_closure(path, ROOT) for path in [script(stage), *notebooks]))
    return {str(path.relative_to(ROOT)) for path in files if path.suffix == ".py" and not _is_empty(path)}


def _is_empty(path: Path) -> bool:
    """Whether a module holds nothing but its docstring."""
    body = ast.parse(path.read_text()).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def code_read(stage: str) -> set[str]:
    """Return the modules whose text decides what a stage computes."""
    files = closure(stage)
    sections = sections_of(stage)
    idle = {file for file, section in DERIVING.items() if section not in sections}
    if any(file.startswith("alit/models/") for file in files):
        idle -= {"alit/config/model.py"}
    return files - DECLARATIONS - idle


def sections_of(stage: str) -> set[str]:
    """Return the sections of the profile that a stage's modules look at."""
    return set().union(*(sections_read((ROOT / file).read_text()) for file in closure(stage))) - UNTRACKED_SECTIONS


def sections_read(source: str) -> set[str]:
    """Return the sections of the profile that a module looks at.

    They are attributes of `load_profile(...)` itself, of names that it is assigned to, and of parameters that are
    annotated `Profile`.
    """
    nodes = list(ast.walk(ast.parse(source)))
    targets = [(node.value, node.targets) for node in nodes if isinstance(node, ast.Assign)]
    targets += [(node.value, [node.target]) for node in nodes if isinstance(node, ast.NamedExpr)]
    names = {each.id for value, some in targets if _is_load(value) for each in some if isinstance(each, ast.Name)}
    annotated = [node for node in nodes if isinstance(node, ast.arg) and node.annotation is not None]
    names |= {
        node.arg for node in annotated if node.annotation and ast.unparse(node.annotation).strip("'") == "Profile"
    }
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in Profile.model_fields]
    return {
        node.attr
        for node in attributes
        if _is_load(node.value) or (isinstance(node.value, ast.Name) and node.value.id in names)
    }


def _is_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_profile"


def deps_of(stage: str) -> list[str]:
    """Return the code deps of a stage: a room as one folder when the stage reads all of it, else its files."""
    files = code_read(stage)
    rooms = {file.rsplit("/", 1)[0] for file in files if file.count("/") > 1}
    whole = {room for room in rooms if _modules(room) <= files}
    whole = {room for room in whole if not any(room.startswith(f"{other}/") for other in whole)}
    files |= {folder for folder, reader in RESOURCES.items() if reader in files}
    rest = {file for file in files if not any(file.startswith(f"{room}/") for room in whole)}
    own = str(script(stage).relative_to(ROOT))
    return [own, *sorted((whole | rest) - {own})]


def _modules(room: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / room).rglob("*.py") if not _is_empty(path)}


def write_deps(text: str) -> str:
    """Return the text of dvc.yaml with the code deps of every stage as the code has them."""
    for stage, content in STAGES.items():
        made = [f'"{dep}"' for dep in content["deps"] if dep.startswith(MADE)]
        rooms = [list(group) for _, group in groupby(deps_of(stage), key=lambda dep: dep.split("/")[:2])]
        lines = [", ".join(group) for group in ([made] if made else []) + rooms]
        wrapped = [textwrap.fill(line, 114, break_long_words=False, break_on_hyphens=False) for line in lines]
        block = "    deps: [\n" + textwrap.indent(",\n".join(wrapped), " " * 6) + ",\n    ]\n"
        pattern = rf"(\n  {stage}:\n(?:    .*\n|\n)*?)    deps:(?: \[\n(?:      .*\n)*    \]\n|\n(?:    - .*\n)*)"
        text, count = re.subn(pattern, rf"\g<1>{block}", text)
        assert count == 1, stage
    return text


if __name__ == "__main__":
    path = ROOT / "dvc.yaml"
    path.write_text(write_deps(path.read_text()))
