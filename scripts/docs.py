"""Measure what the documents show, and draw their pictures: `make docs`.

What lies in results/docs is gone on with, or drawn again as it is; remove a folder there to measure
it anew. The pictures are of the machine that this runs on: see that nobody else uses it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / ".venv" / "bin" / "bench"
MEASURED = ROOT / "results" / "docs"
PICTURES = ROOT / "docs" / "pictures"
REPORT = ROOT / "docs" / "report.html"

COMMANDS = {
    "demo": ("study", "demo"),
    "run": ("run", "classification", "--rate", "60/s", "--duration", "20s"),
    "curve": ("curve", "classification"),
    "slo": ("slo", "classification", "--p99", "100ms"),
    "broker": ("study", "broker"),
    "payload": ("study", "payload"),
}
"""What is measured, by the name of its folder."""

DRAWN = {
    "waterfall": ("run", "run-1-requests"),
    "course": ("run", "run-1-course"),
    "distribution": ("run", "run-1-distribution"),
    "curve": ("curve", "throughput"),
    "slo": ("slo", "p99-probes"),
    "broker": ("broker", "throughput"),
}
"""The pictures: what each is of, and what it is called in that report."""

INVALID = 4


def measured(name: str) -> Path:
    """Return the folder of what was measured, when all of it is there."""
    kind, *asked = COMMANDS[name]
    begun = sorted((MEASURED / name).glob("2*"))
    if not begun:
        bench(kind, *asked, "--results", str(MEASURED / name))
    elif kind != "run":
        bench(kind, *([] if kind == "study" else asked), "--resume", str(begun[-1]))
    return max((MEASURED / name).glob("2*"))


def bench(*arguments: str) -> None:
    """Call bench; a run that cannot be trusted is shown too, and says so."""
    print("bench", *arguments, file=sys.stderr, flush=True)
    code = subprocess.run([BENCH, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL).returncode
    if code not in (0, INVALID):
        raise SystemExit(code)


def photograph(page: Path, picture: Path) -> None:
    """Take the top of a page as a browser shows it; without Chromium the old one stays."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print(f"{picture} stays as it is: there is no Chromium", file=sys.stderr)
        return
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        shown = chromium.new_page(viewport={"width": 1280, "height": 900})
        shown.goto(page.as_uri())
        shown.screenshot(path=picture)
        chromium.close()


def main() -> None:
    folders = {name: measured(name) for name in COMMANDS}
    for picture, (name, shown) in DRAWN.items():
        file = str(PICTURES / f"{picture}.png")
        drawn = ("--format", "png", "--picture", shown, "--output", file)
        bench("report", str(folders[name]), *drawn)
    bench("report", str(folders["run"]), "--format", "html", "--output", str(REPORT))
    photograph(folders["demo"] / "index.html", PICTURES / "report.png")


if __name__ == "__main__":
    main()
