"""An OpenAI-compatible server whose models are steered: `base_url` is all that a client changes.

`serve(config)` blocks, `running(config)` serves from a background thread; both take what `read_config` makes of a
file. The package decides nothing about steering: it reads requests, runs `Steerer.astream`, and writes replies.
"""

from __future__ import annotations
