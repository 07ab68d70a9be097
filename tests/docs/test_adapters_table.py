"""The table of published tokenizers in docs/bring-your-own.md: every row is what its class and its tests say."""

import ast
import inspect
import pkgutil
import re
from importlib import import_module
from typing import NamedTuple

import pytest
from checkout import ROOT

import alit.tokenizer.adapters as adapters
from alit.tokenizer.adapters.autoencoder import CLASSES
from alit.tokenizer.adapters.titok import TiTokTokenizer

TESTS = (ROOT / "tests/unit/tokenizer/test_tokenizer_published_others.py").read_text(encoding="utf-8")
HOOKS = {"codebook": "codebook_size", "probe": "features", "attention": "attention_maps"}
HEAD = ["tokenizer", "target", "lengths", "bits of a token", "opens", "run against"]


class Row(NamedTuple):
    """A row of the table."""

    name: str
    kind: type
    opens: str
    against: str


def rows() -> list[Row]:
    text = (ROOT / "docs/bring-your-own.md").read_text(encoding="utf-8")
    section = text[text.index("## Published tokenizers") :].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == HEAD
    found, target = [], ""
    for name, where, _, _, opens, against in cells[2:]:
        target = target if where == "the same" else re.findall(r"`([\w.]+:\w+)`", where)[0]
        module, kind = target.split(":")
        found.append(Row(name, getattr(import_module(module), kind), opens, against))
    return found


ROWS = rows()


def literal(name: str):
    """The dictionary keys that the tests of these adapters assign to a name."""
    for statement in ast.parse(TESTS).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == name:
            assert isinstance(statement.value, ast.Dict)
            return [ast.literal_eval(key) for key in statement.value.keys]
    raise AssertionError(name)


def test_every_adapter_of_a_published_tokenizer_has_a_row():
    modules = [import_module(f"{adapters.__name__}.{found.name}") for found in pkgutil.iter_modules(adapters.__path__)]
    kinds = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__ == module.__name__ and hasattr(kind, "reconstructions")
    }
    assert {row.kind for row in ROWS} == kinds | {adapters.CodecTokenizer}


def test_every_class_of_diffusers_has_a_row_and_is_run_tiny():
    of_diffusers = [row for row in ROWS if row.kind.__module__.endswith(".autoencoder")]
    named = [name for row in of_diffusers for name in re.findall(r"`(\w+)`", row.name)]
    assert sorted(named) == sorted(CLASSES) == sorted(literal("NETWORKS"))
    for row in of_diffusers:
        published = "AutoencoderTiny" in row.name
        assert row.against == "diffusers, " + (
            "with the published weights of both" if published else "tiny, random weights"
        )
    (published,) = re.findall(r'"hub_id", "numbers"\), \[(.*?)\]\)', TESTS)
    assert re.findall(r'"madebyollin/(\w+)"', published) == ["taesd", "taesd3"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_its_class_opens(row):
    offered = {study for study, member in HOOKS.items() if hasattr(row.kind, member)}
    if row.kind.__module__.endswith(".autoencoder"):  # one class for four: only ids of a VQModel, and bytes, are ids
        offered -= set() if "codebook" in row.opens else {"codebook"}
    said = set() if row.opens == "nothing" else {part.split()[0] for part in re.split(r"[,;] ", row.opens)}
    assert said == offered


@pytest.mark.parametrize("row", [row for row in ROWS if "stand-in" in row.against], ids=lambda row: row.name)
def test_a_stand_in_is_that_of_the_repository_that_its_adapter_imports(row):
    source = inspect.getsource(inspect.getmodule(row.kind))
    if issubclass(row.kind, TiTokTokenizer):
        module, _, repository = row.kind.source
    else:
        ((module, repository),) = re.findall(r'import_checkout\("([\w.]+)", \S+, "(\S+)"\)', source)
    assert f"a stand-in with the signatures of {repository}" in row.against
    assert f'"{module}"' in TESTS
