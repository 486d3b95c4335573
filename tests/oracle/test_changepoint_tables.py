"""Change points against series with published changes."""

from __future__ import annotations

import pytest

from faultload_analysis.compare.changepoints import change_points

ONE_CHANGE = [
    1.02, 0.95, 0.99, 1.00, 1.12, 1.00, 1.01, 0.98, 1.01, 0.96, 0.50, 0.51, 0.48, 0.48, 0.55, 0.50, 0.49, 0.51,
    0.50, 0.49,
]  # fmt: skip
TWO_CHANGES = [0.3, 2.4, 1.5, -0.9, -0.5, 99.7, 98.3, 99.1, 149.0, 149.7, 149.5, 149.1, 148.8, 150.0]
NILE = [
    1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140,
    1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969,
    831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759, 781, 865,
    845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890, 744, 749, 838, 1050,
    918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
]  # fmt: skip


def test_the_series_of_hunter() -> None:
    """apache/otava, tests/analysis_test.py: one change, at 10."""
    found = change_points(ONE_CHANGE)
    assert [one.index for one in found.points] == [10]
    only = found.points[0]
    assert (only.before, only.after, only.change) == pytest.approx((1.0, 0.5, -0.5))
    assert found.since == 10


def test_the_two_changes_of_otava() -> None:
    """apache/otava, tests/change_point_divisive_test.py: changes at 5 and 8. There the first eight values are told
    apart by their distances; a rank test of eight runs shows the change among them at 10 %, not at 1 %."""
    found = change_points(TWO_CHANGES, significance=0.1, permutations=4999)
    assert [one.index for one in found.points] == [5, 8], "p is 8 %, and this test has 9 of the 10"
    assert [one.index for one in change_points(TWO_CHANGES).points] == [8]


def test_the_nile_changed_in_1899() -> None:
    """Annual flow at Aswan 1871-1970 (R, datasets::Nile): one change, after 1898 (Cobb 1978)."""
    assert len(NILE) == 100
    assert [1871 + one.index for one in change_points(NILE).points] == [1899]
