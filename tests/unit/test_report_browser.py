"""The report in a real browser: it says no error, draws all charts, and nothing is cut at either width, light or dark."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
from reported import HOSTILE, identity_of, make_run, retrain

from ma2ml_agents.reports.page.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=60000",
)  # fmt: skip
PROBE = """
<script>
(function look() {
  if (!document.body.dataset.drawn) return setTimeout(look, 50);
  const wide = [...document.querySelectorAll("body *")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 1 || box.left < -1);
  }).map((e) => e.tagName + "." + e.className + " " + (e.textContent || "").slice(0, 40));
  const head = document.querySelector("#table th[data-sort=trial]");
  if (head) head.click();
  const first = document.querySelector("#table tbody tr");
  if (first) first.click();
  parent.postMessage(JSON.stringify({
    width: innerWidth, wide, page: document.documentElement.scrollWidth,
    cut: [...document.querySelectorAll(".scroll, pre, .drawing")].filter((e) => e.scrollWidth > e.clientWidth + 1)
      .map((e) => e.className),
    charts: document.querySelectorAll("[data-chart]").length,
    drawn: document.querySelectorAll("[data-chart] svg, [data-chart] canvas").length,
    rows: document.querySelectorAll("#table tr.trial").length, first: first && first.cells[0].textContent,
    opened: (document.querySelector("#table .recipe") || {}).textContent || "",
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ground: getComputedStyle(document.body).backgroundColor,
    small: [...document.querySelectorAll("svg text")]
      .filter((e) => e.textContent && e.getBoundingClientRect().height < 8 && e.getBoundingClientRect().height).length,
  }), "*");
})();
</script>
"""

FRAME = """<!doctype html><title>waiting</title><body style="margin: 0">
<script>addEventListener("message", (event) => { document.title = "probe " + event.data; });</script>
<iframe src="probe.html" style="border: 0; width: %dpx; height: 900px"></iframe>
"""
"""a window of a desktop's browser is never as narrow as a phone"""

pytestmark = [
    pytest.mark.extra,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    names = [*(f"a class with a long name {i}" for i in range(9)), HOSTILE]
    run = make_run(
        folder / "run", 48, identity=identity_of(names), game="cifar10-v0", budget=60, opened=4, origin=HOSTILE
    )
    retrain(run, names)
    write_report([run], folder / "report.html", images=False)
    whole, end, rest = (folder / "report.html").read_text().rpartition("</body>")
    (folder / "probe.html").write_text(whole + PROBE + end + rest)
    return folder


def seen(folder, width, profile, *more):
    """What the probe finds, and what the console says."""
    frame = folder / f"frame-{width}.html"
    frame.write_text(FRAME % width)
    command = [
        CHROMIUM,
        *QUIET,
        *more,
        f"--user-data-dir={profile}",
        "--window-size=1400,1000",
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    (told,) = re.findall(r"<title>probe (.*?)</title>", done.stdout)
    return json.loads(unescape(told)), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_page_is_whole(page, width, colours, tmp_path):
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if colours == "dark" else []
    told, console = seen(page, width, tmp_path, *dark)
    assert console == []
    assert told["width"] == width
    assert told["wide"] == []
    assert told["cut"] == []
    assert told["page"] <= width
    assert told["drawn"] == told["charts"] >= 12
    assert told["small"] == 0, "no text is smaller than 8 pixels"
    assert told["dark"] == (colours == "dark")
    assert told["ground"] == ("rgb(17, 20, 24)" if colours == "dark" else "rgb(255, 255, 255)")
    assert told["rows"] == 25
    assert told["first"] == "0"
    assert "learning_rate" in told["opened"]
