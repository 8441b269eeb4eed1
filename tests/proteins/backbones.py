"""Synthetic chains with the bond lengths and angles of real ones, for tests."""

import numpy as np

from setclip.proteins.chains import LETTERS, Chain

# Length of the new bond (A) and its angle to the one before (degrees): Engh and Huber.
N_CA, CA_C, C_N = (1.458, 121.7), (1.525, 111.0), (1.329, 117.2)


def place(a, b, c, bond, dihedral):
    """The atom after a, b, c at this bond length, bond angle and dihedral (degrees)."""
    length, angle = bond
    angle, dihedral = np.radians(180 - angle), np.radians(dihedral)
    x = (c - b) / np.linalg.norm(c - b)
    n = np.cross(b - a, x)
    n /= np.linalg.norm(n)
    local = np.cos(angle), np.sin(angle) * np.cos(dihedral), np.sin(angle) * np.sin(dihedral)
    return c + length * (local[0] * x + local[1] * np.cross(n, x) + local[2] * n)


def backbone(n, rng):
    """N, CA, C, O of n residues in runs of helix, strand and loop. Shape [n, 4, 3]."""
    kinds = np.repeat(rng.integers(3, size=n), rng.integers(4, 12, size=n))[:n]
    phi = np.array([-63.0, -120.0, -75.0])[kinds] + rng.normal(0, 8, n)
    psi = np.array([-42.0, 130.0, 145.0])[kinds] + rng.normal(0, 8, n)
    atoms = [np.zeros(3), np.array([1.458, 0, 0]), np.array([2.0, 1.42, 0])]
    for i in range(1, n):
        atoms.append(place(*atoms[-3:], C_N, psi[i - 1]))
        atoms.append(place(*atoms[-3:], N_CA, 180.0))
        atoms.append(place(*atoms[-3:], CA_C, phi[i]))
    main = np.stack(atoms).reshape(n, 3, 3)
    oxygen = [place(*main[i], (1.231, 120.1), psi[i] + 180) for i in range(n)]
    return np.concatenate([main, np.stack(oxygen)[:, None]], axis=1).astype(np.float32)


def chain(n, rng, name="synthetic_A"):
    atoms = backbone(n, rng)
    sequence = "".join(rng.choice(list(LETTERS[:-1]), size=n))
    return Chain(name, sequence, atoms[:, 1].copy(), np.arange(n, dtype=np.int32), atoms)
