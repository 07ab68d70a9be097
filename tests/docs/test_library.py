"""The library alone: what `import alit` costs, and what works where no extra is installed."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
import torch
from checkout import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from published_names import published_name
from tiny import tokenizer

import alit
from alit.errors import EXTRAS, MissingPackageError, require, run_command

CORE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
# Hides the modules that `pip install .` does not bring.
BLOCK = """
import json, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *arguments):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, *arguments)

hidden = set(json.loads(sys.argv.pop()))
sys.meta_path[:] = map(Without, sys.meta_path)
"""
WORKFLOW = """
import torch
from alit import AdaptiveTokenizer, ReconstructionLoss, TokenSet, load_images
from alit.cli import main

source, folder = sys.argv[1:]
model = AdaptiveTokenizer.from_pretrained(source)
images = load_images([f"{folder}/picture.png"], size=model.image_size)
for options in ({"length": model.lengths[1]}, {"until": ReconstructionLoss(l1=0.2)}, {"budget": model.lengths[1]}):
    tokens = model.encode(images, **options)
    tokens.save(f"{folder}/tokens.alit")
    assert TokenSet.load(f"{folder}/tokens.alit") == tokens
    assert model.decode(tokens).shape == images.shape
model.save_pretrained(f"{folder}/copy")
assert AdaptiveTokenizer.from_pretrained(f"{folder}/copy").fingerprint == model.fingerprint
main(["convert", f"{folder}/published.pth", f"{folder}/converted", "--heads", "2"])
main(["info", source])
main(["encode", f"{folder}/picture.png", "-o", f"{folder}/t.alit", "-m", f"{folder}/converted", "--length", "4"])
main(["decode", f"{folder}/t.alit", "-o", f"{folder}/rebuilt", "-m", f"{folder}/converted"])
main(["bench", f"{folder}/converted", "--rounds", "1"])
"""


def run(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def packages_of_extras():
    """Return the modules here that `pip install .` would not have brought: nothing that it depends on has them."""
    wanted, brought = [Requirement(text) for text in CORE], {"alit-suite"}
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name in brought or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        brought.add(name)
        try:
            wanted += [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # of another platform
            continue
    found = packages_distributions().items()
    return {module for module, names in found if not brought & {canonicalize_name(name) for name in names}}


@pytest.mark.slow
def test_the_library_works_where_no_extra_is_installed(tmp_path):
    config = tokenizer().config
    tensors = {published_name(name, config): tensor.contiguous() for name, tensor in tokenizer().state_dict().items()}
    torch.save({"ema": tensors}, tmp_path / "published.pth")
    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "picture.png")
    blocked = packages_of_extras()
    assert set(EXTRAS) <= blocked
    model = ROOT / "zoo" / "alit-scenes"
    if not model.is_dir():
        model = tmp_path / "model"
        tokenizer().save_pretrained(model)
    output = run(BLOCK + WORKFLOW, str(model), str(tmp_path), json.dumps(sorted(blocked)))
    assert "lengths 4, 8, 12" in output
    assert len(list((tmp_path / "rebuilt").iterdir())) == 1


def test_importing_alit_imports_no_framework_and_changes_no_environment():
    code = (
        "import os, sys; before = dict(os.environ); import alit, alit.cli; assert dict(os.environ) == before;"
        "print(sorted({'numpy', 'torch', 'timm', 'transformers', 'torchvision'} & set(sys.modules)))"
    )
    assert run(code) == "[]\n"


def test_settings_and_stages_import_no_framework_before_they_use_one():
    """Thirty stages start one after the other: a second of imports is half a minute of a run."""
    code = (
        "import sys, alit.config, experiments.finetune, experiments.measure, experiments.sweep;"
        "names = {'lightning_fabric', 'torchmetrics', 'torchvision', 'timm', 'transformers', 'nbformat'};"
        "print(sorted(names & set(sys.modules)))"
    )
    assert run(code) == "[]\n"


def test_public_names_are_importable_and_listed():
    for name in alit.__all__:
        assert getattr(alit, name).__name__ == name
    assert set(alit.__all__) <= set(dir(alit))
    assert alit.__version__
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        _ = alit.Missing


@pytest.mark.parametrize(("module", "extra"), [("timm", "tasks"), ("pandas", "pipeline"), ("seaborn", "notebooks")])
def test_a_missing_extra_is_one_line_that_names_it(module, extra, monkeypatch, capsys):
    line = f"expected {module}, found none; install it with: pip install 'alit-suite[{extra}]'"
    monkeypatch.setattr("alit.errors.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError) as missing:
        require(module)
    assert str(missing.value) == line

    def main(argv):
        raise ModuleNotFoundError(name=f"{module}.part")

    with pytest.raises(SystemExit, match="2"):
        run_command(main)
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_module_of_no_extra_that_is_missing_is_a_bug():
    def main(argv):
        raise ModuleNotFoundError("No module named 'nonsense'", name="nonsense")

    with pytest.raises(ModuleNotFoundError):
        run_command(main)
