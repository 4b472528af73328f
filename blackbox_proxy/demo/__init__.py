"""The demo: a closed model and a local pair answer questions about countries, apart and together."""
