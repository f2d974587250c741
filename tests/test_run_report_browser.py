"""The report as a browser shows it, from a file:// address."""

import html
import json
import re
import shutil
import subprocess

import pytest

from scarseg_jax.show.run_report import write_report
from tests.test_run_report import NAME, make_run

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

SCRIPT = """
<script>
window.addEventListener("error", (e) => { document.title = "error: " + e.message; });
const wait = () => new Promise((done) => setTimeout(done, 50));
(async () => {
  while (!document.querySelector("#which").textContent) await wait();
  const seen = {}, which = () => document.querySelector("#which").textContent;
  const drawn = (i) => document.querySelectorAll(`#slice .${i}`)[0].getAttribute("d");
  const press = (key) => document.querySelector("#viewer").dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  seen.first = which();
  press("ArrowRight");
  seen.right = which();
  press("ArrowDown");
  seen.down = which();
  seen.outline = drawn("truth");
  press("1");
  seen.without = drawn("truth");
  press("1");
  seen.area = document.querySelector("#layers tbody").rows[0].cells[1].textContent;
  seen.scale = document.querySelector("#slice .length").textContent;
  seen.bar = document.querySelector("#slice .bar").getAttribute("d").match(/h(.*)/)[1];
  const view = () => +document.querySelector("#slice").getAttribute("viewBox").split(" ")[2];
  const slide = (id, value) => {
    const slider = document.querySelector(id);
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  };
  const window_ = () => [...document.querySelectorAll("#slice feFuncG")].map(
    (f) => [f.getAttribute("slope"), f.getAttribute("intercept")].map(Number))[0];
  seen.sides = [view()];
  seen.windows = [window_()];
  slide("#zoom", 2);
  slide("#width", 0.5);
  slide("#level", 0.25);
  seen.sides.push(view());
  seen.windows.push(window_());
  document.querySelector("#reset").click();
  seen.sides.push(view());
  seen.windows.push(window_());
  press("f");
  seen.failure = which();
  seen.failed = document.querySelector("#about-slice").textContent;
  document.querySelector("#failures a[data-at]").click();
  seen.linked = which();
  seen.focused = document.activeElement.id;
  document.querySelector("#patients a[data-at]").click();
  seen.patient = which();
  press("ArrowRight");
  press("ArrowRight");
  press("ArrowLeft");
  press("ArrowLeft");
  seen.left = which();
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.cut = [...document.querySelectorAll(".scroll")].map((e) => e.scrollWidth - e.clientWidth);
  const cells = () => [...document.querySelectorAll("#patients tbody tr")].map(
    (row) => row.cells[5].textContent);
  const button = document.querySelectorAll("#patients thead button")[5];
  button.click();
  seen.up = cells();
  button.click();
  seen.descending = cells();
  document.documentElement.dataset.seen = JSON.stringify(seen);
})();
</script>
"""


def test_every_slice_can_be_walked_through_and_tables_sort(tmp_path):
    page = tmp_path / "report.html"
    write_report(page, make_run(tmp_path))
    page.write_text(page.read_text().replace("</body>", SCRIPT + "</body>"))
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"),
            "--window-size=1400,1000",
            *(f"--user-data-dir={tmp_path / 'profile'}", "--timeout=20000"),
            *("--virtual-time-budget=15000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stdout[:300]
    seen = json.loads(html.unescape(found[1]))
    assert seen["first"] == f"{NAME}, slice 0 (1 of 4)"
    assert seen["right"] == f"{NAME}, slice 1 (2 of 4)"
    assert seen["down"] == "a, slice 0 (3 of 4)"
    assert seen["left"] == seen["first"]
    assert seen["up"] == ["0.0", "0.2"]  # true ml of the two patients
    assert seen["descending"] == ["0.2", "0.0"]
    assert seen["outline"] == "M20 20h10v10h-10z"
    assert seen["without"] == ""
    assert (seen["area"], seen["scale"], seen["bar"]) == ("100", "10 mm", "10")
    assert seen["sides"] == [64, 32, 64]
    assert seen["windows"] == [[1, 0], [2, 0], [1, 0]]
    assert seen["failure"] == "a, slice 1 (4 of 4)"
    assert seen["failed"] == "Tested by fold 1. Scar missed"
    assert (seen["linked"], seen["focused"]) == ("a, slice 1 (4 of 4)", "viewer")
    assert seen["patient"] == seen["first"]
    # On a wide screen nothing is cut.
    assert seen["wide"] == 0
    assert not any(seen["cut"])
