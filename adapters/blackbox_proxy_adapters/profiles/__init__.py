"""Profiles: one TOML file a provider, dated, with its sources. Data for the loader of profiles, and no code."""
