"""What the benchmark makes of its figures: ratios, table, picture, and the page of the documentation."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.document import BEGIN, END, replaced
from bench.picture import LABELS, picture
from bench.results import Figure, against, load, machine_of, merged, number, save, table
from bench.rows import ORDER, ROWS

ROOT = Path(__file__).parents[3]

FAST = Figure(row="new", title="new <4 KiB>", unit="messages/s", ours=[300, 200, 400], theirs=[100, 100, 100], mark=2.5)
SLOW = Figure(row="latency", title="latency", unit="ms", ours=[9.0], theirs=[6.0], mark=1.0, higher=False)
ALONE = Figure(row="ready", title="ready", unit="s", ours=[0.5, 0.7], mark=0.8, higher=False)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    disturbed = Figure(row="r", title="r", unit="u", ours=[100, 10, 100], theirs=[50, 5, 20], mark=2)
    assert disturbed.ratios == [2, 2, 5]
    assert disturbed.value == 2


@pytest.mark.parametrize(("figure", "reached"), [(FAST, True), (SLOW, False), (ALONE, True)])
def test_a_mark_is_reached_in_the_row_s_direction(figure: Figure, reached: bool) -> None:
    assert figure.reached is reached


def test_the_table_shows_median_spread_and_mark() -> None:
    lines = table([FAST, ALONE]).splitlines()
    assert lines[2] == (
        "| new <4 KiB> | messages/s | 100 (100–100) | 300 (200–400) | 3.00 (2.00–4.00) | ≥ 2.50 ✓ | – |"
    )
    assert lines[3].startswith("| ready | s | – | 0.60 (0.50–0.70) | – | ≤ 0.80 ✓")


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (99.95, "100.0"), (12.34, "12.3"), (0.123, "0.12")])
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_figures_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "results" / "some.json"
    save(path, [FAST, SLOW], {"cpus": 2})
    assert load(path) == [FAST, SLOW]
    assert machine_of(path) == {"cpus": 2}
    assert load(tmp_path / "none.json") == []


def test_rows_measured_anew_take_the_place_of_the_old() -> None:
    newer = Figure(row="latency", title="latency", unit="ms", ours=[1.0], theirs=[6.0], mark=1.0, higher=False)
    assert merged([SLOW, FAST], [newer, ALONE], ORDER) == [FAST, newer, ALONE]


def test_a_run_is_compared_with_the_committed_one_where_both_have_the_row() -> None:
    slower = Figure(row="new", title="", unit="", ours=[2.0], theirs=[1.0], mark=1)
    assert against([slower, ALONE], [FAST]).split() == ["new", "2.00", "committed", "3.00", "(-33", "%)"]


def test_every_row_has_its_place() -> None:
    assert set(ROWS) - set(ORDER) == {"start"}  # which gives ready, idle and idle bare


def test_the_picture_is_svg_with_a_bar_and_a_tick_for_each_ratio() -> None:
    root = ElementTree.fromstring(picture([FAST, SLOW, ALONE]))
    space = "{http://www.w3.org/2000/svg}"
    bars = root.findall(f"{space}rect")
    assert [bar.get("class") for bar in bars] == ["bar", "short"]
    assert [line.get("class") for line in root.findall(f"{space}line")].count("mark") == 2
    texts = [text.text for text in root.findall(f"{space}text")]
    assert "new <4 KiB>" in texts and "3.00×" in texts and "0.67×" in texts
    assert "ready" not in texts  # it is no ratio


def test_the_picture_grows_to_the_right_where_the_relay_is_ahead_and_to_the_left_where_it_is_not() -> None:
    svg = picture([FAST, SLOW])
    even = re.search(r'class="even" x1="([\d.]+)"', svg)
    ahead, behind = (tuple(map(float, each)) for each in re.findall(r'<rect .*? x="([\d.]+)" .*?width="([\d.]+)"', svg))
    assert even
    assert ahead[0] == float(even[1])
    assert behind[0] + behind[1] == pytest.approx(float(even[1]), abs=0.2)


def test_the_page_gets_the_table_and_keeps_its_text() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replaced(page, [FAST], {"cpus": 2})
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "old" not in once
    assert replaced(once, [FAST], {"cpus": 2}) == once


def test_the_documentation_shows_the_committed_results() -> None:
    committed = ROOT / "bench" / "results" / "full.json"
    page, svg = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
    figures = load(committed)
    assert {figure.row for figure in figures} == set(ORDER)
    assert svg.read_text() == picture(figures)
    shown = [figure.title for figure in figures if figure.title in svg.read_text()]
    assert max(map(len, shown)) * 7.5 <= LABELS - 12, "beyond the picture's left edge"
    assert page.read_text() == replaced(page.read_text(), figures, machine_of(committed))
    assert json.loads(committed.read_text())["machine"]["cpus"] > 0
