"""Checks of a site: each fault is found, and a sound site has none."""

import pytest

from helpers.course.site_checks import check_site

SOUND = '<p id="a"><a href="#a">x</a><a href="sub/b.html#top">b</a><a href="https://example.org/none">far</a></p>'
FAULTS = {
    "a page that does not exist": ('<a href="none.html">x</a>', "none.html leads nowhere"),
    "an anchor that does not exist": ('<a href="sub/b.html#none">x</a>', "sub/b.html#none leads nowhere"),
    "an anchor of the page itself": ('<a href="#none">x</a>', "#none leads nowhere"),
    "a page outside of the site": ('<a href="../outside.html">x</a>', "../outside.html leads nowhere"),
    "a folder": ('<a href="sub/">x</a>', "sub/ leads nowhere"),
    "a picture that does not exist": ('<img src="none.png" alt="a">', "none.png leads nowhere"),
    "a picture without a text": ('<img src="a.png">', "a.png has no alternative text"),
    "a picture with an empty text": ('<img src="a.png" alt=" ">', "a.png has no alternative text"),
    "a script of another host": ('<script src="https://cdn.example.org/a.js"></script>', "is on another host"),
    "a host without a protocol": ('<script src="//cdn.example.org/a.js"></script>', "is on another host"),
    "a style of another host": ('<link rel="stylesheet" href="http://example.org/a.css">', "is on another host"),
}


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.html").write_text(f'<link rel="stylesheet" href="a.css?digest=1">{SOUND}<img src="a.png" alt="A">')
    (folder / "sub" / "b.html").write_text('<h1 id="top">b</h1><a href="../a.html#a">a</a>')
    (folder / "a.css").write_text("@font-face { src: url('a.ttf') }")
    (folder / "a.png").write_bytes(b"")
    (tmp_path / "outside.html").write_text("")
    return folder


def test_a_sound_site_has_no_faults(site):
    assert check_site(site) == []


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_found_once_and_its_page_is_named(site, kind):
    html, message = FAULTS[kind]
    with (site / "a.html").open("a") as file:
        file.write(html)
    (fault,) = check_site(site)
    assert fault.startswith("a.html: ")
    assert message in fault


@pytest.mark.parametrize("style", ["@import 'https://example.org/a.css';", "a { src: url(//example.org/a.woff) }"])
def test_a_style_that_fetches_from_another_host_is_found(site, style):
    (site / "a.css").write_text(style)
    (fault,) = check_site(site)
    assert "a.css" in fault
    assert "another host" in fault
