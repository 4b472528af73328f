"""A stand-in for a closed model's API: a GGUF model behind real HTTP, in OpenAI's shapes, for work without a network.

`running(path)` serves from a background thread, `serve(path)` blocks; in place of a path both take a toy model with a
known distribution, made by `script` or `read_script`, or a scenario of questions and answers, made by `scenario_of` or
`read_scenario`. `QUIRKS` lists by name how it can deviate as real APIs do; a `Traffic` counts what was answered, a
`Journal` notes what was asked. The package knows nothing of steering.
"""

from __future__ import annotations

from blackbox_proxy.standin.faults import Traffic
from blackbox_proxy.standin.journal import Journal
from blackbox_proxy.standin.quirks import QUIRKS, Quirk, read_quirks
from blackbox_proxy.standin.scenarios import Scenario, read_scenario, scenario_of
from blackbox_proxy.standin.script import Script, read_script, script
from blackbox_proxy.standin.server import StandinOptions, running, serve
from blackbox_proxy.standin.sources import read_script_or_scenario

__all__ = [
    "QUIRKS",
    "Journal",
    "Quirk",
    "Scenario",
    "Script",
    "StandinOptions",
    "Traffic",
    "read_quirks",
    "read_scenario",
    "read_script",
    "read_script_or_scenario",
    "running",
    "scenario_of",
    "script",
    "serve",
]
