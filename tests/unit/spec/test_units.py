"""Quantities are read with their units, kept exactly, and printed as people write them."""

from __future__ import annotations

import math

import pytest

from faultload.spec import units
from faultload.spec.units import UnitError


@pytest.mark.parametrize(
    ("text", "value", "dimension"),
    [
        ("500ms", 0.5, "time"),
        ("250us", 250e-6, "time"),
        ("250µs", 250e-6, "time"),
        ("7ns", 7e-9, "time"),
        ("3m", 180.0, "time"),
        ("5min", 300.0, "time"),
        ("1.5h", 5400.0, "time"),
        ("30d", 2_592_000.0, "time"),
        ("2w", 1_209_600.0, "time"),
        ("10000/min", 10000 / 60, "rate"),
        ("50/s", 50.0, "rate"),
        ("99.9%", 0.999, "share"),
        ("99.99%", 0.9999, "share"),
        ("7%", 0.07, "share"),
        ("1%/h", 0.01 / 3600, "share_rate"),
        ("100MB", 1e8, "bytes"),
        ("4KiB", 4096.0, "bytes"),
        ("100MB/h", 1e8 / 3600, "byte_rate"),
        ("3x", 3.0, "factor"),
        ("0.9", 0.9, "number"),
        ("1_000", 1000.0, "number"),
        (".5", 0.5, "number"),
        ("-1", -1.0, "number"),
        ("1e3", 1000.0, "number"),
        (" 5 ms ", 0.005, "time"),
    ],
)
def test_a_quantity_is_read(text: str, value: float, dimension: str) -> None:
    quantity = units.parse(text)
    assert quantity.value == pytest.approx(value, rel=1e-15)
    assert quantity.dimension == dimension


@pytest.mark.parametrize("text", ["99.9%", "99.99%", "99.999%", "7%", "0.1%"])
def test_a_percentage_is_its_decimal_to_the_last_bit(text: str) -> None:
    digits = text.removesuffix("%")
    assert units.parse(text).value == float(digits) / 100


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a number with a unit"),
        ("fast", "is not a number with a unit"),
        ("5 ms ms", "is not a number with a unit"),
        ("1.2.3s", "is not a number with a unit"),
        ("5sec", "unknown unit 'sec'"),
        ("5MS", "unknown unit 'MS'"),
        ("5/fortnight", "unknown unit of time '/fortnight'"),
        ("5s/s", "unknown unit 's/s'"),
        ("3x/s", "unknown unit 'x/s'"),
        ("1e999s", "is not a finite number"),
        ("1e308w", "is not a finite number"),
        ("nan", "is not a number with a unit"),
        ("infs", "is not a number with a unit"),
    ],
)
def test_what_is_no_quantity_is_refused(text: str, says: str) -> None:
    with pytest.raises(UnitError, match=says):
        units.parse(text)


@pytest.mark.parametrize("value", [5, 5.0, None, "5", "5/s", "5%", "-5s", True, ["5s"]])
def test_a_duration_needs_its_unit(value: object) -> None:
    with pytest.raises(UnitError):
        units.duration(value)


@pytest.mark.parametrize("value", [5, "5", "5s", "-5/s", "5x"])
def test_a_rate_needs_its_unit(value: object) -> None:
    with pytest.raises(UnitError):
        units.rate(value)


@pytest.mark.parametrize("value", [3, "3", "3%", "-3x"])
def test_a_factor_needs_its_unit(value: object) -> None:
    with pytest.raises(UnitError):
        units.factor(value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (95.0, "95"),
        (95.4321, "95.43"),
        (99.9857, "99.99"),
        (312.345, "312.3"),
        (1234.56, "1235"),
        (123456789.0, "123456789"),
        (0.001234, "0.001234"),
        (0.00012, "0.00012"),
        (-42.5, "-42.5"),
        (100.0, "100"),
        (1e20, "1e+20"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
    ],
)
def test_a_number_for_people(number: float, text: str) -> None:
    assert units.format_number(number) == text


@pytest.mark.parametrize(
    ("target", "value", "text"),
    [
        ("500ms", 0.0959857, "95.99ms"),
        ("500ms", 0.3123, "312.3ms"),
        ("100/s", 99.98765, "99.99/s"),
        ("99.9%", 0.999857, "99.9857%"),
        ("99.9%", 0.99950, "99.95%"),
        ("99.9%", 0.99999999, "99.999999%"),
        ("99.9%", 1.0, "100%"),
        ("99.9%", 0.123456, "12.35%"),
        ("5%", math.inf, "∞%"),
        ("100MB/h", 1e8 / 3600, "100MB/h"),
    ],
)
def test_a_value_in_its_targets_unit(target: str, value: float, text: str) -> None:
    """Only percentages near 100 have more than four digits: there the nines count."""
    assert units.parse(target).format(value) == text


@pytest.mark.parametrize("text", ["500ms", "10000/min", "99.9%", "99.99999%", "100MB/h", "3x", "0.9", "1%/h"])
def test_a_quantity_prints_as_it_was_written(text: str) -> None:
    assert str(units.parse(text)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.34, "340 ms"),
        (0.0004, "0.4 ms"),
        (2.44, "2.4 s"),
        (95.96, "96 s"),
        (200, "3 min 20 s"),
        (180, "3 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (math.inf, "∞"),
    ],
)
def test_a_duration_for_people(seconds: float, text: str) -> None:
    assert units.format_seconds(seconds) == text


@pytest.mark.parametrize("seconds", [0.1 + 0.2, 1e-7, 53.9946, 1 / 3, 1e9])
def test_a_written_duration_reads_back_to_the_same_float(seconds: float) -> None:
    assert units.duration(units.write_duration(seconds)) == seconds
