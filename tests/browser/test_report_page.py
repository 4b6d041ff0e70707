"""The report in a real headless browser: figures are drawn, nothing is fetched, no script complains or is injected."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.report.write import write_report
from harness.store.store import Store
from tests.report_store import HOSTILE, analyse, fill, with_axes

CHROMIUM = shutil.which("chromium") or ""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # a page that fetched anything would fail to, and say so
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install -y chromium")


AXES = {
    "loss": {"rm+lm": {}, "rm": {"pretrain.loss": {"rm": 1.0, "lm": 0.0}}},
    "finetune.samples": [160, 320],
}

VISITOR = """
const settled = () => new Promise((done) => setTimeout(done, 300));
const rows = () => document.querySelectorAll("#task-0 .board tr[data-setting]:not([hidden])").length;
const told = [];
addEventListener("load", async () => {
  await settled();
  told.push(location.hash, rows());
  const [samples, loss] = document.querySelectorAll("#filters select");
  loss.value = "rm";
  loss.dispatchEvent(new Event("change", { bubbles: true }));
  await settled();
  told.push(location.hash, rows());
  history.back();
  await settled();
  told.push(location.hash, rows(), loss.value, samples.value);
  location.hash = "#methods";
  await settled();
  told.push(rows());
  const plot = document.querySelector(".direct .plot");
  const fills = () => plot.querySelectorAll("path.js-fill").length;
  const label = document.querySelector(".direct .legend li:not([hidden]) button");
  told.push(fills());
  label.focus();
  await settled();
  told.push(fills());
  label.blur();
  await settled();
  told.push(fills());
  document.title = JSON.stringify(told);
});
"""
"""Chooses, goes back, follows a link, moves to a label with the keyboard, and writes down what is then seen."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(document after its scripts and a visitor ran, console output) of a report of two axes whose texts are hostile.

    Its link has chosen one value already.
    """
    folder = tmp_path_factory.mktemp("browser")
    plan, store = with_axes(folder, AXES), Store(folder / "store")
    store.create()
    fill(plan, store, text=HOSTILE)
    path = write_report(plan, store, analyse(plan, store), folder / "report").html
    digest = base64.b64encode(hashlib.sha256(VISITOR.encode()).digest()).decode()
    text = path.read_text(encoding="utf-8").replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    path.write_text(text.replace("</body>", f"<script>{VISITOR}</script></body>"), encoding="utf-8")
    return opened(path, folder / "profile", "#?finetune.samples=samples%3D320")


def opened(path: Path, profile: Path, place: str = "") -> tuple[str, str]:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", path.resolve().as_uri() + place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def test_figures_are_drawn(page: tuple[str, str]) -> None:
    document, _ = page
    assert document.count('class="main-svg"') >= 4
    assert len(re.findall(r'<path class="js-line"', document)) >= 8


def test_the_board_over_tasks_has_other_numbers_below_the_main_one(page: tuple[str, str]) -> None:
    board = page[0].partition('<section id="leaderboard"')[2].partition("</section>")[0]
    beside = re.findall(r'<td class="n"[^>]*>.*?<span class="differs">([^<]*)</span></td>', board)
    number = r"\N{MINUS SIGN}?\d\.\d{3}"
    assert len(beside) >= 2 * (4 + 3)  # two tasks, four settings and three shallow scorers
    assert [one for one in beside if not re.fullmatch(rf"(headroom {number} · )?pairs {number}", one)] == []


def test_filters_stand_in_the_address_and_a_label_brings_its_interval(page: tuple[str, str]) -> None:
    document, _ = page
    told = json.loads(html.unescape(re.findall("<title>(.*?)</title>", document)[0]))
    opened_with, both = "#?finetune.samples=samples%3D320", "#?finetune.samples=samples%3D320&loss=rm"
    assert told[:4] == [opened_with, 2, both, 1]
    assert told[4:8] == [opened_with, 2, "", "samples=320"]  # Back
    assert told[8] == 2  # a link to a place on the page keeps the choice
    assert told[9:] == [0, 1, 0]  # one interval, of the row that is looked at


def test_the_console_is_silent(page: tuple[str, str]) -> None:
    _, console = page
    assert [line for line in console.splitlines() if "CONSOLE" in line] == []


def test_a_complaint_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<script>missing()</script><img src='http://example.invalid/x.png'>", encoding="utf-8")
    _, console = opened(path, tmp_path / "profile")
    assert any("CONSOLE" in line and "missing is not defined" in line for line in console.splitlines())


def test_hostile_texts_are_shown_and_not_run(page: tuple[str, str]) -> None:
    document, _ = page
    assert "&lt;script&gt;" in document
    assert "<script>alert" not in document
