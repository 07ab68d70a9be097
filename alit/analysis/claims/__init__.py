"""The paper's claims as functions of the evidence; see docs/claims.md for the rule of the verdicts."""

from collections.abc import Callable, Iterable

from alit.analysis.claims.ablations import (
    adaptive_lengths_are_competitive,
    continuous_latents_reconstruct_better,
    more_of_everything_improves,
)
from alit.analysis.claims.attention import attention_aligns_with_segments, attention_becomes_sparser
from alit.analysis.claims.capacity import CAPACITY_CLAIMS
from alit.analysis.claims.codebook import codebook_is_used_broadly
from alit.analysis.claims.complexity import complex_images_need_more_tokens, loss_rises_with_complexity
from alit.analysis.claims.cost import encoding_pays_per_iteration
from alit.analysis.claims.familiarity import unfamiliar_images_lose_most_at_few_tokens
from alit.analysis.claims.ledger import (
    Claim,
    Measurement,
    Statement,
    claims_table,
    ledger_from_json,
    ledger_to_json,
)
from alit.analysis.claims.probe import PROBE_CLAIMS
from alit.analysis.claims.reconstruction import more_tokens_reconstruct_better
from alit.analysis.claims.strength import stronger_models_lose_more
from alit.analysis.evidence import Evidence

_ASSESSED: dict[str, Callable[[Evidence], Claim]] = {
    "C1": more_tokens_reconstruct_better,
    "C2": loss_rises_with_complexity,
    "C3": complex_images_need_more_tokens,
    "C4": unfamiliar_images_lose_most_at_few_tokens,
    **CAPACITY_CLAIMS,
    "C8": stronger_models_lose_more,
    **PROBE_CLAIMS,
    "C10": attention_aligns_with_segments,
    "C11": attention_becomes_sparser,
    "C12": continuous_latents_reconstruct_better,
    "C13": more_of_everything_improves,
    "C14": adaptive_lengths_are_competitive,
    "C16": codebook_is_used_broadly,
    "C17": encoding_pays_per_iteration,
}
CLAIMS = {name: _ASSESSED[name] for name in sorted(_ASSESSED, key=lambda name: int(name[1:]))}


def assess(evidence: Evidence, ids: Iterable[str] = tuple(CLAIMS)) -> tuple[Claim, ...]:
    """Assess the claims of the given ids, in their order."""
    return tuple(CLAIMS[name](evidence) for name in ids)


__all__ = [
    "CLAIMS",
    "Claim",
    "Evidence",
    "Measurement",
    "Statement",
    "assess",
    "claims_table",
    "ledger_from_json",
    "ledger_to_json",
]
