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
  const canvas = document.querySelector("#slice");
  const blue = () => {
    const p = canvas.getContext("2d").getImageData(0, 0, 512, 512).data;
    let n = 0;
    for (let i = 0; i < p.length; i += 4) n += p[i + 2] > p[i] + 60;
    return n;
  };
  const press = (key) => document.querySelector("#viewer").dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  seen.first = which();
  press("ArrowRight");
  seen.right = which();
  press("ArrowDown");
  seen.down = which();
  press("2");  // this run's outline lies on the truth's
  seen.blue = blue();
  press("1");
  seen.blueOff = blue();
  press("1");
  press("ArrowLeft");
  press("ArrowLeft");
  seen.left = which();
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
    assert seen["up"] == ["0", "200"]  # true pixels of the two patients
    assert seen["descending"] == ["200", "0"]
    assert seen["blueOff"] == 0
    assert seen["blue"] > 200  # the truth's outline: 36 crop pixels' sides, enlarged
