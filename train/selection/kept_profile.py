"""A profile of the blocks is made once for the same model and questions, and kept for later runs."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor
from transformers import PreTrainedModel

from eavss.moments import TokenMoments
from eavss.profile import LayerProfile, PairedBatch
from train.model.kept_figures import surroundings
from train.model.kept_tensors import KeptTensors
from train.model.loading import fingerprint
from train.runtime.distributed import say

# Profiles that are kept on disk have been made in this way. Count on when the way changes.
_VERSION = 1
_REUSED = "score: the profile is not made again, but read from the cache folder (fresh: true measures anew)"
_MOMENTS = ("all_tokens", "hallucinated_tokens")


def reuse_or_profile(
    model: PreTrainedModel, batches: Sequence[PairedBatch], kept: KeptTensors, profile: Callable[[], LayerProfile]
) -> LayerProfile:
    """Return the profile that an earlier run has made of the same batches, or call `profile` and keep its result.

    Every rank must call this.
    """
    key = [_VERSION, fingerprint(model).hex(), str(model.dtype), surroundings(model), *map(_hash, batches)]
    folder = f"profile-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}"
    return _profile(kept.reuse_or_make(folder, "profile", lambda: _tensors(profile()), lambda: say(_REUSED)))


def _hash(batch: PairedBatch) -> str:
    digest = hashlib.sha256(str(batch.pairs).encode())
    masks = (batch.batch.input_ids, batch.batch.attention_mask, batch.batch.answer_mask)
    for tensor in (*masks, batch.question, batch.hallucinated):
        digest.update(str((tensor.shape, tensor.dtype)).encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _tensors(profile: LayerProfile) -> dict[str, Tensor]:
    moments = {
        f"{name}.{each.name}": getattr(getattr(profile, name), each.name)
        for name in _MOMENTS
        for each in fields(TokenMoments)
    }
    own = {"states": profile.states, "cosine_distance_sums": profile.cosine_distance_sums}
    return own | moments | {"pairs": torch.tensor(profile.pairs)}


def _profile(tensors: dict[str, Tensor]) -> LayerProfile:
    all_tokens, hallucinated_tokens = (
        TokenMoments(*(tensors[f"{name}.{each.name}"] for each in fields(TokenMoments))) for name in _MOMENTS
    )
    pairs = int(tensors["pairs"])
    return LayerProfile(tensors["states"], all_tokens, hallucinated_tokens, pairs, tensors["cosine_distance_sums"])
