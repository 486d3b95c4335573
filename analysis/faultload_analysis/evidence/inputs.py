"""Checks arguments in one place: flags, counts, values of runs, confidences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from faultload_analysis.evidence.dependence import Array, Mask


def checked_confidence(confidence: float) -> float:
    """The confidence of a bound. ValueError unless it lies in (0.5, 1); at 0.5 both bounds would be the value."""
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"the confidence lies between 0.5 and 1, not {confidence}")
    return confidence


def checked_flags(values: npt.ArrayLike, name: str) -> Mask:
    """0 or 1, false or true, as bool, shape (n,). ValueError for another shape or value, NaN among them."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {array.shape}")
    if array.dtype != np.bool_ and not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name} must be true or false (1 or 0) for each, not other values or NaN")
    return array.astype(np.bool_, copy=False)


def checked_counts(total: npt.ArrayLike, bad: npt.ArrayLike) -> tuple[Array, Array]:
    """Requests of each slice and how many of them were bad, shape (k,) each.

    ValueError for differing shapes, or not finite and 0 <= bad <= total.
    """
    totals, bads = np.asarray(total, dtype=np.float64), np.asarray(bad, dtype=np.float64)
    if totals.shape != bads.shape or totals.ndim != 1:
        raise ValueError(f"totals {totals.shape} and bad {bads.shape} must be one shape (k,)")
    if not ((bads >= 0) & (bads <= totals) & (totals < np.inf)).all():
        raise ValueError("counts per slice must be finite, with 0 <= bad <= total")
    return totals, bads


def checked_runs(values: npt.ArrayLike, name: str) -> Array:
    """One value a run, shape (n,), +inf allowed. ValueError for another shape, NaN or -inf."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: one value a run, not an array of shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: NaN is no value of a run; leave that run out, and say so")
    if np.isneginf(array).any():
        raise ValueError(f"{name}: minus infinity is no value of a run")
    return array
