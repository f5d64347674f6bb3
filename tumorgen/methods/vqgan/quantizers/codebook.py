"""Arithmetic of a codebook on the unit sphere: nearest codes, k-means, sums and samples over all ranks.

Rows are features or codes of unit length, so the largest inner product is the nearest code.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from data_modules.errors import InputError

Features = Float[Tensor, "n width"]
Codebook = Float[Tensor, "K width"]

SIMILARITIES_AT_ONCE = 2**24
"""Entries of the similarity matrix held at a time (64 MiB in float32)."""

SAMPLES_PER_CODE = 256
"""K-means sees at most this many features per code; the published first batch (1536 features) is far below."""


class Hits(NamedTuple):
    """Per code: how many features hit it, and their sum."""

    counts: Float[Tensor, " K"]
    sums: Codebook


def distributed() -> bool:
    """Return whether several ranks train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def nearest(features: Features, codebook: Codebook) -> Int[Tensor, " n"]:
    """Return the most similar code of each feature, without ever holding all n x K similarities."""
    rows = max(1, SIMILARITIES_AT_ONCE // len(codebook))
    return torch.cat([(part @ codebook.T).argmax(1) for part in features.split(rows)])


def collect_hits(features: Features, codes: Int[Tensor, " n"], num_codes: int) -> Hits:
    """Count and add up the features of each code on this rank; non-finite features (fp16 overflow) are left out."""
    finite = features.isfinite().all(1)
    counts = features.new_zeros(num_codes).index_add_(0, codes, finite.to(features.dtype))
    kept = torch.where(finite[:, None], features, 0.0)
    sums = features.new_zeros(num_codes, features.shape[1]).index_add_(0, codes, kept)
    return Hits(counts, sums)


def add_over_ranks(hits: Hits) -> Hits:
    """Return the hits of all ranks together (the same tensors when there is one rank)."""
    if distributed():
        dist.all_reduce(hits.counts)
        dist.all_reduce(hits.sums)
    return hits


def mean_directions(hits: Hits, otherwise: Codebook) -> Codebook:
    """Return the normalised mean of the features of each code, and the row of `otherwise` where nothing hit."""
    means = F.normalize(hits.sums / hits.counts.clamp(min=1)[:, None], dim=1)
    return torch.where((hits.counts > 0)[:, None], means, otherwise)


def gather_rows(rows: Features) -> Features:
    """Return the rows of all ranks, rank by rank; every rank must hold the same number."""
    if not distributed():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def gather_sample(features: Features, at_most: int) -> Features:
    """Return the same features on every rank: an equal random share of each rank's, or all where they are few.

    Args:
        features: this rank's; ranks may hold different numbers.
        at_most: upper limit of the number of rows returned.

    Raises:
        InputError: a rank has no features.
    """
    ranks = dist.get_world_size() if distributed() else 1
    share = torch.tensor(min(len(features), max(1, at_most // ranks)), device=features.device)
    if distributed():
        dist.all_reduce(share, op=dist.ReduceOp.MIN)
    number = int(share)
    if number == 0:
        raise InputError(
            "The encoder's features of the first batch are not finite, so the codebook cannot be initialised. Expected "
            "finite features: check the volumes, or train with `--trainer.precision bf16-mixed` or `32-true`."
        )
    if number < len(features):
        features = features[torch.randperm(len(features), device=features.device)[:number]]
    return gather_rows(features)


def draw_by_error(features: Features, errors: Float[Tensor, " n"], number: int) -> Features:
    """Draw `number` features, the same on every rank, with odds proportional to `errors`.

    Most tokens of a tumour region are background and quantised well already; a uniform draw would return those.
    Drawing is without replacement as long as a rank has enough finite features; then they repeat.
    """
    ranks = dist.get_world_size() if distributed() else 1
    share = -(-number // ranks)
    finite = features.isfinite().all(1)
    odds = torch.where(finite, errors, 0.0).clamp(min=1e-12).log()
    gumbel = -torch.empty_like(odds).exponential_().log()
    order = (odds + gumbel).argsort(descending=True)
    picks = order[torch.arange(share, device=order.device) % len(order)]
    drawn = gather_rows(torch.where(finite[picks][:, None], features[picks], torch.ones_like(features[picks])))
    # Interleaved, so that cutting the surplus takes from all ranks alike
    by_rank = drawn.view(ranks, share, -1).transpose(0, 1).reshape(ranks * share, -1)
    return F.normalize(by_rank[:number], dim=1)


def kmeans(features: Features, num_codes: int, iterations: int) -> Codebook:
    """Return `num_codes` unit vectors from cosine k-means, started from random features.

    As in the published code an empty cluster keeps its centre. With fewer features than codes the surplus starts from
    features drawn again and jittered, so that they are not exact copies.
    """
    picks = torch.randperm(len(features), device=features.device)[:num_codes]
    centres = features[picks]
    if len(picks) < num_codes:
        again = torch.randint(len(features), (num_codes - len(picks),), device=features.device)
        jitter = 0.1 * F.normalize(torch.randn(len(again), features.shape[1], device=features.device), dim=1)
        centres = torch.cat((centres, F.normalize(features[again] + jitter, dim=1)))
    for _ in range(iterations):
        hits = collect_hits(features, nearest(features, centres), num_codes)
        centres = mean_directions(hits, otherwise=centres)
    return centres


def kmeans_over_ranks(features: Features, num_codes: int, iterations: int) -> Codebook:
    """Return k-means centres of the features of all ranks, equal on every rank (rank 0 decides)."""
    sample = gather_sample(features[features.isfinite().all(1)], num_codes * SAMPLES_PER_CODE)
    centres = kmeans(sample, num_codes, iterations)
    if distributed():
        dist.broadcast(centres, src=0)
    return centres
