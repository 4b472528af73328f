"""A stand-in for a closed model's API: a GGUF model behind real HTTP, in OpenAI's shapes, for work without a network.

`running(path)` serves from a background thread, `serve(path)` blocks. The package knows nothing of steering.
"""

from __future__ import annotations

from blackbox_proxy.standin.server import Options, running, serve

__all__ = ["Options", "running", "serve"]
