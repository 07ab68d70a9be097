"""C16: the codebook is used broadly."""

from alit.analysis.claims import Claim, Statement, assesses
from alit.analysis.measurements import Measurement, measured
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.codebook.tables import (
    TokenIds,
    sample_all_places,
    sample_label_agreement,
    sample_places,
    sample_survival,
    sample_use,
    token_ids,
)

# A quarter of the codebook in equal use: an id carries at most two bits less than it could, 10 of the paper's 12.
BROAD = 0.25

C16 = Statement(
    id="C16",
    sentence="The latent codebook is used broadly.",
    source="ICLR version, Fig. 22",
    paper="the frequency of each of 4,096 codes over 5,000 validation images, as a plot without a number",
    criterion=f"on the in-distribution set at full length, the perplexity of the codes is above {BROAD:.0%} of the "
    "codebook",
    control="Is it broad at every place of the code, and not only over places that each have codes of their own? The "
    "equally frequent codes that would make two images agree at one place as often as they do, mean over places, are "
    f"above {BROAD:.0%} of the codebook",
    margins="none: the bound itself leaves two bits of an id",
)


@assesses(C16)
def codebook_is_used_broadly(data: StudyData) -> Claim:
    """C16: perplexity of the codes at full length, and codes at one place; for comparison, what else ids tell."""
    found = {part.dataset: part for part in token_ids(data)}
    if data.dataset not in found:
        raise NotMeasurable(f"the table of ids lacks {data.dataset}; run: dvc repro measure")
    part, confidence = found[data.dataset], data.bootstrap.confidence
    parts = []
    for step, length in enumerate(part.lengths):
        samples = sample_use(part.ids[:, step, :length], part.codes, data.bootstrap)
        words = f"of {part.codes} codes with {length} tokens, {data.dataset}"
        about = (confidence, len(part.ids))
        bound = BROAD if length == part.lengths[-1] else None
        parts.append(measured(f"perplexity_{length}", f"perplexity, share {words}", samples.perplexity, *about, bound))
        parts.append(measured(f"used_{length}", f"occurring, share {words}", samples.used, *about))
    words = f"codes that one place has in equal use, share of {part.codes}, {part.lengths[-1]} places, {data.dataset}"
    places = sample_places(part.ids[:, -1], data.bootstrap) / part.codes
    control = measured("codes_at_a_place", words, places, confidence, len(part.ids), BROAD, column="control")
    words = f"the same for any two places, share of {part.codes}, {data.dataset}"
    anywhere = sample_all_places(part.ids[:, -1], part.codes, data.bootstrap) / part.codes
    beside = measured("codes_at_all_places", words, anywhere, confidence, len(part.ids), column="control")
    return C16.judge([*parts, control, beside, *_other_uses(data, part)])


def _other_uses(data: StudyData, part: TokenIds) -> list[Measurement]:
    """Report, without deciding anything, what else ids tell: whether short codes begin long ones, and about labels."""
    reported, about = [], (data.bootstrap.confidence, len(part.ids))
    if len(part.lengths) > 1:
        words = f"share of the ids of iteration 1 that iteration {len(part.lengths)} still has, {part.dataset}"
        reported.append(measured("first_ids_survive", words, sample_survival(part, 0, -1, data.bootstrap), *about))
    agreement = sample_label_agreement(data, part.dataset)
    if agreement is not None:
        words = f"images whose nearest by ids has the same label, share beyond that of all pairs, {part.dataset}"
        reported.append(measured("nearest_same_label", words, agreement.same - agreement.chance, *about))
    return reported


CLAIMS = {"C16": codebook_is_used_broadly}
