"""How far one machine goes: what docs/scale.md says, reckoned from measured figures, and simulated."""
