"""The base of all settings: frozen, strict about unknown keys, and one line for the first fault."""

import difflib
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from alit.errors import ConfigError
from alit.files import read_text

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # a class, and what is none: X | None, Literal, Annotated

MOST_VALUES = 1_000_000  # of a YAML file
_FOLDER_NAME = re.compile(r"[^./\x00-\x1f][^/\x00-\x1f]{0,99}")
_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]*[0-7]|[0-9][0-9_]*:.*)$")


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error, and so is a missing one where no default is stated."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _require_folder_name(name: str) -> str:
    if not _FOLDER_NAME.fullmatch(name):
        raise ValueError("expected a name that a folder can have: up to 100 characters, no /, no dot at the beginning")
    return name


FolderName = Annotated[str, AfterValidator(_require_folder_name)]  # what is made is written to a folder of this name

T = TypeVar("T")  # settings, or plain values and tuples of them


def parse_settings(kind: "TypeForm[T]", content: Any, *, source: str) -> T:
    """Build settings from plain data, as YAML and JSON have it, without any cast but that of 1 to 1.0.

    Raises:
        ConfigError: the first fault, in one line that names `source`.
    """
    try:
        text = json.dumps(content, default=_refuse)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: expected text, numbers, true, false, null, lists and keys: {error}") from error
    try:
        # Strict about Python's types pydantic would also refuse the lists that stand for tuples.
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(_describe(error, kind, source)) from error


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key; lists are values."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _refuse(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"found {value}, a {type(value).__name__}; text that looks like one stands between quotes")


def _describe(error: ValidationError, kind: Any, source: str) -> str:
    """Turn pydantic's report into one line; unknown keys first, since they explain missing ones."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault: Any = faults[0]
    location, owner = _without_tags(kind, fault["loc"])
    key = ".".join(location)
    if fault["type"] == "union_tag_not_found":
        fault, key = fault | {"type": "missing"}, f"{key}.{fault['ctx']['discriminator'].strip(chr(39))}"
    if fault["type"] == "missing":
        return f"{source}: expected the key {key}, found none; the other files in configs/ show its form"
    if fault["type"] != "extra_forbidden":
        found = "" if isinstance(fault["input"], dict | BaseModel) else f", found {fault['input']!r}"
        message = fault["msg"].removeprefix("Value error, ")
        return f"{source}: {f'{key}: ' if key else ''}{message}{found}"
    valid = list(owner.model_fields)
    close = difflib.get_close_matches(str(fault["loc"][-1]), valid, n=1, cutoff=0.0)
    return f"{source}: unknown key {key}; the closest valid key is {close[0] if close else '(none)'}"


def _without_tags(kind: Any, location: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """Return a location as a user writes it, and the settings model that its last key belongs or should belong to.

    Pydantic puts a tag behind a key whose settings are of one of several kinds: the value of their discriminator.
    """
    keys: list[str] = []
    owner, models, field = None, _models(kind), None
    for part in location:
        tagged = None if field is None else field.discriminator
        if tagged is not None:
            models = [model for model in models if part in model.model_fields[tagged].annotation.__args__]
            field = None
            continue
        keys.append(str(part))
        if models and not isinstance(part, int):
            owner = models[0]
            field = owner.model_fields.get(part)
            models = [] if field is None else _models(field.annotation)
    return keys, owner


def _models(annotation: Any) -> list[Any]:
    """Return the settings models in an annotation: itself, or the arguments of an optional, a union or a sequence."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return [kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)]


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which no key stands twice.

    Raises:
        ConfigError: the file is missing, not YAML, or repeats a key.
    """
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"expected a profile at {path}, found none; profiles here: {', '.join(known)}")
    try:
        return yaml.load(read_text(path, ConfigError), Loader=_UniqueKeyLoader)
    except ConfigError:
        raise
    except RecursionError as error:
        raise ConfigError(f"{path} is not YAML: it is nested too deeply") from error
    except Exception as error:  # yaml's own, and those of numbers and dates that it builds
        raise ConfigError(f"{path} is not YAML: {error}") from error


def read_section(path: Path, name: str, kind: "TypeForm[T]") -> T:
    """Read one section of a profile, or one key of it as `section.key`, and check no other.

    Raises:
        ConfigError: see `read_yaml`; the section is missing, or a key of it is unknown or of the wrong kind.
    """
    content = read_yaml(path)
    for part in name.split("."):
        if not isinstance(content, dict) or part not in content:
            raise ConfigError(f"{path}: expected the key {name}, found none; the other files in configs/ show its form")
        content = content[part]
    return parse_settings(kind, content, source=f"{path}: {name}")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML itself would keep the last in silence.

    1e-4 is a number, as in YAML 1.2; for PyYAML, which knows 1.1, it would be text. 010 and 1:30, which 1.1 takes for 8
    and 90, are refused, and so are aliases that stand for more values than memory holds.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise yaml.MarkedYAMLError(problem=f"its aliases stand for more than {MOST_VALUES:,} values")
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Construct an integer or a float."""
        if _OTHER_BASE.match(node.value):
            problem = f"{node.value} is a number of base 8 or 60 for YAML 1.1; write it in base 10, or between quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        is_integer = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_integer else self.construct_yaml_float(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, with those of its aliases as often as they are named."""
    if id(node) not in known:
        known[id(node)] = 1  # a node that contains itself is refused later
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = isinstance(node, yaml.MappingNode)
        known[id(node)] += sum(_size(each, known) for part in parts for each in (part if pairs else (part,)))
    return known[id(node)]


for _kind in ("int", "float"):
    _UniqueKeyLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _UniqueKeyLoader.construct_number)
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)
