"""The report in a real browser, where there is one: nothing sticks out at a phone's width, nothing runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.train.publishing.toy_run import RECIPE, write_run
from train.publishing.report import write_report
from train.publishing.run_folder import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
# Once the page is laid out, it puts its measures into its own text, because --dump-dom prints that.
PROBE = """<p id="probe"></p><script>addEventListener("load", () => {
  const pictures = [...document.images].every(image => image.naturalWidth > 0);
  document.getElementById("probe").textContent =
    `width ${document.documentElement.scrollWidth} pictures ${pictures} scripts ${document.scripts.length}`;
});</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_fits_and_runs_nothing(width: int, tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "recipe.yaml").write_text(f"{RECIPE}note: <script>alert(1)</script>{90 * 'x'}\n")
    write_report(Run.read(tmp_path))
    page = tmp_path / "report.html"
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    # In a frame, since a window cannot be as narrow as a phone; a high one, since a scrollbar takes width.
    style = f"border:0;height:9000px;width:{width}px"
    frame = f'<body style="margin:0"><iframe src="report.html" style="{style}"></iframe><script>'
    frame += 'addEventListener("load", () => setTimeout(() => { document.body.dataset.said = '
    frame += 'document.querySelector("iframe").contentDocument.getElementById("probe").textContent; }, 100));</script>'
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    options = [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--allow-file-access-from-files",
        "--virtual-time-budget=3000",
    ]
    command = [CHROMIUM or "", *QUIET, *options, "--dump-dom", (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert f'data-said="width {width} pictures true scripts 1"' in done.stdout, done.stdout[-500:] + done.stderr[-500:]
