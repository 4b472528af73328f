"""Finds the best recipe for a user's lines: trains an expert, compares arms within a budget, and writes what to run."""
