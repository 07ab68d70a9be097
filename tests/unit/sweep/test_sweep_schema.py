import re

import numpy as np
import pandas as pd
import pyarrow
import pytest
from checkout import ROOT

from alit.errors import DataError
from alit.sweep.schema import COLUMNS, TASK_COLUMNS, as_table, column_of, read_table, validate_table

LENGTHS = (0, 4, 8)


def table(images=3):
    """A correct table of `images` images at three lengths."""
    rows = images * len(LENGTHS)
    random = np.random.default_rng(0)
    length = np.tile(LENGTHS, images)
    return as_table(
        {
            "dataset": ["val"] * rows,
            "split": ["val"] * rows,
            "image_id": np.repeat([f"image-{image}" for image in range(images)], len(LENGTHS)),
            "label": np.repeat([1.0, np.nan, 0.0][:images], len(LENGTHS)),
            "complexity": np.full(rows, np.nan),
            "rms_contrast": np.full(rows, 0.2),
            "jpeg_bytes": np.full(rows, 900.0),
            "webp_bytes": np.full(rows, 700.0),
            "length": length,
            "bits": np.where(length == 0, np.nan, 12.0 * length),
            "l1": random.random(rows),
            "l2": random.random(rows),
            "psnr": np.where(length == 0, np.inf, 20.0),
            "ssim": random.random(rows),
            "class_rank_cnn": np.tile([0.0, 2.0, np.nan], images),
            "class_rank_in_set_cnn": np.tile([0.0, 1.0, np.nan], images),
            "depth_error_unet": random.random(rows),
        }
    )


def test_a_table_survives_the_file(tmp_path):
    table().to_parquet(tmp_path / "table.parquet", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.parquet"), table())


def test_predicted_losses_may_be_null_and_tables_of_earlier_sweeps_lack_them(tmp_path):
    with_nulls = table().assign(predicted_l1=np.where(table()["length"] == 0, np.nan, 0.2).astype("float32"))
    assert "predicted_l1" not in validate_table(table(), "an old table")
    assert validate_table(with_nulls, "a table")["predicted_l1"].isna().sum() == 3
    with pytest.raises(DataError, match="predicted_l1"):
        validate_table(with_nulls.assign(predicted_l1=np.float32(1.5)), "a table")


def test_unknown_labels_and_ranks_are_null_and_whole_numbers_stay_whole():
    assert str(table()["label"].dtype) == "Int32"
    assert table()["class_rank_cnn"].isna().tolist() == [False, False, True] * 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.iloc[:0], "at least one row"),
        (lambda t: t.drop(columns="l1"), "expected the column l1"),
        (lambda t: t.assign(score=1.0), "found score"),
        (lambda t: t.assign(l1=t["l1"].astype("float64")), "l1.*float32"),
        (lambda t: t.assign(l1=np.float32(1.5)), "column l1.*1.5"),
        (lambda t: t.assign(l1=np.float32(np.nan)), "column l1.*nan"),
        (lambda t: t.assign(bits=np.float32(8)), "bits in every row but"),
        (lambda t: t.assign(class_rank_cnn=pd.array([-1] * 9, dtype="Int32")), "class_rank_cnn"),
        (lambda t: t.assign(class_rank_in_set_cnn=pd.array([3] * 9, dtype="Int32")), "at most class_rank_<model>"),
        (lambda t: t.iloc[:-1], "every image once at every length"),
        (lambda t: t.iloc[::-1], "start with length 0"),
        (lambda t: pd.concat([t, t]), "every image once at every length"),
        (lambda t: t.iloc[[0, 2, 1, 3, 5, 4, 6, 8, 7]], "lengths to rise"),
        (lambda t: pd.concat([t, t.assign(dataset="far")]), "sorted by dataset"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, spoil, message):
    path = tmp_path / "table.parquet"
    spoil(table()).to_parquet(path, index=False)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))} is not a sweep table: .*{message}") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_a_missing_or_foreign_file_is_one_line(tmp_path):
    with pytest.raises(DataError, match="run the sweep"):
        read_table(tmp_path / "table.parquet")
    (tmp_path / "table.parquet").write_text("dataset,l1\n")
    with pytest.raises(DataError, match="not a parquet file"):
        read_table(tmp_path / "table.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pandas(table()), tmp_path / "whole.parquet")
    (tmp_path / "table.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-40])
    with pytest.raises(DataError, match="not a parquet file"):
        read_table(tmp_path / "table.parquet")


def test_validation_gives_the_table_back():
    pd.testing.assert_frame_equal(validate_table(table(), "here"), table())


def test_columns_without_a_declaration_are_refused():
    assert column_of("perceptual_lite0") is not None
    assert column_of("perceptual_") is None
    with pytest.raises(DataError, match="found color"):
        as_table({"color": [1.0]})


def test_the_documentation_lists_every_column():
    text = (ROOT / "docs" / "sweep-table.md").read_text().partition("## How an image is seen")[0]
    documented = re.findall(r"^\| `([\w<>]+)`", text, re.MULTILINE)
    patterns = [pattern.removeprefix("^").removesuffix(r"\w+$") + "<model>" for pattern in TASK_COLUMNS]
    assert documented == [*COLUMNS, *patterns]
