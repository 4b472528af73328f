"""Scenarios: what is asked and what is said to it, written down by people, with log-probs.

`answers` holds what is said, token by token; `asked` what is asked and which exchange that is; `file` reads TOML and
JSON; `desk` answers requests by them; `calls` writes calls of tools.
"""

from __future__ import annotations

from blackbox_proxy.standin.scenarios.exchanges import Scenario, ScriptedExchange
from blackbox_proxy.standin.scenarios.file import read_scenario, scenario_of, schema

__all__ = ["Scenario", "ScriptedExchange", "read_scenario", "scenario_of", "schema"]
