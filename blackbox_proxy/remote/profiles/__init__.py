"""What is known about providers, as data: dated TOML files, checked when they are read, changed by the user's own.

Knows no provider by name: files come in by the entry-point group `blackbox_proxy.profiles` and from the user's folder.
"""
