"""C16: the codebook is used broadly."""

from alit.analysis.claims import Claim, Statement, assesses, measured
from alit.analysis.study_data import StudyData
from alit.errors import NotMeasurable
from alit.studies.codebook.tables import sample_use, token_ids

# A quarter of the codebook in equal use: an id carries at most two bits less than it could, 10 of the paper's 12.
BROAD = 0.25

C16 = Statement(
    id="C16",
    sentence="The latent codebook is used broadly.",
    source="ICLR version, Fig. 22",
    paper="the frequency of each of 4,096 codes over 5,000 validation images, as a plot without a number",
    criterion=f"on the in-distribution set at full length, the perplexity of the codes is above {BROAD:.0%} of the "
    "codebook",
)


@assesses(C16)
def codebook_is_used_broadly(data: StudyData) -> Claim:
    """C16: perplexity of the codes at full length; for comparison, at each iteration, and the codes that occur."""
    found = {part.dataset: part for part in token_ids(data)}
    if data.dataset not in found:
        raise NotMeasurable(f"the table of ids lacks {data.dataset}; run: dvc repro measure")
    ids, lengths, codes = found[data.dataset].ids, found[data.dataset].lengths, found[data.dataset].codes
    parts = []
    for step, length in enumerate(lengths):
        samples = sample_use(ids[:, step, :length], codes, data.bootstrap)
        words = f"of {codes} codes with {length} tokens, {data.dataset}"
        about = (data.bootstrap.confidence, len(ids))
        bound = BROAD if length == lengths[-1] else None
        parts.append(measured(f"perplexity_{length}", f"perplexity, share {words}", samples.perplexity, *about, bound))
        parts.append(measured(f"used_{length}", f"occurring, share {words}", samples.used, *about))
    return C16.judge(parts)


CLAIMS = {"C16": codebook_is_used_broadly}
