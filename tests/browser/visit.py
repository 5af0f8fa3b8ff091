"""Open notebooks in JupyterLab in a real browser, run them, and write down what a learner would meet."""

from __future__ import annotations

import importlib.resources
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.browser.jupyter_server import Jupyter, jupyter
from tests.chapters.nbval_run import QUIET_SECONDS, ROOT, surroundings, what_is_left

ARTEFACTS = ROOT / "tests" / "artefacts"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSERS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
QUIET_BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
STEP_MS = 30_000
RUN_MS = 300_000  # chapter 01 measures four cities and judges four tasks
OURS = [[".jp-RenderedMarkdown"], [".jp-OutputArea-output"]]
# JupyterLab and nbconvert give an image without a text one of their own, which says nothing and hides it from axe.
NO_ALT = ("Image", "No description has been provided for this image")
WIDTH, HEIGHT, MOST_HEIGHT = 1280, 900, 16_000


@dataclass(frozen=True)
class Seen:
    """One notebook in one theme: what its cells said, which diagrams broke, what axe found, and its picture."""

    counts: tuple[int | None, ...]
    errors: tuple[str, ...]
    diagrams: int
    broken_diagrams: int
    violations: tuple[str, ...]
    picture: Path


@dataclass(frozen=True)
class Visit:
    """All notebooks of a visit in both themes, contrast on their exported pages, and what the visit left behind."""

    seen: dict[tuple[str, str], Seen]
    contrast: dict[tuple[str, str], tuple[str, ...]]
    processes: tuple[str, ...]
    ports: tuple[int, ...]


def browser_program() -> str | None:
    """Return the path of a Chromium, or None."""
    found = [shutil.which(name) for name in BROWSERS] + [path for path in MAC_BROWSERS if Path(path).exists()]
    return next((path for path in found if path), None)


def visit(notebooks: Sequence[Path], program: str) -> Visit:
    """Run every notebook by Run All, look at it in both themes, and export it; then end everything."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with surroundings() as around:
        watcher = threading.Thread(target=around.watch_ports, daemon=True)
        watcher.start()
        try:
            with jupyter(notebooks, around) as server, sync_playwright() as play:
                browser = play.chromium.launch(executable_path=program, args=QUIET_BROWSER, env=dict(server.env))
                context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
                seen = in_jupyterlab(context, server, [path.name for path in notebooks])
                contrast = on_exported_pages(context, notebooks, around.folder)
                browser.close()
        finally:
            around.done.set()
            watcher.join()
        processes, ports = what_is_left(around, QUIET_SECONDS)
    return Visit(seen, contrast, processes, ports)


# --- in JupyterLab ---------------------------------------------------------------------------------------------------

OPEN = """async ([path, run, limit]) => {
  const late = new Promise((_, no) => setTimeout(() => no(new Error(`not done after ${limit} ms`)), limit));
  const work = async () => {
    const app = window.jupyterapp;
    const panel = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'});
    await panel.context.ready;
    await panel.sessionContext.ready;
    while (app.shell.currentWidget !== panel) {
      app.shell.activateById(panel.id);
      await new Promise(go => setTimeout(go, 50));
    }
    if (run) {
      await app.commands.execute('notebook:run-all-cells');
      await panel.context.save();
    }
    return Array.from({length: panel.content.model.cells.length}, (_, i) => panel.content.model.cells.get(i).toJSON());
  };
  return await Promise.race([work(), late]);
}"""

CLOSE = """async () => {  // saved first: a notebook that asks "save your work?" is never closed
  await window.jupyterapp.shell.currentWidget.context.save();
  await window.jupyterapp.commands.execute('application:close-all');
}"""
TO_THE_TOP = """() => document.querySelectorAll('.jp-NotebookPanel .jp-WindowedPanel-outer').forEach(
  each => { each.scrollTop = 0; })"""
CHANGE_THEME = "async theme => { await window.jupyterapp.commands.execute('apputils:change-theme', {theme}); }"
DIAGRAMS_DONE = """wanted => document.querySelectorAll(
  '.jp-RenderedMermaid img, .jp-RenderedMermaid svg, .jp-RenderedMermaid.jp-mod-warning').length >= wanted"""
NOTEBOOK_HEIGHT = """() => Math.max(...Array.from(
  document.querySelectorAll('.jp-NotebookPanel .jp-WindowedPanel-outer'), each => each.scrollHeight), 0)"""


def in_jupyterlab(context: BrowserContext, server: Jupyter, names: Sequence[str]) -> dict[tuple[str, str], Seen]:
    """Run each notebook in the light theme, then open the saved result in the dark theme."""
    page = context.new_page()
    page.set_default_timeout(STEP_MS)
    page.goto(server.lab)
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.status !== undefined")
    page.evaluate("() => window.jupyterapp.restored.then(() => true)")
    seen = {}
    for theme, label in THEMES.items():
        page.evaluate(CHANGE_THEME, label)
        is_light = "true" if theme == "light" else "false"
        page.wait_for_selector(f"body[data-jp-theme-light='{is_light}']", state="attached")
        for name in names:
            seen[name, theme] = look_at(page, name, theme, run=theme == "light")
    page.close()
    return seen


def look_at(page: Page, name: str, theme: str, *, run: bool) -> Seen:
    """Open one notebook, run it when asked to, and return what is on the page."""
    cells: list[dict[str, Any]] = page.evaluate(OPEN, [f"chapters/{name}", run, RUN_MS])
    wanted = sum(diagrams_in(cell) for cell in cells)
    page.wait_for_function(DIAGRAMS_DONE, arg=wanted)
    height = page.evaluate(NOTEBOOK_HEIGHT) + 150
    page.set_viewport_size({"width": WIDTH, "height": min(max(height, HEIGHT), MOST_HEIGHT)})
    page.evaluate(TO_THE_TOP)
    picture = ARTEFACTS / f"{Path(name).stem}-{theme}.png"
    page.screenshot(path=picture)
    result = Seen(
        counts=tuple(cell["execution_count"] for cell in cells if cell["cell_type"] == "code"),
        errors=tuple(error for cell in cells for error in errors_of(cell)),
        diagrams=wanted,
        broken_diagrams=page.locator(".jp-RenderedMermaid.jp-mod-warning").count(),
        violations=axe(page),
        picture=picture,
    )
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.evaluate(CLOSE)
    page.wait_for_selector(".jp-NotebookPanel", state="detached")
    return result


def diagrams_in(cell: dict[str, Any]) -> int:
    """Return how many Mermaid diagrams a cell shows."""
    if cell["cell_type"] == "markdown":
        return "".join(cell["source"]).count("```mermaid")
    bundles = [output.get("data", {}) for output in cell.get("outputs", [])]
    shown = sum("text/vnd.mermaid" in bundle for bundle in bundles)
    return shown + sum("".join(bundle.get("text/markdown", "")).count("```mermaid") for bundle in bundles)


def errors_of(cell: dict[str, Any]) -> list[str]:
    """Return the errors of a cell that is not meant to raise."""
    if "raises-exception" in cell.get("metadata", {}).get("tags", []):
        return []
    outputs = [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
    return [f"{''.join(cell['source'])[:200]}\n{output['ename']}: {output['evalue']}" for output in outputs]


# --- accessibility ---------------------------------------------------------------------------------------------------


def axe(page: Page, *rules: str) -> tuple[str, ...]:
    """Return what axe-core finds in rendered Markdown and outputs; with `rules`, only what those find."""
    script = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(script)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = page.evaluate("([scope, options]) => axe.run(scope, options)", [{"include": OURS}, options])
    if not found["violations"] and not found["passes"]:
        raise RuntimeError("axe looked at nothing: no rendered Markdown and no output is on the page")
    return nameless_images(page) + tuple(
        f"{violation['id']} ({violation['impact']}): {violation['help']}\n    {node['html'][:300]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    )


def nameless_images(page: Page) -> tuple[str, ...]:
    """Return the images of ours that have no alternative text of their own."""
    images = page.locator(", ".join(f'{scope} img[alt="{alt}"]' for [scope] in OURS for alt in NO_ALT)).all()
    return tuple(
        f"image-alt (critical): an image without a text: {str(one.get_attribute('src'))[:60]}" for one in images
    )


def on_exported_pages(
    context: BrowserContext, notebooks: Sequence[Path], folder: Path
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what axe says about colour contrast on each notebook exported to HTML (in JupyterLab it cannot tell)."""
    page = context.new_page()
    page.set_default_timeout(STEP_MS)
    page.route("http*://**", lambda route: route.abort())  # scripts of other machines: not part of the course
    found = {}
    for notebook in notebooks:
        for theme in THEMES:
            html, _ = HTMLExporter(theme=theme).from_notebook_node(nbformat.read(notebook, as_version=4))
            file = folder / f"{notebook.stem}-{theme}.html"
            file.write_text(html, encoding="utf-8")
            page.goto(file.as_uri(), wait_until="load")
            found[notebook.name, theme] = axe(page, "color-contrast")
    page.close()
    return found
