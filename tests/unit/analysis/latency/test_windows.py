"""Windows of time: which requests each holds, and which of them are bad."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from faultload_analysis.latency import WindowCounter, quantile


def test_windows_follow_each_other_from_the_start_of_each_stretch() -> None:
    counter = WindowCounter([(100.0, 125.0), (10.0, 20.0)], 10.0)
    assert counter.starts.tolist() == [10.0, 100.0, 110.0]
    counter.add([9.99, 10.0, 19.99, 20.0, 105.0, 115.0, 124.0], [np.inf, 0.1, np.inf, np.inf, 0.1, np.inf, np.inf])
    assert counter.total.tolist() == [2, 1, 1]
    assert counter.missed.tolist() == [1, 0, 1]


def test_a_stretch_shorter_than_a_window_holds_none() -> None:
    counter = WindowCounter([(0.0, 9.5)], 10.0)
    counter.add([1.0], [0.1])
    assert counter.total.size == counter.bad(Fraction(1, 2))[0].size == 0
    with pytest.raises(ValueError, match="longer than 0 s"):
        WindowCounter([(0.0, 9.5)], 0.0)


@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(95, 100), Fraction(999, 1000)])
def test_a_window_is_bad_when_its_own_quantile_is_over_the_limit(p: Fraction) -> None:
    rng = np.random.default_rng(7)
    times, values = rng.uniform(0.0, 50.0, 2000), rng.exponential(1.0, 2000)
    limit = float(np.quantile(values, float(p)))
    counter = WindowCounter([(0.0, 50.0)], 1.0, over=limit)
    for chunk in np.array_split(rng.permutation(2000), 7):
        counter.add(times[chunk], values[chunk])
    bad, silent = counter.bad(1 - p)
    own = [quantile(values[np.floor(times) == second], p) > limit for second in range(50)]
    assert bad.tolist() == own
    assert any(own)
    assert not silent.any()


def test_a_window_without_requests_is_bad_where_there_should_have_been_some() -> None:
    often = WindowCounter([(0.0, 10.0)], 1.0)
    often.add(np.repeat(np.arange(9) + 0.5, 10), np.zeros(90))
    assert often.bad(Fraction(1, 100))[0].tolist() == [False] * 9 + [True]
    seldom = WindowCounter([(0.0, 10.0)], 1.0)
    seldom.add(np.repeat(np.arange(9) + 0.5, 7), np.zeros(63))  # exp(-6.3) is more than 0.001
    assert not seldom.bad(Fraction(1, 100))[0].any()
