"""Views keep what they should, change what they may, and share no frame."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from proteins.backbones import chain

from setclip.encoders.cdconv import CDConv
from setclip.proteins.chains import LETTERS, UNKNOWN
from setclip.proteins.residues import pad_chains, structure_item
from setclip.proteins.views import (
    SequenceViews,
    StructureViews,
    random_rotation,
    sequence_view,
    structure_view,
)

ITEM = structure_item(chain(80, np.random.default_rng(0)))
STILL = StructureViews(crop=0, noise=0, hole=0, mask=0)


def distances(item):
    return (item["positions"][:, None] - item["positions"]).norm(dim=2)


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_a_view_of_a_sequence_is_a_stretch_of_it_with_residues_hidden(sequence, seed):
    view = sequence_view(sequence, rng(seed), SequenceViews(crop=0.6, mask=0.3))
    assert max(1, round(0.4 * len(sequence))) <= len(view) <= len(sequence)
    fits = (
        all(v in ("X", s) for v, s in zip(view, sequence[i : i + len(view)], strict=True))
        for i in range(len(sequence) - len(view) + 1)
    )
    assert any(fits)


@pytest.mark.parametrize("seed", range(20))
def test_of_one_draw_a_sequence_and_its_structure_keep_the_same_stretch(seed):
    own = chain(80, rng(1))
    sequence = sequence_view(own.sequence, rng(seed), SequenceViews(mask=0))
    structure = structure_view(
        structure_item(own), rng(seed), StructureViews(noise=0, hole=0, mask=0)
    )
    assert "".join(LETTERS[code] for code in structure["codes"]) == sequence


def test_no_change_asked_for_is_no_change():
    assert sequence_view("ACDEF", rng(), SequenceViews(crop=0, mask=0)) == "ACDEF"
    assert set(sequence_view("ACDEF", rng(), SequenceViews(crop=0, mask=1))) == {"X"}
    view = structure_view(ITEM, rng(), STILL)
    torch.testing.assert_close(distances(view), distances(ITEM), atol=1e-4, rtol=1e-4)
    assert (view["codes"] == ITEM["codes"]).all()
    assert (view["index"] == ITEM["index"]).all()


def test_each_view_has_a_frame_of_its_own_which_the_network_does_not_see():
    a, b = (structure_view(ITEM, rng(seed), STILL) for seed in (1, 2))
    assert (a["positions"] - b["positions"]).norm(dim=1).max() > 5
    for view in (a, b):
        torch.testing.assert_close(view["positions"].mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.manual_seed(0)
    features = CDConv().eval()(pad_chains([ITEM, a, b])).detach()
    torch.testing.assert_close(features[1:], features[:1].expand(2, -1), rtol=1e-3, atol=1e-4)


def test_rotations_are_rotations_and_uniform():
    turns = np.stack([random_rotation(generator) for generator in [rng(3)] for _ in range(2000)])
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (2000, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    assert np.abs(turns.mean(axis=0)).max() < 0.05
    # The trace of a uniform rotation has mean 0 and mean square 1.
    assert abs((np.trace(turns, axis1=1, axis2=2) ** 2).mean() - 1) < 0.1


def test_views_of_structures_crop_dig_shake_and_hide():
    options = StructureViews(crop=0.5, noise=0.1, hole=0.3, mask=0.2)
    sizes, hidden = [], 0
    for seed in range(40):
        view = structure_view(ITEM, rng(seed), options)
        n = len(view["codes"])
        assert {name: len(t) for name, t in view.items()} == dict.fromkeys(view, n)
        assert view["index"][0] == 0
        assert (view["index"].diff() > 0).all()
        torch.testing.assert_close(
            view["frames"] @ view["frames"].mT, torch.eye(3).expand(n, 3, 3), atol=1e-4, rtol=0
        )
        sizes.append(n)
        hidden += int((view["codes"] == UNKNOWN).sum())
    assert min(sizes) >= 80 * 0.5 * 0.7 - 2
    assert max(sizes) < 80
    assert hidden / sum(sizes) == pytest.approx(0.2, abs=0.03)


def test_a_hole_is_a_ball():
    numbered = {**ITEM, "codes": torch.arange(80)}
    options = StructureViews(crop=0, noise=0, hole=0.5, mask=0)
    stay = structure_view(numbered, rng(4), options)["codes"]
    gone = torch.tensor(sorted(set(range(80)) - set(stay.tolist())))
    assert len(gone) > 5
    # For some residue all that are gone lie nearer than all that stay.
    apart = distances(ITEM)
    assert (apart[:, gone].amax(dim=1) <= apart[:, stay].amin(dim=1)).any()


def test_views_are_functions_of_the_generator_and_leave_the_item_alone():
    before = {name: t.clone() for name, t in ITEM.items()}
    a, b = (structure_view(ITEM, rng(9)) for _ in range(2))
    for name in ITEM:
        assert torch.equal(a[name], b[name])
        assert torch.equal(ITEM[name], before[name])
    assert sequence_view("ACDEFGH", rng(9)) == sequence_view("ACDEFGH", rng(9))
    state = torch.get_rng_state()
    structure_view(ITEM, rng(1))
    assert torch.equal(state, torch.get_rng_state())


def test_a_chain_of_one_residue_has_views():
    tiny = structure_item(chain(1, rng()))
    view = structure_view(tiny, rng(), StructureViews(crop=0.9, hole=0.9))
    assert len(view["codes"]) == 1
