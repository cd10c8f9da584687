"""What a training step costs on this machine."""

from mambadapter.cost.compare import Cost, compare_methods

__all__ = ["Cost", "compare_methods"]
