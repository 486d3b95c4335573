"""Whatever the data, the value of an estimate lies between its bounds, and nothing in it is NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repeats import rounds

from faultload_analysis.capacity.bracket import Step, capacity_bracket, capacity_estimate, interpolated_capacity
from faultload_analysis.capacity.knee import find_knee
from faultload_analysis.capacity.scaling import scaling_efficiency
from faultload_analysis.capacity.usl import usl_fit
from faultload_analysis.compare.bootstrap import quantile_difference, quantile_ratio, ratio_estimate
from faultload_analysis.compare.builds import overhead_estimate, speedup_estimate
from faultload_analysis.evidence.verdict import Estimate, Verdict
from faultload_analysis.latency.quantiles import mean_estimate, quantile_estimate
from faultload_analysis.latency.throughput import rate_estimate
from faultload_analysis.latency.trend import slope_estimate
from faultload_analysis.recovery.durability import recovery_point, write_fates
from faultload_analysis.recovery.faults import Recovery, ttr_estimate
from faultload_analysis.recovery.overload import hysteresis
from faultload_analysis.recovery.production import availability_estimate, mtbf_estimate
from faultload_analysis.recovery.repeats import median_ttr, mttr, restricted_mean_ttr
from faultload_analysis.slo.availability import burn_rate_estimate, error_budget, proportion_estimate

pytestmark = pytest.mark.filterwarnings("error")

latencies = st.lists(
    st.one_of(st.floats(1e-6, 1e3), st.sampled_from([0.1, 0.2, math.inf])), min_size=0, max_size=70
)
finite = st.lists(st.floats(0.001, 1e3), max_size=8)
verdicts = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(Verdict), st.floats(0.01, 1.0)), max_size=8)


def took(seconds: float | None) -> Recovery:
    """A recovery after `seconds`, or none within 50 s."""
    censored = 50.0 if seconds is None else None
    return Recovery(0.0, None, None, seconds, False, seconds is not None, censored, None, True, "")


@settings(max_examples=rounds(60))
@given(a=latencies, b=latencies, done=finite, others=finite, cut_off=st.integers(0, 2), steps=verdicts)
def test_the_value_of_every_estimate_lies_between_its_bounds(
    a: list[float],
    b: list[float],
    done: list[float],
    others: list[float],
    cut_off: int,
    steps: list[tuple[int, Verdict, float]],
) -> None:
    failed = np.isinf(a)
    loads, judged = [float(s[0]) for s in steps], [s[1] for s in steps]
    swept = capacity_bracket([Step(s[0], s[0], s[1], latency=Estimate(s[2], s[2], s[2], 9, 9, "")) for s in steps])
    times = np.cumsum(np.where(failed, 1.0, a))
    repeats = [*map(took, done), *[took(None)] * cut_off]
    estimates = [
        quantile_estimate(a, 0.9, target=0.15),
        mean_estimate(a),
        proportion_estimate(failed, slo=0.99),
        proportion_estimate(failed, slo=0.99, of_run=True),
        burn_rate_estimate(failed, 0.99),
        error_budget((times, failed), 0.99, 86400.0, 60.0, 1e6).estimate,
        rate_estimate(times, start_s=0.0, end_s=90.0),
        slope_estimate(times, np.where(failed, 0.0, a), min_points=3, min_duration_s=0.0),
        quantile_ratio(a, b, 0.5, resamples=50),
        quantile_difference(a, b, 0.9, resamples=50),
        ratio_estimate(a, b, "mean", resamples=50),
        ratio_estimate(a, b, np.min, resamples=20),
        speedup_estimate(done, others),
        overhead_estimate(done, others),
        scaling_efficiency(done, others),
        mttr(repeats),
        median_ttr(done, [50.0] * cut_off),
        restricted_mean_ttr(done, [50.0] * cut_off),
        mtbf_estimate({"kill": 1e-6}, {"kill": (len(done), len(done) + cut_off)}),
        availability_estimate({"kill": 1e-6}, {"kill": repeats}),
        *(ttr_estimate(one) for one in repeats),
        recovery_point(write_fates(done, [x > 1 for x in done], read_s=2e3), 10.0),
        capacity_estimate(swept),
        interpolated_capacity(swept, 0.1),
        hysteresis(loads, judged).gap,
        find_knee(np.arange(len(done)), done).at,
    ]
    if len(done) >= 4:
        fit = usl_fit(np.arange(1, len(done) + 1), done)
        estimates += [fit.estimate("alpha"), fit.estimate("beta"), fit.estimate("gamma"), fit.peak().users]
    for one in estimates:
        numbers = [x for x in (one.low, one.value, one.high) if x is not None]
        assert not any(map(math.isnan, numbers)), one
        assert numbers == sorted(numbers), one
        assert one.value is not None or (numbers == [] and one.why), one
        assert one.n_eff is None or one.n_eff >= 0.0, one
