"""The page of `scripts/ask.py --web` in a real browser, where Gradio, Selenium and Chromium are installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.distributed.elastic.utils.distributed import get_free_port

from tests.scripts.test_ask import finished  # noqa: F401 # (a fixture)

pytest.importorskip("gradio", reason="Gradio is an optional extra: pip install eavss[web]")
webdriver = pytest.importorskip("selenium.webdriver", reason="no Selenium")
ROOT = Path(__file__).parents[2]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 60


@pytest.fixture
def page(finished: Path, tmp_path: Path) -> Iterator[str]:  # noqa: F811
    """Start the command, and yield the page's address."""
    port = get_free_port()
    command = [sys.executable, "scripts/ask.py", str(finished), "--web", "--port", str(port)]
    own = {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONPATH": str(ROOT), "GRADIO_TEMP_DIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | own)
    try:
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator["webdriver.Chrome"]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for option in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with its driver")
def test_a_question_is_typed_and_answered(page: str, browser: "webdriver.Chrome") -> None:
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, SECONDS, ignored_exceptions=[WebDriverException])
    wait.until(lambda driver: driver.get(page) is None)
    box = wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, "[data-testid=textbox]"))
    box.send_keys("which number follows 3?", Keys.ENTER)

    def words(driver: "webdriver.Chrome") -> list[str] | None:
        shown: list[str] = driver.find_element(By.TAG_NAME, "body").text.split()
        return shown if "trained" in shown else None

    shown = wait.until(words)
    assert shown.index("base") < shown.index("trained")
    assert shown.count("answered") == 2
