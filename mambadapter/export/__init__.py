"""What other people's code loads without this package, made from a trained adapter."""

from mambadapter.export.formats import FORMATS, export_package

__all__ = ["FORMATS", "export_package"]
