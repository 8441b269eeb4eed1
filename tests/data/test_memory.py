"""Ten million rows on disk: pools and batches are made without reading them into memory."""

import json
import mmap
import subprocess
import sys

import numpy as np
import pytest

from setclip.data.arrays import read_features
from setclip.data.pools import make_pools
from setclip.data.samplers import MANY, draw_rows

MEASURED = """
import json, resource, sys
import numpy as np
from setclip.data.feature_files import read_feature_files
from setclip.data.samplers import draw_rows

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

x, y = sys.argv[1:]
small = read_feature_files(x_pool=y, y_pool=y)  # what imports and small files take
before = peak()
pools = read_feature_files(x_pool=x, y_pool=y).pools
pools.describe()
built = peak()
rng = np.random.default_rng(0)
for _ in range(20):
    batch = pools.x_pool[draw_rows(len(pools.x_pool), 512, rng)]
print(json.dumps([len(pools.x_pool), batch.shape, built - before, peak() - before]))
"""


def sparse(path, rows, width):
    """A .npy file of zeros that takes no room on disk."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * width * 4)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="pages cannot be let go of here")
def test_ten_million_rows_are_not_loaded(tmp_path):
    sparse(tmp_path / "x.npy", 10_000_000, 8)
    np.save(tmp_path / "y.npy", np.ones((10, 4), dtype=np.float32))
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, batch, built, drawn = json.loads(done.stdout)
    assert rows == 10_000_000
    assert batch == [512, 8]
    assert built < 120, "MB; the file has 320"
    assert drawn < 120


def test_pools_lie_on_the_file(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((50, 4), dtype=np.float32))
    mapped = read_features(tmp_path / "x.npy")
    pools = make_pools(mapped, mapped, x_pool=mapped, y_pool=mapped)
    for array in (pools.x_pairs, pools.y_pairs, pools.x_pool, pools.y_pool):
        assert np.shares_memory(array, mapped)
        assert not array.flags.writeable


def test_changes_of_a_writeable_map_survive_the_check(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((50, 4), dtype=np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[3] = 7
    assert (make_pools(x_pool=mapped, y_pool=mapped).x_pool[3] == 7).all()


def test_rows_of_a_large_pool_are_different_and_anywhere():
    rng = np.random.default_rng(0)
    drawn = np.concatenate([draw_rows(MANY + 1, 1000, rng) for _ in range(20)])
    assert len(set(drawn[:1000].tolist())) == 1000
    assert drawn.min() >= 0
    assert drawn.max() <= MANY
    assert abs(drawn.mean() / MANY - 0.5) < 0.02
