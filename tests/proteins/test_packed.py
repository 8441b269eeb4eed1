from dataclasses import replace

import numpy as np
import pytest
from proteins.backbones import chain
from proteins.files import atoms_of, write
from safetensors.numpy import save

from setclip.modalities import BadItemError
from setclip.proteins.packed import pack_chain, read_chain, unpack_chain


@pytest.fixture
def made():
    return chain(20, np.random.default_rng(0))


@pytest.mark.parametrize("whole", [True, False])
def test_a_chain_survives_packing(made, whole):
    made = made if whole else replace(made, backbone=None)
    back = read_chain(pack_chain(made))
    assert (back.name, back.sequence) == (made.name, made.sequence)
    np.testing.assert_array_equal(back.ca, made.ca)
    np.testing.assert_array_equal(back.index, made.index)
    if whole:
        np.testing.assert_array_equal(back.backbone, made.backbone)
    else:
        assert back.backbone is None


def test_other_bytes_are_bad_items(made):
    empty = replace(made, sequence="")
    flat = replace(made, ca=np.zeros_like(made.ca))
    cases = [b"", b"no chain", save({"ca": made.ca}), pack_chain(empty), pack_chain(flat)]
    said = ["not what", "not what", "not what", "0 letters", "coincide"]
    for content, reason in zip(cases, said, strict=True):
        with pytest.raises(BadItemError, match=reason):
            unpack_chain(content)


def test_a_path_may_name_a_chain(made, tmp_path):
    other = chain(25, np.random.default_rng(1))
    path = write(tmp_path / "1abc.cif", atoms_of(made) + atoms_of(other, "B"))
    assert len(read_chain(path)) == 20
    assert len(read_chain(f"{path}#B")) == 25
    with pytest.raises(BadItemError, match="no chain C; the file has 1abc_A, 1abc_B"):
        read_chain(f"{path}#C")
    inside = tmp_path / "a#b"
    inside.mkdir()
    write(inside / "1abc.cif", atoms_of(made) + atoms_of(other, "B"))
    assert len(read_chain(inside / "1abc.cif")) == 20
    assert len(read_chain(f"{inside}/1abc.cif#B")) == 25
    with pytest.raises(BadItemError, match="float where"):
        read_chain(1.5)
