"""MambAdapter: parameter-efficient transfer learning for speech and audio."""

__version__ = "0.1.0"
