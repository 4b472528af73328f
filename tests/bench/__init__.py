"""Benchmarks: `make bench`. Ratios within one run, never asserted by a test."""
