"""The ledger as a page: one picture and one line a claim, with the verdicts of both columns and nothing else's."""

import json
import re

import pytest
from synthetic_report import synthetic_claims

from alit.analysis.claims import Statement
from alit.analysis.measurements import Measurement
from alit.analysis.verdicts import SYMBOLS, VERDICTS
from alit.report.claims_figure import COLORS, claims_overview, describe, position
from alit.report.claims_page import about_trainings, by_section, open_questions, ordered, verdict_counts, wanted
from alit.report.site import slug

NAN = float("nan")


def part(value=2.0, low=1.0, high=4.0, **more):
    return Measurement(
        **{"name": "a", "statistic": "fall", "images": 10, "bound": 0.0, **more}, value=value, low=low, high=high
    )


def claim(id="C1", source="sec. 4, Fig. 6", origin="paper", *parts, control=""):
    return Statement(id, f"Sentence of {id}.", source, "a number", "above 0", control=control, origin=origin).judge(
        parts
    )


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        (part(), (0.5, 0.25, 1.0, 0.0)),
        (part(bound=5.0), (-0.75, -1.0, -0.25, 0.0)),
        (part(bound=5.0, side="below"), (0.75, 0.25, 1.0, 0.0)),
        (part(margin=1.0), (0.5, 0.25, 1.0, 0.25)),
        (part(0.1, -0.1, 0.2, margin=1.0, expects="equivalence", side="below"), (1 / 12, -1 / 12, 2 / 12, 10 / 12)),
        (part(0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_right_of_the_line_is_as_claimed_and_the_farthest_end_is_at_1(measurement, expected):
    assert position(measurement) == pytest.approx(expected)


@pytest.mark.parametrize("measurement", [part(bound=None), part(low=NAN, high=NAN)])
def test_what_has_no_place_is_not_drawn(measurement):
    assert position(measurement) is None


def test_claims_stand_under_their_section_in_the_order_of_the_paper():
    sources = {"C1": "Tab. 1, Fig. 3", "C2": "sec. 4", "C3": "sec. 3", "C4": "ICLR version, Fig. 22", "C5": "a talk"}
    claims = [claim(name, source) for name, source in sources.items()] + [claim("A1", "sec. 4", "suite")]
    groups = by_section(claims)
    assert [[each.id for each in group] for group in groups.values()] == [
        ["C3"],
        ["C2"],
        ["C1"],
        ["C4"],
        ["C5"],
        ["A1"],
    ]
    assert list(groups)[-1] == "Asked by this suite, not by the paper"


def test_verdicts_are_counted_by_column_and_origin():
    claims = [claim("C1", "sec. 4", "paper", part()), claim("C2"), claim("A1", "", "suite", part())]
    assert verdict_counts(claims, "paper") == {
        "as stated": {"supported": 1, "not measurable": 1},
        "under control": {"no control": 2},
    }
    assert verdict_counts(claims[:2], "suite") == {}


@pytest.mark.parametrize(
    ("measurement", "words"),
    [
        (part(bound=None), "for comparison"),
        (part(), "above 0"),
        (part(bound=-0.1, side="below"), "below −0.1"),
        (part(margin=0.02), "above 0, by more than 0.02"),
        (part(margin=0.02, expects="equivalence"), "within ±0.02 of 0"),
    ],
)
def test_what_is_wanted_of_a_measurement(measurement, words):
    assert wanted(measurement) == words


def test_what_decides_comes_before_what_is_for_comparison():
    parts = [part(name="aside", bound=None), part(name="control", column="control"), part(name="stated")]
    assert [each.name for each in ordered(claim("C1", "", "paper", *parts, control="?"))] == [
        "stated",
        "control",
        "aside",
    ]


def test_a_row_says_over_how_many_trainings_it_is():
    assert about_trainings(claim("C1", "", "paper", part())).startswith("one training")
    several = [part(trainings=3), part(name="b", trainings=5), part(name="c", bound=None, trainings=1)]
    assert about_trainings(claim("C1", "", "paper", *several)) == "3 to 5 trainings, by measurement"
    assert about_trainings(claim("C1", "", "paper", several[0])) == "3 trainings"
    assert about_trainings(claim("C1")) == ""


def test_what_is_open_is_listed_with_what_it_would_take():
    parts = [
        part(),
        part(0.5, -0.5, 1.5, name="b", margin=0.25, images=100),
        part(1e-6, -1.0, 1.0, name="c", images=100),
    ]
    one, two = open_questions([claim("C1", "", "paper", *parts)])
    assert (one.claim, one.column, one.images, two.for_margin) == ("C1", "as stated", "100", "–")
    needed = [int(count.replace(",", "")) for count in (one.for_margin, one.for_effect)]
    assert needed[0] == pytest.approx(4 * needed[1], rel=0.05)  # half the effect takes four times the images
    assert two.for_effect == "over 1,000,000"
    assert one.trainings == "–"


def test_the_picture_holds_every_claim_and_names_every_verdict():
    claims = [
        claim(f"C{n}", "sec. 4", "paper", part(), part(name="b", column="control"), control="is it?") for n in (1, 2)
    ]
    claims.append(claim("C3"))
    plot = claims_overview(by_section(claims))
    texts = [text.get_text() for text in plot.figure.texts]
    assert {"C1", "C2", "C3", "Section 4: not all images are worth the same representation"} <= set(texts)
    assert sum(text == "● supported" for text in texts) == 4
    assert "2 [1, 4]" in texts
    assert (
        plot.alt
        == describe(claims)
        == ("3 claims; as stated: 2 supported, 1 not measurable; under control: 2 supported, 1 no control.")
    )


def test_a_picture_of_many_measurements_without_a_headline_counts_their_outcomes():
    parts = [part(name=f"m{n}") for n in range(40)] + [
        part(-2.0, -4.0, -1.0, name="against"),
        part(0.1, -1, 1, name="open"),
    ]
    texts = [text.get_text() for text in claims_overview(by_section([claim("C1", "", "paper", *parts)])).figure.texts]
    assert "● 40  ✖ 1  ○ 1" in texts


@pytest.mark.parametrize(("other", "thick"), [(0.0, 1), (1.0, 0)])
def test_a_pooled_effect_is_drawn_against_the_criterion_that_its_measurements_share(other, thick):
    parts = [part(), part(name="b", bound=other)]
    statement = Statement("C1", "Sentence.", "sec. 4", "a number", "above")
    judged = statement.judge(parts, headline=part(name="mean", bound=None))
    stated = claims_overview(by_section([judged])).figure.axes[0]
    assert sum(line.get_marker() == "o" for line in stated.lines) == thick


def test_every_verdict_has_a_look_of_its_own():
    looks = [(COLORS.get(verdict), SYMBOLS[verdict]) for verdict in VERDICTS]
    assert len({symbol for _, symbol in looks}) == len(VERDICTS)


# The pages


def chips(html: str) -> list[str]:
    """Return the verdicts that the chips of a piece of HTML show, without symbol and count."""
    found = re.findall(r'<span class="chip ([\w-]+)"[^>]*>([^<]*)</span>', html)
    return [name for name, _ in found]


def test_no_page_shows_a_verdict_that_the_ledger_does_not_hold(site, project):
    ledger = json.loads(project.claims.read_text(encoding="utf-8"))
    page = (site / "claims.html").read_text(encoding="utf-8")
    lines = dict(re.findall(r'<details class="claim" id="(\w+)">\s*<summary[^>]*>(.*?)</summary>', page, re.DOTALL))
    assert set(lines) == set(ledger)
    for name, content in ledger.items():
        assert chips(lines[name]) == [slug(content["verdict"]), slug(content["control_verdict"])]
    front = (site / "index.html").read_text(encoding="utf-8")
    pairs = re.findall(r'title="as stated: ([^;]*); under control: ([^"]*)">(\w+) ', front)
    assert {name for *_, name in pairs} <= set(ledger)
    for stated, control, name in pairs:
        assert (stated, control) == (ledger[name]["verdict"], ledger[name]["control_verdict"])
    told = re.findall(r'<p class="tally">.*?</p>', front, re.DOTALL)
    for line, column in zip(told, ("verdict", "control_verdict"), strict=True):
        verdicts = [each[column] for each in ledger.values()]
        counts = {name: int(count) for count, name in re.findall(r"(\d+) ([a-z ]+)</span>", line)}
        assert counts == {name: verdicts.count(name) for name in verdicts}


def test_the_page_opens_with_the_picture_and_folds_the_rest(site):
    page = (site / "claims.html").read_text(encoding="utf-8")
    assert page.index('src="images/claims_overview.png"') < page.index("<details")
    assert "<script" not in page
    assert page.count("<details") == page.count("<summary") == len(synthetic_claims())


def test_a_line_has_paper_effect_and_interval_and_its_details_the_rest(site):
    page = (site / "claims.html").read_text(encoding="utf-8")
    for one in synthetic_claims():
        line, details = page.split(f'id="{one.id}"')[1].split("</details>")[0].split("</summary>")
        assert one.sentence in line
        assert one.paper in line
        if one.headline is not None:
            assert "[0.0201, 0.0226]" in line or "[−0.006, −0.002]" in line
        assert one.criterion in details
        for each in one.measurements:
            assert each.statistic in details
    assert 'href="first/index.html"' in page


def test_what_could_not_be_measured_shows_no_number(site):
    line = (site / "claims.html").read_text(encoding="utf-8").split('id="C3"')[1].split("</details>")[0]
    assert "nan" not in line.lower()
    assert 'class="value"' not in line


def test_text_of_the_ledger_is_escaped(site):
    html = (site / "claims.html").read_text(encoding="utf-8")
    assert "&lt;by people&gt; &amp; co." in html
    assert "<by people>" not in html


def test_what_judges_have_seen_is_said_where_verdicts_are(site, project):
    html = (site / "claims.html").read_text(encoding="utf-8")
    assert "What the judges had seen" in html
    assert "net was trained on ImageNet-1K: of near, val the names of the files do not tell." in html
