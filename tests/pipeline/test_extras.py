"""What a script needs installed: those that train and measure do without the packages that draw."""

import subprocess
import sys

import pytest
from checkout import ROOT

from alit.errors import EXTRAS
from alit.paths import project_root
from experiments import NETWORK_SCRIPTS
from experiments.measure import MEASUREMENTS

DRAWING = [module for module, extra in EXTRAS.items() if extra == "notebooks"]
# As if the packages were not there: neither is a spec of theirs found, nor can they be imported.
WITHOUT_NOTEBOOKS = f"""
import sys
from importlib import import_module, util
absent, find_spec = {DRAWING!r}, util.find_spec
util.find_spec = lambda name, *rest: None if name in absent else find_spec(name, *rest)
sys.modules.update(dict.fromkeys(absent))
for module in sys.argv[1:]:
    import_module(module)
"""


def import_without_notebooks(*modules):
    """Import modules in a process whose command line names them."""
    command = [sys.executable, "-c", WITHOUT_NOTEBOOKS, *modules]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_scripts_that_draw_nothing_do_without_the_packages_that_draw():
    assert all((project_root() / f"{name.replace('.', '/')}.py").is_file() for name in NETWORK_SCRIPTS)
    measured = [f"alit.studies.{study}.measure" for study in MEASUREMENTS]  # imported when the stage runs
    done = import_without_notebooks(*sorted(NETWORK_SCRIPTS), *measured)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["experiments.repro", "experiments.notebook"])
def test_other_scripts_name_what_is_missing_before_any_work(script):
    done = import_without_notebooks(script)
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected ")
    assert done.stderr.endswith("pip install 'alit-suite[notebooks]'\n")
