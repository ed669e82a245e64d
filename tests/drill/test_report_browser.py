"""The report as a real browser shows it: on a desk, on a phone, in the dark, on paper. Kept in artifacts/drill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drill.browser import chromium, page
from tests.drill.recorded import recorded
from tests.drill.results import failed, hostile, long, nothing
from volstore.drill.record import Result
from volstore.drill.report import html

PICTURES = Path(__file__).parents[2] / "artifacts" / "drill"
DESK, PHONE, NARROWEST = 1280, 390, 320

_VISIBLE = """(() => {
  const shown = document.querySelector('.verdict'), box = shown.getBoundingClientRect();
  const under = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return [shown.textContent, box.top >= 0 && box.bottom <= innerHeight && under === shown];
})()"""

_BEYOND = """[...document.body.querySelectorAll('*')].filter(one => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && one.closest('svg') === null && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(one => one.outerHTML.slice(0, 200)).concat(
  document.documentElement.scrollWidth > innerWidth ? ['the page is ' + document.documentElement.scrollWidth] : [])"""

_BEYOND_CHART = """[...document.querySelectorAll('.chart')].flatMap(chart => {
  const edge = chart.getBoundingClientRect();
  return [...chart.querySelectorAll('text')].filter(one => {
    const box = one.getBoundingClientRect();
    return box.width > 0 && (box.left < edge.left - 1 || box.right > edge.right + 1);
  }).map(one => one.textContent);
})"""

_SMALLEST = """Math.min(...[...document.querySelectorAll('.chart text')].map(one => {
  const chart = one.closest('svg'), box = chart.getBoundingClientRect();
  return box.width ? parseFloat(getComputedStyle(one).fontSize) * box.width / chart.viewBox.baseVal.width : 99;
}))"""

_PALE = """(() => {
  const numbers = text => (text.match(/[0-9.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(
    c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce(
    (sum, c, n) => sum + c * [.2126, .7152, .0722][n], 0);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length === 3) return colour;
    }
    return [255, 255, 255];
  };
  const written = [...document.body.querySelectorAll('*')].filter(one => one.getBoundingClientRect().width > 0
    && [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
  return written.map(one => {
    const style = getComputedStyle(one), colour = one.closest('svg') ? style.fill : style.color;
    const pair = [light(numbers(colour)), light(ground(one))].sort((a, b) => b - a);
    return [(pair[0] + .05) / (pair[1] + .05), one.outerHTML.slice(0, 160)];
  }).filter(([ratio]) => !(ratio >= 4.5));
})()"""
"""Text with less contrast than WCAG's 4.5 to 1."""


@pytest.fixture
def program() -> str:
    found = chromium()
    if found is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium (.ci/run does so as root)")
    return found


def kept(folder: Path, result: Result) -> str:
    """The page's file, and its address."""
    file = folder / "report.html"
    file.write_text(html(result), encoding="utf-8")
    return file.as_uri()


async def test_the_report_of_a_real_drill_loads_nothing_complains_of_nothing_and_shows_its_verdict(
    program: str, tmp_path: Path
) -> None:
    address = kept(tmp_path, recorded())
    async with page(program) as tab:
        for name, width, dark in (("desk", DESK, False), ("dark", DESK, True), ("phone", PHONE, False)):
            await tab.open(address, width=width, dark=dark)
            assert await tab.evaluate(_VISIBLE) == ["✓ passed", True]
            assert await tab.evaluate(_PALE) == []
            assert await tab.evaluate(_BEYOND) == []
            assert await tab.evaluate(_BEYOND_CHART) == []
            assert await tab.evaluate(_SMALLEST) >= 11
            await tab.screenshot(PICTURES / f"report-{name}.png")
        assert tab.complaints == []
        assert set(tab.asked) == {address}


async def test_a_report_that_tries_to_load_or_run_something_is_caught_by_this_test(
    program: str, tmp_path: Path
) -> None:
    file = tmp_path / "bad.html"
    bad = '<img src="http://127.0.0.1:9/x.png"><script>console.log("ran")</script><p style="width:3000px">wide</p>'
    file.write_text(f'<!doctype html><html><body><span class="verdict">x</span>{bad}</body></html>')
    async with page(program) as tab:
        await tab.open(file.as_uri(), width=PHONE)
        assert "http://127.0.0.1:9/x.png" in tab.asked
        assert any("ran" in complaint for complaint in tab.complaints)
        assert await tab.evaluate(_BEYOND) != []


@pytest.mark.parametrize("make", [hostile, nothing, lambda: failed(long()), lambda: failed(recorded())])
async def test_no_report_is_wider_than_the_narrowest_phone_whatever_it_holds(
    make: Callable[[], Result], program: str, tmp_path: Path
) -> None:
    async with page(program) as tab:
        address = kept(tmp_path, make())
        for width in (NARROWEST, PHONE, 700, DESK):
            await tab.open(address, width=width)
            assert await tab.evaluate(_BEYOND) == [], width
        assert tab.complaints == []
        assert set(tab.asked) == {address}


async def test_on_paper_it_is_dark_on_white_with_the_wide_charts(program: str, tmp_path: Path) -> None:
    shown: dict[str, Any] = {}
    async with page(program) as tab:
        await tab.open(kept(tmp_path, failed(recorded())), width=700, dark=True, printed=True)
        for name, expression in (
            ("ground", "getComputedStyle(document.body).backgroundColor"),
            ("wide", "getComputedStyle(document.querySelector('.wide')).display"),
            ("phone", "getComputedStyle(document.querySelector('.phone')).display"),
            ("pale", _PALE),
        ):
            shown[name] = await tab.evaluate(expression)
        await tab.pdf(PICTURES / "report.pdf")
    assert shown == {"ground": "rgb(255, 255, 255)", "wide": "block", "phone": "none", "pale": []}
    assert (PICTURES / "report.pdf").read_bytes().startswith(b"%PDF-")
