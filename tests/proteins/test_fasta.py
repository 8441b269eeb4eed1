import gzip
import sys

import pytest

from setclip.modalities import BadItemError
from setclip.proteins.fasta import read_fasta


@pytest.mark.parametrize("suffix", ["fasta", "fa.gz"])
def test_sequences_are_read_and_cleaned(tmp_path, suffix):
    text = b">a first protein\nacd\nE-F*\n>b\nMUOBZJX\n>c\n\n>a again\nAAA\n>d\nAC1\n> \nGG\n"
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    sequences, bad = read_fasta(path)
    assert sequences == {"a": "ACDEF", "b": "MXXXXXX", "entry 6": "GG"}
    assert [str(error).removeprefix(f"{path}: ") for error in bad] == [
        "c: the sequence is empty",
        "a: the name stands there twice",
        "d: '1' is no letter of a protein sequence",
    ]


def test_files_that_are_no_fasta(tmp_path):
    contents = {"empty": b"", "prose": b"no header\n", "binary": b"\xff\xfe", "cut.gz": b"\x1f\x8b"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadItemError, match=name):
            read_fasta(tmp_path / name)
    with pytest.raises(BadItemError, match="no such file"):
        read_fasta(tmp_path / "none")


def test_without_biotite_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "biotite.sequence.io.fasta", None)
    with pytest.raises(ImportError, match=r'pip install "setclip\[proteins\]"'):
        read_fasta("x")
