"""Ten million rows on disk: pools and batches are made without reading them into memory."""

import json
import subprocess
import sys

import numpy as np
import pytest

from setclip.data.arrays import read_features
from setclip.data.pools import make_pools
from setclip.data.samplers import MANY, draw_rows

ROOM = 48 << 20
# Pages of a mapped file count as resident but are not the process's own; what may be limited, and
# what runs out, is the memory that it asks for.
LIMITED = """
import json, resource, sys
import numpy as np
from setclip.data.feature_files import read_feature_files
from setclip.data.samplers import draw_rows

x, y, room = sys.argv[1:]
read_feature_files(x_pool=y, y_pool=y)  # loads what is imported on the way
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = int(status["VmData"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + int(room), -1))
pools = read_feature_files(x_pool=x, y_pool=y).pools
pools.describe()
rng = np.random.default_rng(0)
for _ in range(20):
    batch = pools.x_pool[draw_rows(len(pools.x_pool), 512, rng)]
try:
    np.array(pools.x_pool)
except MemoryError:
    print(json.dumps([len(pools.x_pool), batch.shape]))
"""


def sparse(path, rows, width):
    """A .npy file of zeros that takes no room on disk."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * width * 4)


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_ten_million_rows_fit_a_process_that_cannot_hold_them(tmp_path):
    sparse(tmp_path / "x.npy", 10_000_000, 8)  # 320 MB
    np.save(tmp_path / "y.npy", np.ones((10, 4), dtype=np.float32))
    files = [str(tmp_path / name) for name in ("x.npy", "y.npy")]
    command = [sys.executable, "-c", LIMITED, *files, str(ROOM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Printed only if holding all of them is indeed refused.
    assert json.loads(done.stdout) == [10_000_000, [512, 8]]


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
