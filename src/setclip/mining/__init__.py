"""Which matches among the pools to trust, and which items to label next."""

from setclip.mining.labelling import Choice, choose_items, suggest_run
from setclip.mining.matches import Mined, mine_run

__all__ = ["Choice", "Mined", "choose_items", "mine_run", "suggest_run"]
