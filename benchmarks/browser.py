"""The lessons in a real JupyterLab, run and moved through a real browser: what tests look at and benchmarks time.

JupyterLab gets a folder of its own, with copies of the notebooks that hold no outputs: what is seen was made there and
then, and nothing in the repository is written. What a reader can reach by keyboard is moved by keyboard.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from playwright.sync_api import Locator, Page, Request, sync_playwright

from helpers import files
from helpers.course import lessons

HOW_TO_GET_A_BROWSER = "no Chromium found: apt install chromium, or python -m playwright install chromium"
HOST = "127.0.0.1"
VIEW = {"width": 1280, "height": 1000}  # pixels of the browser's window
START = 120  # seconds for JupyterLab to answer, and for a notebook to have a kernel
RUN = 900  # seconds for all cells of a lesson
SETTLE = 20  # seconds for anything else, such as what one press of a key sets going

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # else what is off screen is not in the page
}
_WATCH = """picture => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const watch = window.watch = {};
    const listen = () => {
        Object.assign(watch, {pressed: performance.now(), source: picture.src, shown: null, asked: 0, answered: 0});
        watch.heard = watch.pressed;
    };
    const hear = (_, {msg, direction}) => {
        watch.heard = performance.now();
        if (direction === "send") watch.asked += msg.header.msg_type === "comm_msg";
        else if (msg.header.msg_type === "status" && msg.content.execution_state === "idle")
            watch.answered += msg.parent_header.msg_type === "comm_msg";
    };
    const look = () => requestAnimationFrame(() => { watch.shown = performance.now(); });
    watch.isSettled = () => watch.asked === watch.answered && (
        watch.shown !== null || (picture.src === watch.source && performance.now() - watch.heard > 150));
    watch.stop = () => {
        document.removeEventListener("keydown", listen, true);
        picture.removeEventListener("load", look);
        kernel.anyMessage.disconnect(hear);
    };
    document.addEventListener("keydown", listen, true);
    picture.addEventListener("load", look);
    kernel.anyMessage.connect(hear);
}"""
"""Notes when a key is pressed and when the picture that this changes is on screen; and when nothing more will come."""


_FAULTS = {
    "an error": "[data-mime-type='application/vnd.jupyter.error']",
    "a warning": "[data-mime-type='application/vnd.jupyter.stderr']",
    "a dialog": ".jp-Dialog",
    "a notification": ".Toastify__toast",
    "a formula that cannot be read": "mjx-merror",
    "a widget that is not shown": ".jp-OutputArea-output:text-matches('^(Loading|Error displaying) widget')",
    "a cell that did not run": ".jp-CodeCell .jp-InputArea-prompt:not(:text-matches('[0-9]'))",
}
"""What a reader may find in the page where something is wrong."""


def find_browser() -> str | None:
    """Returns the path of a Chromium that this machine has: Playwright's own, or one that is installed; else `None`."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else next(filter(None, map(shutil.which, _BROWSERS)), None)


@contextlib.contextmanager
def open_lab(folder: Path, notebook_paths: Sequence[Path]) -> Iterator[Lab]:
    """Starts a JupyterLab in `folder`, with copies of notebooks, and a browser before it; both end with the block.

    Raises:
        RuntimeError: there is no browser, or JupyterLab does not start; the message says what it wrote.
    """
    browser = find_browser()
    if browser is None:
        raise RuntimeError(HOW_TO_GET_A_BROWSER)
    with _start_jupyterlab(folder, notebook_paths) as (address, token), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        try:
            yield Lab(address, token, chromium.new_page(viewport=VIEW))
        finally:
            chromium.close()


@contextlib.contextmanager
def _start_jupyterlab(folder: Path, notebook_paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Gives the address and the token of a JupyterLab that lives as long as the block, with settings of its own."""
    root, own = folder / "root", folder / "jupyter"
    shutil.copytree(lessons.FIGURES, root / "figures")
    (root / "notebooks").mkdir()
    for path in notebook_paths:
        notebook = nbformat.read(path, as_version=4)
        for cell in lessons.find_code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, root / "notebooks" / path.name)
    for name, values in _SETTINGS.items():
        files.write_text(own / "settings" / f"{name}.jupyterlab-settings", json.dumps(values))
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    address, token = f"http://{HOST}:{port}", secrets.token_hex(16)
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    names |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.ip={HOST}", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"]
    command += ["--LabApp.expose_app_in_browser=True", "--ServerApp.allow_root=True"]
    environment = os.environ | {variable: str(own / name) for variable, name in names.items()}
    with (folder / "jupyterlab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait_for(f"{address}/api/status?token={token}", server, folder / "jupyterlab.log")
            yield address, token
        finally:
            server.terminate()  # it ends its kernels first
            server.wait(START)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Returns when `address` answers.

    Raises:
        RuntimeError: the server has ended, or does not answer in time.
    """
    deadline = time.monotonic() + START
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab does not answer; it said:\n{log.read_text()[-3000:]}")


class Lab:
    """A JupyterLab before a reader's eyes: one lesson at a time."""

    def __init__(self, address: str, token: str, page: Page) -> None:
        self.address, self.token, self.page = address, token, page
        self._strangers: list[str] = []  # addresses outside this machine that the page asked for
        self._complaints: list[str] = []  # of the page's own scripts
        page.set_default_timeout(1000 * SETTLE)
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https"} and parts.hostname != HOST:
            self._strangers.append(request.url)

    def run(self, stem: str) -> None:
        """Opens a lesson in a fresh window, runs all its cells and waits until the last has ended.

        Raises:
            playwright.sync_api.TimeoutError: there is no kernel, or the cells have not ended in time.
        """
        self._strangers.clear()
        self._complaints.clear()
        self.page.goto(f"{self.address}/lab/tree/notebooks/{stem}.ipynb?reset&token={self.token}", timeout=1000 * START)
        session = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session"
        self.page.wait_for_function(f"{session}?.kernel?.status === 'idle'", timeout=1000 * START)
        self.page.evaluate(
            """() => {
                window.haveRun = false;
                jupyterapp.commands.execute("notebook:run-all-cells").finally(() => { window.haveRun = true; });
            }"""
        )
        self.page.wait_for_function("window.haveRun", timeout=1000 * RUN)
        self.page.wait_for_function("[...document.images].every(image => image.complete)")

    def close(self) -> None:
        """Ends the kernel of the open lesson."""
        self.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    def find_faults(self) -> list[str]:
        """Returns what a reader of the open lesson would stumble over: errors, warnings, dialogs, missing pictures."""
        faults = []
        for name, selector in _FAULTS.items():
            faults += [f"{name}: {found.text_content()[:300]}" for found in self.page.locator(selector).all()]
        empty = "[...document.images].filter(image => !image.naturalWidth).map(image => image.outerHTML.slice(0, 100))"
        faults += [f"a picture that is missing: {image}" for image in self.page.evaluate(empty)]
        faults += [f"a script's complaint: {complaint}" for complaint in self._complaints]
        return faults + [f"something from elsewhere: {address}" for address in self._strangers]

    def find_explorers(self) -> list[Explorer]:
        """Returns the open lesson's explorers in order."""
        boxes = self.page.locator(".jp-OutputArea-output .widget-vbox:has(> img.widget-image)")
        return [Explorer(self.page, box) for box in boxes.all()]


class Explorer:
    """Controls above a picture, as a reader meets them."""

    def __init__(self, page: Page, box: Locator) -> None:
        self.page, self.box = page, box
        self.picture = box.locator("> img.widget-image")
        self.controls = [_find_control(element) for element in box.locator("> :not(img)").all()]

    def save_screenshot(self, path: Path) -> None:
        """Writes what a reader sees of controls and picture."""
        self.box.screenshot(path=path)

    def read_picture(self) -> str:
        """Returns the picture's bytes as text, to compare."""
        script = """async picture => {
            const bytes = new Uint8Array(await (await fetch(picture.src)).arrayBuffer());
            return Array.from(bytes, byte => byte.toString(16)).join(" ");
        }"""
        return self.picture.evaluate(script)

    def find_flaws(self) -> list[str]:
        """Returns which texts are missing or cut, and which controls Tab does not reach from the first one."""
        flaws = []
        for text in self.box.locator("label, button, .widget-readout").all():
            if not text.inner_text() or text.evaluate("element => element.scrollWidth > element.clientWidth"):
                flaws.append(f"the text {text.inner_text()!r} is cut")
        not_reached = list(self.controls)
        self.controls[0].targets.first.focus()
        while self.box.evaluate("box => box.contains(document.activeElement)"):
            not_reached = [control for control in not_reached if not control.holds_focus()]
            self.page.keyboard.press("Tab")
        return flaws + [f"Tab does not reach {control.label!r}" for control in not_reached]

    def move(self, control: Slider | Buttons, num_presses: int) -> list[float]:
        """Returns the milliseconds from press to changed picture, as `control` goes away and comes back.

        What changes nothing in the picture does not count: between two thresholds there may be no box. Where no small
        step changes it, the control goes to its ends.
        """
        self.picture.evaluate(_WATCH)
        times = [self._press(*press) for press in control.walk(num_presses)]
        if not any(times):
            times = [self._press(*press) for press in control.leap()]
        self.page.evaluate("watch.stop()")
        return [time for time in times if time]

    def _press(self, target: Locator, key: str) -> float | None:
        """Returns the milliseconds until what this key changed was on screen; `None` if the picture is as before."""
        target.press(key)
        self.page.wait_for_function("watch.isSettled()")
        return self.page.evaluate("watch.shown && watch.shown - watch.pressed")


class Slider:
    """A slider with its label and its readout.

    A walk yields what to press next; each press has been made when the next is asked for.
    """

    def __init__(self, element: Locator) -> None:
        self.element, self.label = element, element.locator("> label").inner_text()
        self.targets = element.locator(".noUi-handle")

    def holds_focus(self) -> bool:
        """Returns whether arrow keys move this slider."""
        return self.targets.evaluate("handle => handle === document.activeElement")

    def read(self) -> str:
        """Returns the value that a reader sees."""
        return self.element.locator(".widget-readout").inner_text()

    def walk(self, num_presses: int) -> Iterator[tuple[Locator, str]]:
        """Yields at most so many presses to the right, as many back, and the same to the left."""
        for away, home in (("ArrowRight", "ArrowLeft"), ("ArrowLeft", "ArrowRight")):
            places = [self.read()]
            while len(places) <= num_presses:
                yield self.targets, away
                if self.read() == places[-1]:
                    break  # its end
                places.append(self.read())
            for _ in places[1:]:
                yield self.targets, home

    def leap(self) -> Iterator[tuple[Locator, str]]:
        """Yields presses to one end, to the other, and back."""
        start = self.read()
        yield self.targets, "End"
        yield self.targets, "Home"
        while (place := self.read()) != start:
            yield self.targets, "ArrowRight"
            if self.read() == place:
                break  # no step ends where it started


class Buttons:
    """A row of buttons with its label; one of them is down."""

    def __init__(self, element: Locator) -> None:
        self.element, self.label = element, element.locator("> label").inner_text()
        self.targets = element.locator("button")

    def holds_focus(self) -> bool:
        """Returns whether the space bar presses one of these buttons."""
        return self.element.evaluate("element => element.contains(document.activeElement)")

    def read(self) -> str:
        """Returns the text of the button that is down."""
        return self.element.locator("button.mod-active").inner_text()

    def walk(self, num_presses: int) -> Iterator[tuple[Locator, str]]:
        """Yields a press on each other button and one on the first, again until there are `num_presses` or more."""
        first = self.read()
        buttons = sorted(self.targets.all(), key=lambda button: button.inner_text() == first)  # which is pressed last
        for _ in range(math.ceil(num_presses / len(buttons))):
            yield from ((button, "Space") for button in buttons)

    def leap(self) -> Iterator[tuple[Locator, str]]:
        """Yields nothing: there is no button that `walk` has not pressed."""
        return iter(())


def _find_control(element: Locator) -> Slider | Buttons:
    """Returns what moves the control in `element`.

    Raises:
        ValueError: nobody has taught this module to move such a control.
    """
    for kind in (Slider, Buttons):
        if kind(element).targets.count():
            return kind(element)
    raise ValueError(f"neither a slider nor a row of buttons: {element.inner_text()!r}")
