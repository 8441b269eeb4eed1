"""Losses on embeddings in the shared space: pure functions of tensors.

Which one to use:

- `clip_loss`, `siglip_loss`: row-aligned pairs.
- `nt_xent`: two views of the items of one modality.
- `mk_mmd`: two sets without pairs, a coarse pull that matches distributions.
- `sdd`: two sets without pairs, a finer pull; best inside matched sets.
- `structure_loss`: one modality before and after its head, to keep its neighbourhoods.
- `sinkhorn`, `klot`: a soft matching of two batches, and the loss that copies a teacher's.
"""

from setclip.losses.contrastive import clip_loss, siglip_loss
from setclip.losses.density import log_density, sdd
from setclip.losses.mmd import median_distance, mk_mmd
from setclip.losses.selfsupervised import nt_xent
from setclip.losses.structure import structure_loss
from setclip.losses.transport import Products, Transport, klot, sinkhorn

__all__ = [
    "Products",
    "Transport",
    "clip_loss",
    "klot",
    "log_density",
    "median_distance",
    "mk_mmd",
    "nt_xent",
    "sdd",
    "siglip_loss",
    "sinkhorn",
    "structure_loss",
]
