"""Other words for a network that has learnt some: a token begins as what spelled it before.

The mean of the old vectors, as in "Fast Vocabulary Transfer for Language Model Compression" (Gee et al. 2022,
arXiv 2402.09977). Whatever both vocabularies have keeps its vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from kinema.model.policy.policy import Policy


@torch.no_grad()
def reword(policy: Policy, spelled: Sequence[Sequence[int]]) -> None:
    """Give a policy another vocabulary, in place. spelled: of every new token, the old ones for the same."""
    language = policy.backbone.qwen.language_model
    before = language.embed_tokens
    after = nn.Embedding(len(spelled), before.embedding_dim).to(before.weight)
    after.weight.copy_(torch.stack([before.weight[list(old)].mean(0) for old in spelled]))
    language.embed_tokens = after
