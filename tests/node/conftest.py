"""The node agent's tests share a world."""

from tests.csi.fleet import fleet
from tests.csi.world import world

__all__ = ["fleet", "world"]
