"""What is kept of entropy coding keeps its bar, and the page about it has its numbers."""

import json

from checkout import ROOT

KEPT = json.loads((ROOT / "benchmarks/results/entropy_coding.json").read_text(encoding="utf-8"))


def test_coded_ids_take_what_their_entropy_says_and_come_back():
    assert KEPT["checkpoint"] == "zoo/alit-imagenette"
    for found in KEPT["lengths"].values():
        assert found["comes_back"]
        assert abs(found["payload_order_0"] / found["order_0"] - 1) <= 0.02
        assert abs(found["payload"] / found["by_position"] - 1) <= 0.02
        assert found["payload"] <= found["order_0"] < found["fixed_width"]


def test_the_page_has_the_kept_numbers():
    text = (ROOT / "docs/tokenizing-data-sets.md").read_text(encoding="utf-8")
    columns = ("order_0", "payload_order_0", "by_position", "payload", "file_rest", "file_fixed_width", "file")
    for length, found in KEPT["lengths"].items():
        cells = [length, str(found["fixed_width"]), *(f"{found[name]:.1f}" for name in columns)]
        assert f"| {' | '.join(cells)} |" in text
