"""MambAdapter: parameter-efficient transfer learning for speech and audio.

The public API is what `__init__.pyi` lists. Each name is imported when it is first asked for, so that
`import mambadapter` costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
