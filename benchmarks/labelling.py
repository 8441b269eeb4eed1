"""Does `setclip suggest` beat random choice at equal budget? R@10 after labelling n items more.

Overlapping pools, group split, 0 or 20 random pairs to start from; CCA with one fixed setting, so
that the labels alone differ. Same seeds for all strategies, differences paired.

    python benchmarks/labelling.py emoji openclipart --seeds 5
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.cluster import KMeans

from setclip.benchmark.data import BenchmarkData, load_data
from setclip.data.splits import one_per_group, split_by_group
from setclip.evaluation import retrieval
from setclip.linear.cca import cca
from setclip.linear.cross_covariance import from_pairs
from setclip.linear.maps import principal
from setclip.mining import choose_items

STARTS, BUDGETS = (0, 20), (20, 50, 100, 200)
GALLERY, TRAIN = 1000, 2500
Choose = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]


def facility(x: np.ndarray, known: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    pool = np.setdiff1d(np.arange(len(x)), known)
    return pool[choose_items(x[pool], x[known], n).rows]


def medoids(x: np.ndarray, known: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    z = _unit(x)
    count = n + len(known)
    clusters = KMeans(count, n_init=1, max_iter=30, random_state=int(rng.integers(1 << 30))).fit(z)
    distance = clusters.transform(z)
    covered = set(clusters.labels_[known])
    sizes = np.bincount(clusters.labels_, minlength=count)
    chosen = []
    for cluster in [c for c in np.argsort(-sizes) if c not in covered][:n]:
        members = np.flatnonzero(clusters.labels_ == cluster)
        chosen.append(members[distance[members, cluster].argmin()])
    return np.asarray(chosen, dtype=np.int64)


def k_centre(x: np.ndarray, known: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    z, far, chosen = _unit(x), np.full(len(x), np.inf), []
    for row in known:
        far = np.minimum(far, 1 - z @ z[row])
    for _ in range(n):
        first = not len(known) and not chosen
        chosen.append(int(rng.integers(len(z))) if first else int(far.argmax()))
        far = np.minimum(far, 1 - z @ z[chosen[-1]])
    return np.asarray(chosen)


def _unit(x: np.ndarray) -> np.ndarray:
    z = x - x.mean(axis=0)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


STRATEGIES: dict[str, Choose] = {
    "facility location (shipped)": facility,
    "cluster medoids": medoids,
    "farthest first": k_centre,
}


def measure(data: BenchmarkData, seed: int) -> Iterator[tuple[int, int, str, float]]:
    """R@10 by start, budget and strategy."""
    rng = np.random.default_rng(seed)
    train, test = split_by_group(data.groups, test_fraction=0.25, seed=seed)
    test = rng.permutation(one_per_group(test, data.groups, seed=seed))[:GALLERY]
    order = rng.permutation(train)[:TRAIN]
    x, y = data.x[order], data.y[order]
    axes = principal(x, rank=256), principal(y, rank=256)
    left, right = axes[0](x), axes[1](y)

    def recall(rows: np.ndarray) -> float:
        pairs = (z[rows] - z[rows].mean(axis=0) for z in (left, right))
        maps = cca(*axes, from_pairs(*pairs), penalty=10.0, power=0.5)
        return retrieval(maps.x(data.x[test]), maps.y(data.y[test]), ks=(10,)).recall[10]

    for start in STARTS:
        known = np.arange(start)
        for n in BUDGETS:
            yield start, n, "random", recall(np.arange(start + n))
            for name, choose in STRATEGIES.items():
                chosen = choose(x, known, n, rng)
                yield start, n, name, recall(np.concatenate([known, chosen]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*", default=["emoji"])
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    print("| data | start | strategy |" + "".join(f" +{n} |" for n in BUDGETS))
    print("|---|---|---|" + "---|" * len(BUDGETS))
    for name in asked.datasets:
        data, found = load_data(name), defaultdict(list)
        for seed in range(asked.seeds):
            for start, n, strategy, value in measure(data, seed):
                found[start, strategy, n].append(value)
        for start in STARTS:
            cells = [f"{np.mean(found[start, 'random', n]):.1f}" for n in BUDGETS]
            print(f"| {name} | {start} | random, R@10 | " + " | ".join(cells) + " |")
            for strategy in STRATEGIES:
                print(f"| | | {strategy} | " + " | ".join(_gains(found, start, strategy)) + " |")


def _gains(found: dict, start: int, strategy: str) -> list[str]:
    cells = []
    for n in BUDGETS:
        gain = np.subtract(found[start, strategy, n], found[start, "random", n])
        cells.append(f"{gain.mean():+.1f} ± {gain.std(ddof=1) / np.sqrt(len(gain)):.1f}")
    return cells


if __name__ == "__main__":
    main()
