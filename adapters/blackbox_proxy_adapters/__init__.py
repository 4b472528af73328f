"""The adapters that ship with blackbox-proxy: each translates one wire format, and nothing else.

An adapter is found by its entry point in the group `blackbox_proxy.adapters`, so a third party's adapter comes in by
the same door; nobody imports one by name. This package knows no network, clock, environment or model.
"""
