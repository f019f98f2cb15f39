"""Checks of a built site: links inside it, alternative texts, and files of other hosts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
"""Elements for which a browser fetches a file, and the attribute that names it; `link` is fetched as well."""
NOT_FETCHED = frozenset({"next", "prev", "search", "index", "canonical", "author", "alternate"})  # kinds of `link`
_REMOTE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//", flags=re.IGNORECASE)
_STYLE_ADDRESS = re.compile(r"""(?:@import\s+|url\(\s*)["']?((?:https?:)?//[^"')\s]+)""")


@dataclass
class Page(HTMLParser):
    """What the checks need of a page."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)  # pictures without alternative text

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the anchors, links and pictures of an element."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and not set(values.get("rel", "").split()) & NOT_FETCHED:
            self.fetched.append(values.get("href", ""))
        elif tag == "link":
            self.links.append(values.get("href", ""))
        if tag in FETCHED and values.get(FETCHED[tag]):
            self.fetched.append(values[FETCHED[tag]])
        if tag == "img" and not values.get("alt", "").strip():
            self.silent.append(values.get("src", ""))


def check_site(folder: Path) -> list[str]:
    """Return the faults of a site, a line each, with the page and what is wrong."""
    pages = {path: read_page(path) for path in sorted(folder.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        faults += [f"{name}: the link {link} leads nowhere" for link in find_broken_links(path, folder, pages)]
        faults += [f"{name}: {address} is on another host" for address in page.fetched if _REMOTE.match(address)]
        faults += [f"{name}: the picture {source} has no alternative text" for source in page.silent]
    for path in sorted(folder.rglob("*.css")):
        addresses = _STYLE_ADDRESS.findall(path.read_text(encoding="utf-8"))
        faults += [f"{path.relative_to(folder).as_posix()}: {address} is on another host" for address in addresses]
    return faults


def read_page(path: Path) -> Page:
    """Return the anchors, links and pictures of an HTML file."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def find_broken_links(path: Path, folder: Path, pages: Mapping[Path, Page]) -> list[str]:
    """Return the links and files of the page `path` that are not in the site, and links to anchors that do not exist.

    Links to other hosts are not followed.
    """
    broken = []
    for address in [*pages[path].links, *pages[path].fetched]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
        if (
            not target.is_file()
            or not target.is_relative_to(folder)
            or (parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors)
        ):
            broken.append(address)
    return broken
