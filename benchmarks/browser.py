"""Lessons in a real JupyterLab and a real browser, for tests and for benchmarks.

JupyterLab runs in a separate folder with copies of the notebooks without outputs, so all outputs in the page are of
this run, and nothing in the repository is written. Controls are moved by keyboard. Several processes may open a
JupyterLab each: every one has its own port, settings and browser.
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
from playwright.sync_api import Locator, Page, Request, ViewportSize, sync_playwright

from helpers import files
from helpers.course import lessons

HOW_TO_GET_A_BROWSER = "no Chromium found: apt install chromium, or python -m playwright install chromium"
HOST = "127.0.0.1"
VIEW: ViewportSize = {"width": 1280, "height": 1000}  # pixels of the browser's window
START = 120  # seconds for JupyterLab to start, and for a notebook to have a kernel
RUN = 900  # seconds for all cells of a lesson
SETTLE = 20  # seconds for anything else, such as the effect of one press of a key

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},  # else cells off screen are not in the page
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
"""Records when a key is pressed, when the picture that it changes is on screen, and when no more messages are due."""


_FAULTS = {
    "an error": "[data-mime-type='application/vnd.jupyter.error']",
    "a warning": "[data-mime-type='application/vnd.jupyter.stderr']",
    "a dialog": ".jp-Dialog",
    "a notification": ".Toastify__toast",
    "a formula that cannot be read": "mjx-merror",
    "a widget that is not shown": ".jp-OutputArea-output:text-matches('^(Loading|Error displaying) widget')",
    "a cell that did not run": ".jp-CodeCell .jp-InputArea-prompt:not(:text-matches('[0-9]'))",
}
"""Signs in the page that something is wrong, and their selectors."""


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, Playwright's or an installed one, or None."""
    with sync_playwright() as playwright:
        downloaded = playwright.chromium.executable_path
    return downloaded if Path(downloaded).exists() else next(filter(None, map(shutil.which, _BROWSERS)), None)


@contextlib.contextmanager
def open_lab(folder: Path, notebook_paths: Sequence[Path]) -> Iterator[Lab]:
    """Start a JupyterLab in `folder` with copies of notebooks, and a browser; both end with the block.

    Raises:
        RuntimeError: there is no browser, or JupyterLab does not start; the message has the end of its log.
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
    """Yield the address and the token of a JupyterLab with separate settings; it ends with the block."""
    root = folder / "root"
    jupyter = folder / "jupyter"
    shutil.copytree(lessons.FIGURES, root / "figures")
    (root / "notebooks").mkdir()
    for path in notebook_paths:
        notebook = nbformat.read(path, as_version=4)
        for cell in lessons.find_code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, root / "notebooks" / path.name)
    for name, values in _SETTINGS.items():
        files.write_text(jupyter / "settings" / f"{name}.jupyterlab-settings", json.dumps(values))
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    address, token = f"http://{HOST}:{port}", secrets.token_hex(16)
    names = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    names |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.ip={HOST}", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"]
    command += ["--LabApp.expose_app_in_browser=True", "--ServerApp.allow_root=True"]
    environment = os.environ | {variable: str(jupyter / name) for variable, name in names.items()}
    with (folder / "jupyterlab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait_for(f"{address}/api/status?token={token}", server, folder / "jupyterlab.log")
            yield address, token
        finally:
            server.terminate()  # it ends its kernels first
            server.wait(START)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Wait until a server replies at `address`.

    Raises:
        RuntimeError: the server has ended, or does not reply in time.
    """
    deadline = time.monotonic() + START
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab does not reply; the end of its log:\n{log.read_text()[-3000:]}")


class Lab:
    """JupyterLab in a browser, with one open lesson at a time."""

    def __init__(self, address: str, token: str, page: Page) -> None:
        self.address, self.token, self.page = address, token, page
        self._remote_addresses: list[str] = []  # addresses outside this machine that the page requested
        self._script_errors: list[str] = []
        page.set_default_timeout(1000 * SETTLE)
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self._script_errors.append(str(error)))

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https"} and parts.hostname != HOST:
            self._remote_addresses.append(request.url)

    def run(self, stem: str) -> None:
        """Open a lesson in a fresh window, run all its cells and wait until the last has ended.

        Raises:
            playwright.sync_api.TimeoutError: there is no kernel, or the cells have not ended in time.
        """
        self._remote_addresses.clear()
        self._script_errors.clear()
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
        """End the kernel of the open lesson."""
        self.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    def find_faults(self) -> list[str]:
        """Return the faults of the open lesson: errors, warnings, dialogs, missing pictures."""
        faults = []
        for name, selector in _FAULTS.items():
            elements = self.page.locator(selector).all()
            faults += [f"{name}: {(element.text_content() or '')[:300]}" for element in elements]
        empty = "[...document.images].filter(image => !image.naturalWidth).map(image => image.outerHTML.slice(0, 100))"
        faults += [f"a picture that is missing: {image}" for image in self.page.evaluate(empty)]
        faults += [f"an error of a script: {message}" for message in self._script_errors]
        return faults + [f"a request to another machine: {address}" for address in self._remote_addresses]

    def find_explorers(self) -> list[Explorer]:
        """Return the open lesson's explorers in order."""
        boxes = self.page.locator(".jp-OutputArea-output .widget-vbox:has(> img.widget-image)")
        return [Explorer(self.page, box) for box in boxes.all()]


class Explorer:
    """Controls above a picture, as they are in the page."""

    def __init__(self, page: Page, box: Locator) -> None:
        self.page, self.box = page, box
        self.picture = box.locator("> img.widget-image")
        self.controls = [_find_control(element) for element in box.locator("> :not(img)").all()]

    def save_screenshot(self, path: Path) -> None:
        """Write an image of controls and picture as they are on screen."""
        self.box.screenshot(path=path)

    def read_picture(self) -> str:
        """Return the picture's bytes as text, to compare."""
        script = """async picture => {
            const bytes = new Uint8Array(await (await fetch(picture.src)).arrayBuffer());
            return Array.from(bytes, byte => byte.toString(16)).join(" ");
        }"""
        return self.picture.evaluate(script)

    def find_flaws(self) -> list[str]:
        """Return the texts that are missing or cut, and the controls that Tab does not reach from the first one."""
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
        """Move `control` away and back; return the milliseconds from each press to the changed picture.

        A press that does not change the picture is left out: between two thresholds there may be no box. If no small
        step changes it, the control is moved to its ends.
        """
        self.picture.evaluate(_WATCH)
        times = [self._press(*press) for press in control.walk(num_presses)]
        if not any(times):
            times = [self._press(*press) for press in control.leap()]
        self.page.evaluate("watch.stop()")
        return [time for time in times if time]

    def _press(self, target: Locator, key: str) -> float | None:
        """Return the milliseconds until the change by this key was on screen, or None if the picture is as before."""
        target.press(key)
        self.page.wait_for_function("watch.isSettled()")
        return self.page.evaluate("watch.shown && watch.shown - watch.pressed")


class Slider:
    """Slider with its label and its readout.

    `walk` and `leap` yield the next press; the caller has made each press when it requests the next.
    """

    def __init__(self, element: Locator) -> None:
        self.element, self.label = element, element.locator("> label").inner_text()
        self.targets = element.locator(".noUi-handle")

    def holds_focus(self) -> bool:
        """Return whether arrow keys move this slider."""
        return self.targets.evaluate("handle => handle === document.activeElement")

    def read(self) -> str:
        """Return the value in the readout."""
        return self.element.locator(".widget-readout").inner_text()

    def walk(self, num_presses: int) -> Iterator[tuple[Locator, str]]:
        """Yield at most `num_presses` to the right, as many back, and the same to the left."""
        for away, back in (("ArrowRight", "ArrowLeft"), ("ArrowLeft", "ArrowRight")):
            places = [self.read()]
            while len(places) <= num_presses:
                yield self.targets, away
                if self.read() == places[-1]:
                    break  # its end
                places.append(self.read())
            for _ in places[1:]:
                yield self.targets, back

    def leap(self) -> Iterator[tuple[Locator, str]]:
        """Yield presses to one end, to the other, and back."""
        start = self.read()
        yield self.targets, "End"
        yield self.targets, "Home"
        while (place := self.read()) != start:
            yield self.targets, "ArrowRight"
            if self.read() == place:
                break  # no step leads to the value at the start


class Buttons:
    """Row of buttons with its label; one of them is down."""

    def __init__(self, element: Locator) -> None:
        self.element, self.label = element, element.locator("> label").inner_text()
        self.targets = element.locator("button")

    def holds_focus(self) -> bool:
        """Return whether the space bar presses one of these buttons."""
        return self.element.evaluate("element => element.contains(document.activeElement)")

    def read(self) -> str:
        """Return the text of the button that is down."""
        return self.element.locator("button.mod-active").inner_text()

    def walk(self, num_presses: int) -> Iterator[tuple[Locator, str]]:
        """Yield a press on each button, the first one last, again until there are `num_presses` or more."""
        first = self.read()
        buttons = sorted(self.targets.all(), key=lambda button: button.inner_text() == first)
        for _ in range(math.ceil(num_presses / len(buttons))):
            yield from ((button, "Space") for button in buttons)

    def leap(self) -> Iterator[tuple[Locator, str]]:
        """Yield nothing, because `walk` presses every button."""
        return iter(())


def _find_control(element: Locator) -> Slider | Buttons:
    """Return the slider or the row of buttons in `element`.

    Raises:
        ValueError: it is a control of another kind.
    """
    for kind in (Slider, Buttons):
        if kind(element).targets.count():
            return kind(element)
    raise ValueError(f"neither a slider nor a row of buttons: {element.inner_text()!r}")


_WATCH_FRAGMENT = """picture => {
    const watch = picture.watch = {};
    document.addEventListener("keydown", () => Object.assign(watch, {pressed: performance.now(), shown: null}), true);
    picture.addEventListener("load", () => requestAnimationFrame(() => { watch.shown = performance.now(); }));
}"""


def find_fragments(page: Page) -> list[Fragment]:
    """Return the explorers without a kernel in a page, in order."""
    return [Fragment(page, box) for box in page.locator("div.explorer").all()]


class Fragment:
    """Controls and picture of an explorer without a kernel, as they are in a page."""

    def __init__(self, page: Page, box: Locator) -> None:
        self.page, self.box = page, box
        self.picture = box.locator("img")
        self.controls = box.locator("[data-control]").all()
        self.picture.evaluate(_WATCH_FRAGMENT)

    def read(self, control: Locator) -> str:
        """Return the value that a control shows."""
        slider = control.locator("output")
        shown = slider if slider.count() else control.locator("label:has(:checked)")
        return shown.inner_text().strip()

    def move(self, control: Locator) -> list[float]:
        """Move a control by keyboard from one end to the other; return the milliseconds from press to picture.

        A press that does not change the picture is left out.
        """
        times = []
        target = control.locator("input[type=range], input:checked")
        if control.locator("output").count():
            target.press("Home")
            num_presses = int(target.get_attribute("max") or 0)
        else:
            target.focus()
            num_presses = control.locator("input").count() - 1
        self._settle()
        picture = self.picture.element_handle()
        for _ in range(num_presses):
            before = self.picture.get_attribute("src")
            self.page.keyboard.press("ArrowRight")
            if self.picture.get_attribute("src") != before:
                self.page.wait_for_function("picture => picture.watch.shown !== null", arg=picture)
                times.append(self.picture.evaluate("picture => picture.watch.shown - picture.watch.pressed"))
            self._settle()
        return times

    def _settle(self) -> None:
        """Wait until the picture is decoded and on screen."""
        self.picture.evaluate("picture => picture.decode()")

    def find_not_reached(self) -> list[str]:
        """Return the labels of the controls that Tab does not reach from the first one."""
        not_reached = list(self.controls)
        self.controls[0].locator("input").first.focus()
        while self.box.evaluate("box => box.contains(document.activeElement)"):
            holds = "control => control.contains(document.activeElement)"
            not_reached = [control for control in not_reached if not control.evaluate(holds)]
            self.page.keyboard.press("Tab")
        return [control.inner_text() for control in not_reached]
