"""The doorways into the environment lead to the same lock, and the two commands are what the README says."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from checkout import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import alit
from alit.errors import EXTRAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRA = {name: [Requirement(text) for text in texts] for name, texts in PROJECT["optional-dependencies"].items()}
LOCK_LINES = [
    line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")
]
LOCKED = [Requirement(line) for line in LOCK_LINES]
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "vl_convert": "vl-convert-python",
}


def declared() -> list[Requirement]:
    """Return what the environment of `make setup` needs, each package once."""
    found = [requirement for requirement in itertools.chain(CORE, *EXTRA.values()) if not requirement.extras]
    return list({requirement.name: requirement for requirement in found}.values())


def locked_versions(name: str) -> list[str]:
    """Return every version that the lock has for a package, over all platforms."""
    pins = [pin for pin in LOCKED if canonicalize_name(pin.name) == canonicalize_name(name)]
    return [next(iter(pin.specifier)).version for pin in pins]


def distribution(module: str) -> str:
    return canonicalize_name(DISTRIBUTIONS.get(module, module))


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_lock_satisfies_every_declared_dependency(requirement):
    versions = locked_versions(requirement.name)
    assert versions
    assert all(version in requirement.specifier for version in versions)


def test_the_library_needs_at_most_twelve_packages_and_dev_brings_the_rest():
    assert len(CORE) <= 12
    (everything,) = (requirement for requirement in EXTRA["dev"] if requirement.extras)
    assert everything.name == PROJECT["name"]
    assert everything.extras == set(EXTRA) - {"dev"}


def test_a_missing_module_is_installed_by_the_extra_that_is_named():
    for module, extra in EXTRAS.items():
        assert distribution(module) in {canonicalize_name(requirement.name) for requirement in EXTRA[extra]}, module


def test_lock_pins_exactly_and_names_no_host_or_path():
    for line, pin in zip(LOCK_LINES, LOCKED, strict=True):
        assert [specifier.operator for specifier in pin.specifier] == ["=="], line
        assert pin.url is None, line
        assert "//" not in line, line
        assert "--" not in line, line


def test_every_import_of_the_package_is_declared():
    imported = set()
    for folder in ("alit", "experiments"):
        for path in (ROOT / folder).rglob("*.py"):
            imported |= set(re.findall(r"^ *(?:from|import) ([a-z_0-9]+)\b[^:]*$", path.read_text(), re.M | re.I))
    known = {canonicalize_name(requirement.name) for requirement in declared()} | {"alit", "experiments"}
    unknown = {name for name in imported - sys.stdlib_module_names if distribution(name) not in known}
    assert unknown == set()


def test_conda_environment_is_a_doorway_to_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip_section = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"]
    assert [package.partition("=")[0] for package in packages] == ["python", "pip", "git"]
    assert packages[0].partition("=")[2] + ".0" in SpecifierSet(PROJECT["requires-python"])
    assert pip_section == {"pip": ["-c requirements.lock", "-e .[dev]"]}


def test_make_and_conda_install_the_same():
    makefile = (ROOT / "Makefile").read_text()
    assert "-c requirements.lock -e '.[dev]'" in makefile


def test_licence_is_apache_2():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text.splitlines()[1] or "Apache License" in text[:200]
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"


def first_block() -> list[str]:
    """Return the commands of the README's first fenced block."""
    block = re.search(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    return [line.partition("#")[0].strip() for line in block[1].splitlines() if line.strip()]


def test_readme_begins_with_the_two_commands():
    assert first_block() == ["make repro", "make test"]


def test_ci_runs_the_readmes_first_block():
    script = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in script
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["setup", "repro", "report", "test", "lint", "clean"])
def test_make_has_the_target(target):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--dry-run", "--directory", str(ROOT), target]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tracked_text_names_no_machine_path():
    tracked = [*ROOT.glob("*.md"), *ROOT.glob("*.yaml"), *ROOT.glob("configs/*"), *ROOT.glob("docs/*.md")]
    for path in [*tracked, ROOT / "Makefile", ROOT / "requirements.lock", ROOT / "environment.yml"]:
        assert not re.search(r"/(root|home|work|opt)/", path.read_text()), path


def test_the_hooks_use_the_locks_ruff():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    [revision] = [repository["rev"] for repository in hooks if repository["repo"].endswith("/ruff-pre-commit")]
    assert locked_versions("ruff") == [revision.removeprefix("v")]


def test_workflows_run_the_makefile_and_the_whole_check():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    lines = {job: [step["run"] for step in content["steps"] if "run" in step] for job, content in jobs.items()}
    assert {"make lint"} < set(lines["fast"])
    assert lines["whole"][-1] == ".ci/run"


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == alit.__version__
    [paper] = citation["references"]
    assert paper["title"] == "Adaptive Length Image Tokenization via Recurrent Allocation"
