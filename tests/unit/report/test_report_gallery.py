"""The front page's pictures: evenly from plain to crowded, each at the length that the table says it needs."""

import numpy as np
from PIL import Image
from synthetic_tables import synthetic_study_data, synthetic_table
from synthetic_thumbnails import SIDE, synthetic_thumbnails

from alit.analysis.grid import to_grid
from alit.report.gallery import SHOWN, needs_from_plain_to_crowded, write_pictures
from alit.report.site import Provenance, Site

TABLE = synthetic_table(images=60, datasets=("val", "near"))
GRID = to_grid(TABLE).dataset("val")
THRESHOLDS = synthetic_study_data(TABLE, features=False).settings.l1_thresholds
NAMES = sorted(TABLE.loc[TABLE["dataset"] == "val", "image_id"].unique())
ROWS = TABLE.loc[(TABLE["dataset"] == "val") & (TABLE["length"] > 0)]


def test_images_are_ordered_by_what_they_hold_and_span_it():
    gallery = needs_from_plain_to_crowded(GRID, THRESHOLDS, [*NAMES, "of-no-image"])
    known = ROWS.drop_duplicates("image_id").set_index("image_id")
    column = "complexity" if known["complexity"].notna().all() else "jpeg_bytes"
    values = known[column][[need.image_id for need in gallery.needs]].to_numpy(dtype=float)
    assert len(values) == SHOWN
    assert (np.diff(values) >= 0).all()
    assert (values[0], values[-1]) == (known[column].min(), known[column].max())


def test_each_has_the_fewest_tokens_below_the_threshold_or_all():
    gallery = needs_from_plain_to_crowded(GRID, THRESHOLDS, NAMES)
    for need in gallery.needs:
        mine = ROWS.loc[ROWS["image_id"] == need.image_id]
        enough = mine.loc[mine["l1"] < gallery.threshold, "length"]
        assert need.satisfied == (len(enough) > 0)
        assert need.length == (enough.min() if len(enough) else mine["length"].max())
        assert need.l1 == mine.loc[mine["length"] == need.length, "l1"].item()
    assert len({need.length for need in gallery.needs}) > 1


def test_the_pictures_are_the_original_and_the_frame_of_that_length(tmp_path):
    gallery = needs_from_plain_to_crowded(GRID, THRESHOLDS, NAMES[:5])
    thumbnails = synthetic_thumbnails(NAMES, ROWS["length"].nunique())
    site = Site(tmp_path, Provenance("tiny", "configs/tiny.yaml", "0" * 12, "none"))
    for shown in write_pictures(site, gallery.needs, thumbnails):
        original, rebuilt = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in shown[1:])
        assert original.shape == (SIDE, SIDE, 3)
        step = 120 / ROWS["length"].nunique()
        lighter = (rebuilt - original).mean()
        assert abs(lighter - step * (1 + shown.need.place)) <= 1


def test_without_pictures_there_is_nothing_to_show():
    assert not needs_from_plain_to_crowded(GRID, THRESHOLDS, ["of-no-image"]).needs


def test_without_a_measure_of_complexity_nothing_can_be_ordered():
    grid = to_grid(synthetic_table(images=30, columns=("class",)))
    assert not needs_from_plain_to_crowded(grid, THRESHOLDS, list(grid.images["image_id"])).needs
