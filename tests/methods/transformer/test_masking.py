import itertools
import math

import pytest
import torch

from data_modules.errors import InputError
from tumorgen.methods.transformer.masking import RandomMasking, ScheduledMasking, TemporalAgnosticMasking, draw_seeds
from tumorgen.methods.transformer.neighbours import nearest_in_raster, nearest_in_space
from tumorgen.methods.transformer.vocabulary import Vocabulary
from tumorgen.nn.draws import Draws

VOCABULARY = Vocabulary(num_codes=512, num_classes=2)
GRID = (8, 8, 8)
CPU = torch.device("cpu")
PUBLISHED = {
    "index_proportional_draws": True,
    "exclude_slice_changes": True,
    "raster_neighbours": True,
    "fill_in_raster_order": True,
}
SLICE_CHANGES = sorted({64 * k for k in range(1, 8)} | {64 * k - 1 for k in range(1, 8)})


def corrupt(strategy, grid=GRID, batch=16, seed=0, scores=None):
    generator = torch.Generator().manual_seed(seed)
    length = math.prod(grid)
    tokens = torch.randint(VOCABULARY.num_codes, (batch, length), generator=generator)
    if scores is None:
        scores = torch.rand(batch, length, generator=generator)
    return tokens, scores, strategy(tokens, scores, grid, VOCABULARY, streams(batch, seed))


def streams(batch, seed=0):
    return Draws.keyed(seed, 0, [f"case{i}" for i in range(batch)], "mask", CPU)


def true_neighbours(index, grid):
    """Brute force: (within the slice, in depth)."""
    d, h, w = grid
    position = (index // (h * w), index // w % h, index % w)
    found = ([], [])
    for other in itertools.product(range(d), range(h), range(w)):
        difference = [abs(a - b) for a, b in zip(position, other, strict=True)]
        if sum(difference) == 1:
            found[difference[0]].append((other[0] * h + other[1]) * w + other[2])
    return found


STRATEGIES = {
    "random": RandomMasking(),
    "t=0": TemporalAgnosticMasking(top_k_ratio=0),
    "t=0.25": TemporalAgnosticMasking(),
    "t=0.5": TemporalAgnosticMasking(top_k_ratio=0.5),
    "t=1": TemporalAgnosticMasking(top_k_ratio=1),
    "published": TemporalAgnosticMasking(**PUBLISHED),
    "r=1": TemporalAgnosticMasking(mask_ratio=1),
    "r=1 published": TemporalAgnosticMasking(mask_ratio=1, **PUBLISHED),
    "r=0.3": TemporalAgnosticMasking(mask_ratio=0.3, top_k_ratio=0.1),
}


@pytest.mark.parametrize("grid", [(8, 8, 8), (4, 4, 4), (3, 5, 2), (1, 4, 4), (4, 1, 1)])
@pytest.mark.parametrize("name", STRATEGIES)
def test_counts_are_exact_and_sets_disjoint(name, grid):
    strategy = STRATEGIES[name]
    tokens, _, corrupted = corrupt(strategy, grid)
    wanted = math.floor(strategy.mask_ratio * math.prod(grid) + 0.5)
    assert (corrupted.masked.sum(1) == math.ceil(wanted / 2)).all()
    assert (corrupted.replaced.sum(1) == wanted // 2).all()
    assert not (corrupted.masked & corrupted.replaced).any()
    assert torch.equal(corrupted.positions, corrupted.masked | corrupted.replaced)
    assert (corrupted.inputs[corrupted.masked] == VOCABULARY.mask_token).all()
    assert (corrupted.inputs[corrupted.replaced] < VOCABULARY.num_codes).all()
    assert torch.equal(corrupted.inputs[~corrupted.positions], tokens[~corrupted.positions])


def test_published_counts():
    _, _, corrupted = corrupt(TemporalAgnosticMasking())
    assert (corrupted.masked.sum(1) == 128).all()
    assert (corrupted.replaced.sum(1) == 128).all()


@pytest.mark.parametrize("name", [*STRATEGIES, "scheduled"])
def test_a_volume_s_mask_depends_on_its_own_draws_alone(name):
    strategy = STRATEGIES.get(name, ScheduledMasking())
    tokens, scores, first = corrupt(strategy, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first, corrupt(strategy, seed=3)[2], strict=True))
    assert not torch.equal(first.masked, corrupt(strategy, seed=4, scores=scores)[2].masked)
    alone = strategy(tokens[:1], scores[:1], GRID, VOCABULARY, streams(1, seed=3))
    assert all(torch.equal(a[:1], b) for a, b in zip(first, alone, strict=True))


def test_random_masking_is_uniform():
    _, _, corrupted = corrupt(RandomMasking(), grid=(4, 4, 4), batch=4000)
    for chosen in (corrupted.masked, corrupted.replaced):
        # binomial with p = 1/4 at each of 64 tokens: 5 standard deviations
        assert (chosen.double().mean(0) - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 4000)
    codes = corrupted.inputs[corrupted.replaced].bincount(minlength=512).double()
    chi_square = ((codes - codes.mean()) ** 2 / codes.mean()).sum().item()
    assert abs(chi_square - 511) < 5 * math.sqrt(2 * 511)


def test_no_candidates_is_random_masking():
    _, _, expected = corrupt(RandomMasking(), seed=2)
    _, _, found = corrupt(TemporalAgnosticMasking(top_k_ratio=0, **PUBLISHED), seed=2)
    assert torch.equal(expected.inputs, found.inputs)


@pytest.mark.parametrize("grid", [(3, 4, 5), (1, 2, 3), (2, 1, 1)])
def test_neighbours_in_space_against_brute_force(grid):
    table = nearest_in_space(grid, CPU)
    length = math.prod(grid)
    for index in range(length):
        in_slice, across = true_neighbours(index, grid)
        assert sorted(set(table.all[index].tolist()) - {length}) == sorted(in_slice + across)
        count = table.in_slice_count[index].item()
        assert sorted(table.in_slice[index, :count].tolist()) == sorted(in_slice)
        plane = grid[1] * grid[2]
        expected = index + plane if index + plane < length else index - plane
        assert table.across[index] == (expected if across else length)


def test_neighbours_in_raster_order():
    table = nearest_in_raster(GRID, CPU)
    assert table.in_slice[[0, 7, 62, 63, 511], 0].tolist() == [1, 8, 63, 62, 510]  # 7 -> 8 wraps around a row
    assert table.across[[0, 63, 447, 448, 511]].tolist() == [64, 127, 511, 384, 447]
    assert [sorted(row) for row in table.all[[0, 64, 511]].tolist()] == [
        [1, 64, 512, 512],
        [0, 63, 65, 128],
        [447, 510, 512, 512],
    ]


def test_neighbours_are_drawn_with_even_odds():
    draws = nearest_in_space((3, 3, 3), CPU).draw(streams(10_000))
    shares = draws[:, 13].bincount(minlength=28).double() / 10_000  # the centre: four in its slice, next slice below
    expected = torch.zeros(28, dtype=torch.float64)
    expected[22] = 0.5
    expected[[10, 12, 14, 16]] = 0.125
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("neighbours", [nearest_in_space, nearest_in_raster])
@pytest.mark.parametrize("grid", [(8, 8, 8), (4, 4, 4), (2, 3, 5)])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_seeds_against_drawing_one_after_the_other(neighbours, grid, share):
    generator = torch.Generator().manual_seed(0)
    length = math.prod(grid)
    arrival = torch.rand(5, length, generator=generator)
    arrival[torch.rand(5, length, generator=generator) > share] = math.inf
    table = neighbours(grid, CPU).all
    count = length // 8
    seeds = draw_seeds(arrival, table, count)
    for times, found in zip(arrival.tolist(), seeds, strict=True):
        remaining = {index for index in range(length) if times[index] < math.inf}
        expected = set()
        while remaining and len(expected) < count:
            seed = min(remaining, key=times.__getitem__)
            expected.add(seed)
            remaining -= {seed, *table[seed].tolist()}
        assert set(found.nonzero()[:, 0].tolist()) == expected


def test_seeds_end_where_all_arrive_at_once():
    seeds = draw_seeds(torch.zeros(1, 64), nearest_in_space((4, 4, 4), CPU).all, 64)
    assert 0 < seeds.sum() < 64


def test_isolated_candidates_are_masked_with_one_neighbour_each():
    grid = (8, 8, 8)
    d, h, w = torch.meshgrid(*(torch.arange(8) for _ in range(3)), indexing="ij")
    # 64 cells on every other index of each axis: no two are neighbours, no two share a neighbour in their slice
    isolated = ((d % 2 == 0) & (h % 2 == 0) & (w % 2 == 0)).flatten()
    scores = isolated.float().expand(50, -1) * 0.5 + 0.1
    _, _, corrupted = corrupt(TemporalAgnosticMasking(0.25, 0.125), grid, batch=50, scores=scores)
    assert (corrupted.masked & isolated).sum(1).eq(32).all()
    depth_odds = []
    for row in corrupted.masked:
        seeds = (row & isolated).nonzero()[:, 0].tolist()
        others = set((row & ~isolated).nonzero()[:, 0].tolist())
        for seed in seeds:
            in_slice, across = true_neighbours(seed, grid)
            depth_odds.append(bool(others & {seed + 64}))
            assert others & {*in_slice, *across}
    assert sum(depth_odds) / len(depth_odds) == pytest.approx(0.5, abs=0.05)


def test_seeds_are_uniform_among_the_candidates():
    # candidates in two opposite corners of the grid, too far apart to bar each other: one seed, one neighbour
    scores = torch.full((1500, 512), 0.1)
    scores[:, [0, 511]] = 0.9
    _, _, corrupted = corrupt(TemporalAgnosticMasking(4 / 512, 2 / 512), batch=1500, scores=scores)
    assert corrupted.masked[:, 0].double().mean().item() == pytest.approx(0.5, abs=0.05)
    published = TemporalAgnosticMasking(4 / 512, 2 / 512, index_proportional_draws=True)
    _, _, corrupted = corrupt(published, batch=1500, scores=scores)
    assert not corrupted.masked[:, 0].any()


def test_index_proportional_draws():
    # two candidates, 128 and 384: the second is three times as likely
    scores = torch.full((1500, 512), 0.1)
    scores[:, [128, 384]] = 0.9
    strategy = TemporalAgnosticMasking(4 / 512, 2 / 512, index_proportional_draws=True)
    _, _, corrupted = corrupt(strategy, batch=1500, scores=scores)
    assert corrupted.masked[:, 384].double().mean().item() == pytest.approx(0.75, abs=0.04)
    # 2 of 510 replaced: practically independent draws, whose mean index is two thirds of the way
    where = corrupted.replaced.nonzero()[:, 1].double()
    assert where.mean().item() == pytest.approx(511 * 2 / 3, rel=0.03)
    assert not corrupted.replaced[:, 0].any()


@pytest.mark.parametrize("in_raster_order", [False, True])
def test_fills_up_after_the_candidates_when_seeds_run_out(in_raster_order):
    # one solid block of candidates, which can hold 16 seeds at most, all of whose neighbours lie within it or beside it
    d, h, w = torch.meshgrid(*(torch.arange(8) for _ in range(3)), indexing="ij")
    block = ((d >= 4) & (h >= 4) & (w >= 4)).flatten()
    scores = torch.rand(8, 512, generator=torch.Generator().manual_seed(1)) * 0.5 + block * 0.5
    strategy = TemporalAgnosticMasking(0.5, 64 / 512, fill_in_raster_order=in_raster_order)
    _, _, corrupted = corrupt(strategy, batch=8, scores=scores)
    beside = torch.zeros(512, dtype=torch.bool)
    beside[[n for i in block.nonzero()[:, 0].tolist() for group in true_neighbours(i, GRID) for n in group]] = True
    for row, row_scores in zip(corrupted.masked, scores, strict=True):
        filled = (row & ~block & ~beside).nonzero()[:, 0]
        left_out = (~row & ~block).nonzero()[:, 0]
        assert len(filled) > 50
        if in_raster_order:
            assert filled.max() < left_out.min()
        else:
            assert row_scores[filled].min() > row_scores[left_out].max()


def test_important_tokens_are_masked_and_unimportant_ones_replaced():
    _, scores, corrupted = corrupt(TemporalAgnosticMasking(), batch=200)
    means = [scores[positions].mean().item() for positions in (corrupted.masked, corrupted.replaced)]
    # at least half of the masked tokens are seeds from the top quarter
    assert means[0] > 0.6
    assert means[1] < 0.5


@pytest.mark.parametrize("top_k_ratio", [0.25, 0.5, 1.0])
def test_excluded_slice_changes_are_masked_only_as_neighbours(top_k_ratio):
    strategy = TemporalAgnosticMasking(top_k_ratio=top_k_ratio, exclude_slice_changes=True)
    scores = torch.full((100, 512), 0.2)
    scores[:, SLICE_CHANGES] = 0.9
    _, _, corrupted = corrupt(strategy, batch=100, scores=scores)
    assert corrupted.masked[:, SLICE_CHANGES].double().mean() < 0.25
    _, _, not_special = corrupt(TemporalAgnosticMasking(top_k_ratio=14 / 512), batch=100, scores=scores)
    assert not_special.masked[:, SLICE_CHANGES].double().mean() > 0.5


def test_published_statistics():
    _, _, corrupted = corrupt(TemporalAgnosticMasking(**PUBLISHED), batch=2000)
    share = corrupted.positions.double().mean(0)
    assert 0.15 < share[:64].mean() < 0.17
    assert 0.715 < share[-64:].mean() < 0.73
    assert 0.37 < share[SLICE_CHANGES].mean() < 0.39
    assert not corrupted.replaced[:, 0].any()


def test_default_draws_favour_no_slice():
    _, _, corrupted = corrupt(TemporalAgnosticMasking(), batch=500)
    share = corrupted.positions.double().mean(0)
    per_slice = share.view(8, 64).mean(1)
    # neighbours in depth come from the slice before: the first slice has none, the last but one has two such slices
    assert (per_slice - 0.5).abs().max() < 0.05
    assert (per_slice[1:6] - 0.5).abs().max() < 0.02
    assert share[SLICE_CHANGES].mean().item() == pytest.approx(0.5, abs=0.03)


def test_scheduled_masking_draws_a_share_per_sample():
    strategy = ScheduledMasking()
    assert strategy.corrupted_only
    assert not RandomMasking().corrupted_only
    _, _, corrupted = corrupt(strategy, batch=1500)
    counts = corrupted.masked.sum(1)
    assert not corrupted.replaced.any()
    assert counts.min() >= 1
    assert torch.equal(corrupted.inputs == VOCABULARY.mask_token, corrupted.masked)
    share = counts.double() / 512
    assert share.mean().item() == pytest.approx(2 / math.pi, abs=0.03)
    # P(cos(pi/2 u) < 1/2) = 1/3
    assert (share < 0.5).double().mean().item() == pytest.approx(1 / 3, abs=0.05)
    assert corrupted.masked.double().mean(0).std() < 0.03


@pytest.mark.parametrize("scores_dtype", [torch.float32, torch.bfloat16])
def test_scores_of_any_precision_and_all_equal(scores_dtype):
    scores = torch.full((4, 512), 0.5, dtype=scores_dtype)
    _, _, corrupted = corrupt(TemporalAgnosticMasking(), batch=4, scores=scores)
    assert (corrupted.masked.sum(1) == 128).all()


@pytest.mark.parametrize("arguments", [{"mask_ratio": 0}, {"mask_ratio": 1.1}, {"top_k_ratio": -0.1}])
def test_impossible_shares_are_refused(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        TemporalAgnosticMasking(**arguments)


def test_wrong_grid_is_refused():
    with pytest.raises(InputError, match="4x4x4 does not hold 512"):
        TemporalAgnosticMasking()(torch.zeros(1, 512).long(), torch.rand(1, 512), (4, 4, 4), VOCABULARY, streams(1))
