"""How numbers are written in sentences that people read, on pages and in messages alike."""

from __future__ import annotations

THIN_SPACE = "\u2009"


def grouped(value: float, decimals: int = 0) -> str:
    """Digits in groups of three, apart by thin spaces: 157 232, or 9 688.82 with two decimals."""
    return f"{value:,.{decimals}f}".replace(",", THIN_SPACE)
