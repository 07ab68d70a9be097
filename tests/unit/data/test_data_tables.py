"""Arrays, tables, manifests and profiles that a user brings: checked when they are opened, one line each."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from alit.analysis.sweep_folder import read_table
from alit.data.imageset import COLUMNS, build_manifest, open_set, read_card, read_manifest
from alit.data.prepare import ImageSetConfig, write_set
from alit.data.sources import Record
from alit.data.sources.folder import savoias_source
from alit.data.sources.packed import PackedSource
from alit.data.sources.paired import read_inverse_depth
from alit.data.tables import MEMBERS, read_rows
from alit.errors import ConfigError, DataError
from alit.files import read_json
from alit.settings import Settings, parse_settings, read_yaml

WHOLE = {
    "images": np.zeros((2, 4, 5, 3), np.uint8),
    "labels": np.array([0, -1]),
    "class_names": np.array(["cat", "dog"]),
    "complexity": np.array([0.0, np.nan]),
    "captions": np.array(["a", "b"]),
    "depth": np.ones((2, 4, 5), np.float32),
    "masks": np.zeros((2, 4, 5), np.uint8),
}


def archive(path, **changes):
    np.savez(path, **(WHOLE | changes))
    return path


def test_an_archive_that_is_whole_is_read(tmp_path):
    source = PackedSource("s", archive(tmp_path / "a.npz"), "")
    assert [source.record(row).label for row in range(2)] == [0, None]
    assert [source.record(row).complexity for row in range(2)] == [0.0, None]


ODD = [
    ("labels", np.array([[0], [1]])),
    ("labels", np.array([0.0, 1.0])),
    ("labels", np.array([True, False])),
    ("labels", np.array(["0", "1"])),
    ("labels", np.array([0, 2])),
    ("labels", np.array([0])),
    ("labels", np.array(0)),
    ("labels", np.array([0, 2**62])),
    ("labels", np.array([0, 2**64 - 1], np.uint64)),
    ("labels", np.array([0, 1], "M8[s]")),
    ("labels", np.array([1j, 1])),
    ("class_names", np.array([1, 2])),
    ("class_names", np.array([b"cat", b"dog"])),
    ("class_names", np.array([["cat", "dog"]])),
    ("class_names", np.array("cat")),
    ("complexity", np.array(["1", "2"])),
    ("complexity", np.array([1.0, np.inf])),
    ("complexity", np.array([1.0, -1])),
    ("complexity", np.array([1, 101])),
    ("complexity", np.array([[1.0], [2.0]])),
    ("complexity", np.array([True, False])),
    ("captions", np.array([1.5, 2.5])),
    ("captions", np.array([["a"], ["b"]])),
    ("captions", np.array([b"a", b"b"])),
    ("depth", np.ones((2, 4, 5), np.int32)),
    ("depth", np.ones((2, 4, 4), np.float32)),
    ("depth", np.ones((2, 4, 5, 1), np.float32)),
    ("depth", np.full((2, 4, 5), np.nan)),
    ("depth", np.full((2, 4, 5), np.inf)),
    ("depth", np.full((2, 4, 5), -1.0)),
    ("depth", np.full((2, 4, 5), 1e6)),
    ("masks", np.zeros((2, 4, 5), np.int64)),
    ("masks", np.zeros((2, 4, 5), bool)),
    ("masks", np.zeros((2, 5, 4), np.uint8)),
    ("images", np.zeros((2, 4, 5, 3), np.int8)),
    ("images", np.zeros((2, 4, 5, 4), np.uint8)),
    ("images", np.zeros((2, 3, 4, 5), np.uint8)),
    ("images", np.zeros((0, 4, 5, 3), np.uint8)),
    ("images", np.zeros((2, 0, 5, 3), np.uint8)),
    ("images", np.zeros((4, 5), np.uint8)),
]


@pytest.mark.parametrize(("name", "array"), ODD, ids=[f"{name}-{array.dtype}-{array.shape}" for name, array in ODD])
def test_a_member_of_another_type_shape_or_range_is_named(name, array, tmp_path):
    with pytest.raises(DataError, match=rf"a\.npz: expected ([\d]+ )?{name}"):
        PackedSource("s", archive(tmp_path / "a.npz", **{name: array}), "")


def test_every_member_that_is_documented_is_checked():
    assert set(MEMBERS) == set(WHOLE) == {name for name, _ in ODD}
    for name in MEMBERS:
        assert f"{name}:" in PackedSource.__doc__


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_truncated_file_of_arrays_is_one_line(share, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        archive(path)
    else:
        np.save(path, WHOLE["images"])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"is not a \.npy or \.npz file"):
        PackedSource("s", path, "")


def test_archives_of_other_things_are_one_line(tmp_path):
    def zipped(name, content):
        with zipfile.ZipFile(target := io.BytesIO(), "w") as file:
            file.writestr(name, content)
        return target.getvalue()

    np.save(target := io.BytesIO(), np.array([{}], dtype=object))
    np.save(plain := io.BytesIO(), WHOLE["images"])
    header = b"\x93NUMPY\x01\x00\x20\x00"
    contents = {
        "objects.npz": zipped("images.npy", target.getvalue()),
        "text.npz": zipped("images.npy", "no array"),
        "empty.npz": zipped("x/", ""),
        "plain.npz": plain.getvalue(),
        "archive.npy": zipped("images.npy", plain.getvalue()),
        "code.npy": header + b"__import__('os').abort()".ljust(32),
        "huge.npy": header[:8]
        + b"\x46\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 9, 9)}\n",
        "pickle.npy": b"\x80\x04]\x94.",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            PackedSource("s", tmp_path / name, "")
    for name in ("text.npz", "code.npy", "archive.npy"):
        with pytest.raises(DataError):
            read_inverse_depth(tmp_path / name)


def test_inverse_depth_that_float32_cannot_hold_is_refused(tmp_path):
    np.save(tmp_path / "d.npy", np.array([[0.0, 1e300]]))
    with pytest.raises(DataError, match="range of float32"):
        read_inverse_depth(tmp_path / "d.npy")


BAD_SCORES = ("inf", "nan", "-1", "1_0", "", "x", "1e9")
GOOD = "file,category,complexity\na.png,art,10\nb.png,art,20\n"


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        (GOOD + "\n\n  \n").encode(),
        GOOD.replace("file,", " file ,").encode(),
    ],
)
def test_a_table_of_scores_may_have_a_byte_order_mark_and_any_line_ends(content, tmp_path):
    (tmp_path / "scores.csv").write_bytes(content)
    source = savoias_source("s", tmp_path, "art")
    assert [(source.record(row).origin, source.record(row).complexity) for row in range(2)] == [
        ("a.png", 10.0),
        ("b.png", 20.0),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD.encode("utf-16"), "expected UTF-8, found the byte 0xff"),
        (GOOD.replace("a.png", "caf\xe9.png").encode("latin-1"), "expected UTF-8, found the byte 0xe9"),
        (b"", "lacks the column file"),
        (GOOD.replace(",10", "").encode(), "row 2: expected 3 fields, found 2"),
        (GOOD.replace(",10", ",10,11").encode(), "row 2: expected 3 fields, found 4"),
        (GOOD.replace("category", "file").encode(), "lacks the column category"),
        (GOOD.replace("complexity", "complexity,file").encode(), "expected each column once"),
        (GOOD.replace("a.png", '"a.png').encode(), "cannot be read as CSV"),
        (GOOD.replace("a.png", '"a"x.png').encode(), "cannot be read as CSV"),
        (GOOD.replace("a.png", "/etc/passwd").encode(), "expected paths below"),
        (GOOD.replace("a.png", "../a.png").encode(), "expected paths below"),
        (GOOD.replace("a.png", "").encode(), "expected paths below"),
        (GOOD.replace(",", ";").encode(), "lacks the column file"),
        (GOOD.replace("b.png", "a.png").encode(), "expected each file once in art, found a.png"),
        *(
            (GOOD.replace("10", value).encode(), "from 0 to 100")
            for value in ("inf", "nan", "-1", "1_0", "", "x", "1e9")
        ),
    ],
)
def test_an_odd_table_of_scores_is_one_line(content, reason, tmp_path):
    (tmp_path / "scores.csv").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        savoias_source("s", tmp_path, "art")


def test_a_table_that_is_missing_or_a_folder_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(DataError, match="cannot be read as CSV"):
            read_rows(path, ("a",))


BAD_FIELDS = [(0, ""), (1, ""), (2, "x"), (2, "0.5"), (2, "-1"), (2, str(2**70)), (5, "inf"), (5, "x"), (7, "x")]
ROW = ["i", "o", "0", "cat", "val", "1.5", "", "", "0" * 64]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"a,b\n1,2\n",
        ",".join(COLUMNS).encode() + b"\n" + ",".join(ROW[:5]).encode(),
        ",".join(COLUMNS).encode() + b"\n" + ",".join([*ROW, "more"]).encode(),
        *(
            (",".join(COLUMNS) + "\n" + ",".join([*ROW[:place], value, *ROW[place + 1 :]])).encode()
            for place, value in [
                (0, ""),
                (1, ""),
                (2, "x"),
                (2, "0.5"),
                (2, "-1"),
                (2, str(2**70)),
                (5, "inf"),
                (5, "x"),
                (7, "x"),
            ]
        ),
        (",".join(COLUMNS) + "\n" + (",".join(ROW) + "\n") * 2).encode(),
        (",".join(COLUMNS) + "\n" + ",".join(["caf\xe9", *ROW[1:]])).encode("latin-1"),
        ",".join(COLUMNS).encode() + b'\n"' + ",".join(ROW).encode(),
    ],
)
def test_an_odd_manifest_is_one_line(content, tmp_path):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(DataError, match="is not a manifest"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_manifest_may_have_a_byte_order_mark(ends, tmp_path):
    text = ends.join([",".join(COLUMNS), ",".join(ROW), ""])
    (tmp_path / "manifest.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_manifest(tmp_path / "manifest.csv")["class_name"].tolist() == ["cat"]


class Numbers(Settings):
    """A profile of one number."""

    value: float


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfea\x00",
        "value: caf\xe9".encode("latin-1"),
        b"value: 2020-13-45",
        b"value: " + b"9" * 5000,
        b"? [1, 2]\n: 3",
        b"value: [" * 5000,
        b"value: &a [*a]",
        b"value: .inf",
        b"value: .nan",
        b"value: !!python/object:os.system x",
        b"value: 1\nvalue: 2",
        b"\tvalue: 1",
        b"value: \x00",
        b"",
        b"- 1",
        b"value: 12:30:45.5x",
        *(b"value: " + number for number in (b"010", b"-07", b"1:30", b"1:30.5", b"190:20:30")),
        b"a: &a [1]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in b"bcdefgh"),
    ],
)
def test_an_odd_profile_is_one_line(content, tmp_path):
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(ConfigError):
        parse_settings(Numbers, read_yaml(tmp_path / "p.yaml"), source="p")


class Kinds(Settings):
    """A setting of each kind that YAML has."""

    whole: int = 1
    number: float = 1.0
    switch: bool = True
    text: str = ""
    several: tuple[float, ...] = ()
    perhaps: int | None = None


@pytest.mark.parametrize(
    "line",
    [
        *('whole: "3"', "whole: 1.0", "whole: true", "whole: 1e0", "whole: null", "whole: [1]"),
        *('number: "1"', "number: true", "number: 1_0x", 'number: "1e-4"'),
        *('switch: "yes"', "switch: 1", 'switch: "true"', "switch: 0.0", "switch: null"),
        *("text: 1", "text: true", "text: 1.5", "text: 2020-01-01", "text: [a]"),
        *('several: ["1"]', "several: 1", "several: {1: 2}", "several: [true]", 'perhaps: "1"', "perhaps: 1.0"),
        *("1: whole", "!!binary aGk=: 1", "text: !!binary aGk=", "several: !!set {1}"),
    ],
)
def test_nothing_in_a_profile_is_cast(line, tmp_path):
    (tmp_path / "p.yaml").write_text(line)
    with pytest.raises(ConfigError, match=r"^p: ") as refused:
        parse_settings(Kinds, read_yaml(tmp_path / "p.yaml"), source="p")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        *(("number: 1", "number", 1.0), ("number: 1e-4", "number", 1e-4), ("number: 1E+3", "number", 1e3)),
        *(("number: 3.75e-5", "number", 3.75e-5), ("switch: yes", "switch", True), ("text: '1'", "text", "1")),
        *(("several: [1, 2.5, .1e1]", "several", (1.0, 2.5, 1.0)), ("perhaps: ~", "perhaps", None)),
        *(("text: 1e-4x", "text", "1e-4x"), ("text: e5", "text", "e5"), ("number: 0.1", "number", 0.1)),
    ],
)
def test_what_yaml_says_is_taken_as_it_is(line, key, value, tmp_path):
    (tmp_path / "p.yaml").write_text(line)
    found = getattr(parse_settings(Kinds, read_yaml(tmp_path / "p.yaml"), source="p"), key)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "content",
    [b'{"a": 1, "a": 2}', b'{"b": [{"a": 1, "a": 1}]}', b'{"a": NaN}', b'{"a": [-Infinity]}', b"[1]", b"\xff"],
)
def test_odd_json_is_one_line(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "a\nb", "\ud800", "a\0b", '"', " a ", "nan", "\u2028", "\x85"])
def test_captions_and_classes_of_any_characters_come_back(text, tmp_path):
    np.savez(
        tmp_path / "x.npz",
        images=np.zeros((1, 4, 4, 3), np.uint8),
        labels=np.array([0]),
        class_names=np.array([text]),
        captions=np.array([text]),
    )
    config = ImageSetConfig(
        name="x", role="train", source="packed", path="x.npz", variant="base", split="", images=None, pack=True
    )
    assert write_set(PackedSource("x", tmp_path / "x.npz", ""), config, 4, tmp_path / "set") == []
    row = open_set(tmp_path / "set").manifest.iloc[0]
    expected = text.replace("\r\n", "\n").replace("\r", "\n").encode(errors="backslashreplace").decode()
    assert (row["caption"], row["class_name"]) == (expected, expected)
    assert read_card(tmp_path / "set").class_names == (expected,)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/a", "a\0", "a\n", "x" * 101])
def test_a_set_has_a_name_that_a_folder_can_have(name):
    given = {"name": name, "role": "train", "source": "folder", "variant": "base", "split": "", "images": None}
    with pytest.raises(ConfigError, match="a name that a folder can have"):
        parse_settings(ImageSetConfig, given | {"path": "a", "pack": True}, source="p")
    with pytest.raises(ConfigError, match="path"):
        parse_settings(ImageSetConfig, given | {"name": "a", "path": "", "pack": True}, source="p")


def test_an_image_that_stands_twice_is_refused_when_the_set_is_written():
    record = Record("a", "a.png", None, None, "", None, None, None)
    with pytest.raises(DataError, match="found a again"):
        build_manifest([record, record], ["0" * 64] * 2)


def test_a_profile_may_have_a_byte_order_mark(tmp_path):
    (tmp_path / "p.yaml").write_bytes(b"\xef\xbb\xbfvalue: 2\r\n")
    assert parse_settings(Numbers, read_yaml(tmp_path / "p.yaml"), source="p").value == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_table_is_one_line(share, tmp_path):
    pd.DataFrame({"a": range(1000)}).to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_table(tmp_path / "t.parquet")
