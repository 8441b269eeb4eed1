"""CDConv edge by edge in Python, from the description and not from our code."""

import math

import torch


def reference_frames(p):
    def unit(v):
        return v / v.norm()

    n = len(p)
    frames = torch.zeros(n, 3, 3, dtype=p.dtype)
    for i in range(1, n - 1):
        before, after = unit(p[i] - p[i - 1]), unit(p[i + 1] - p[i])
        b = unit(before - after)
        m = unit(torch.linalg.cross(before, after))
        o = unit(torch.linalg.cross(b, m))
        frames[i] = torch.stack([b, m, o])
    if n > 2:
        frames[0], frames[-1] = frames[1], frames[-2]
    return frames


def reference_convolution(x, p, frames, t, radius, conv):
    """One layer on one chain. `conv` has kernel [l, 7, k], kernel_bias [l, k], mix [k * c, c]."""
    length, _, k = conv.kernel.shape
    half = length // 2
    rows = []
    for i in range(len(x)):
        total = torch.zeros(k, x.shape[1], dtype=x.dtype)
        for j in range(len(x)):
            d = (p[j] - p[i]).norm()
            if d > radius:
                continue
            e = frames[i] @ (p[j] - p[i]) / (d + 1e-9)
            q = torch.stack([frames[i, a] @ frames[j, a] for a in range(3)])
            s = max(-half, min(half, int(t[j] - t[i])))
            z = torch.cat([e, q, d[None]]) @ conv.kernel[s + half] + conv.kernel_bias[s + half]
            g = torch.where(z > 0, z, 0.2 * z)
            g = g * (0.5 - 0.5 * math.tanh(16 * (d / radius) * (abs(s) / half) - 14))
            total = total + torch.outer(g, x[j])
        rows.append(total.flatten() @ conv.mix)
    return torch.stack(rows)


def reference_network(network, chains):
    """Features of chains, each a tuple (codes, positions, index), in evaluation mode."""
    return torch.stack([_one(network, *chain) for chain in chains])


def _one(network, codes, p, t):
    frames = reference_frames(p)
    x = network.embedding.weight[codes]
    for number, (stage, radius) in enumerate(
        zip(network.stages, network.config.radii, strict=True)
    ):
        if number:
            x, p, frames, t = _pooled(x, p, frames, t)
        for block in stage:
            narrow = block.narrow(x)
            convolved = reference_convolution(narrow, p, frames, t, radius, block.convolve)
            x = block.widen(convolved) + block.skip(x)
    return x.mean(dim=0)


def _pooled(x, p, frames, t):
    groups = {}
    for i, place in enumerate(t.tolist()):
        groups.setdefault(place // 2, []).append(i)
    means = [
        torch.stack([z[members].mean(dim=0) for members in groups.values()]) for z in (x, p, frames)
    ]
    norms = means[2].norm(dim=2, keepdim=True).clamp(min=1e-12)
    return means[0], means[1], means[2] / norms, torch.tensor(list(groups))
