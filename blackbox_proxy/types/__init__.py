"""The nouns of black-box steering, and the Protocols at its seams.

Everything here is frozen data or an interface. The module knows no network, no model file and no formula beyond the
checks that keep a value valid. Text is bytes: a token of an API may end inside a UTF-8 character.
"""

from __future__ import annotations

from blackbox_proxy.types.api import (
    FILTERED,
    LOST,
    Adapter,
    Attempt,
    Call,
    Candidate,
    Capabilities,
    Continuation,
    Echoed,
    Kind,
    ListAdapter,
    Position,
    Receipt,
    Reply,
    RevealMethod,
    Said,
    Usage,
    Watcher,
    WireRequest,
)
from blackbox_proxy.types.asks import NO_RUN, Ask, Echo, Generate, Prefix, Purpose, Reveal, Sampling, Score
from blackbox_proxy.types.pair import (
    Distribution,
    Floats,
    Logits,
    OffsetSource,
    PairDistributions,
    PairPrompt,
    Proposer,
    Scores,
    Tokenizer,
    TokenPath,
)
from blackbox_proxy.types.places import ReferencePlace
from blackbox_proxy.types.prompts import WRITTEN, Message, Prompt
from blackbox_proxy.types.results import Choice, Finish, Option, Origin, Result, ScoredCandidate, Step

__all__ = [
    "FILTERED",
    "LOST",
    "NO_RUN",
    "WRITTEN",
    "Adapter",
    "Ask",
    "Attempt",
    "Call",
    "Candidate",
    "Capabilities",
    "Choice",
    "Continuation",
    "Distribution",
    "Echo",
    "Echoed",
    "Finish",
    "Floats",
    "Generate",
    "Kind",
    "ListAdapter",
    "Logits",
    "Message",
    "OffsetSource",
    "Option",
    "Origin",
    "PairDistributions",
    "PairPrompt",
    "Position",
    "Prefix",
    "Prompt",
    "Proposer",
    "Purpose",
    "Receipt",
    "ReferencePlace",
    "Reply",
    "Result",
    "Reveal",
    "RevealMethod",
    "Said",
    "Sampling",
    "Score",
    "ScoredCandidate",
    "Scores",
    "Step",
    "TokenPath",
    "Tokenizer",
    "Usage",
    "Watcher",
    "WireRequest",
]
