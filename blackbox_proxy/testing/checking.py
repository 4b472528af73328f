"""How the checks say that a rule does not hold."""

from __future__ import annotations


def expect(holds: object, fault: str) -> None:
    """Raise AssertionError with `fault` unless a rule holds; unlike `assert`, also where Python optimises."""
    if not holds:
        raise AssertionError(fault)
