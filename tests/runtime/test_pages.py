"""Pages that are one file: nothing from outside becomes HTML, and the policy allows what is the page's own and no more."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.pages import Html, data_uri, escaped, fill, joined, json_text, page, policy, tag

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'name'"


def test_text_is_escaped_and_html_is_not() -> None:
    assert escaped("a < b & \"c\" 'd'") == "a &lt; b &amp; &quot;c&quot; &#x27;d&#x27;"
    assert tag("td", "<b>", tag("b", "<i>")) == "<td>&lt;b&gt;<b>&lt;i&gt;</b></td>"
    assert joined("<", Html("<hr>"), ">") == "&lt;<hr>&gt;"
    assert escaped("caf\udce9.png") == "caf\\udce9.png", "a name of bytes that are no UTF-8 can be written"


def test_attributes() -> None:
    made = tag("input", type="range", aria_label='a "b"', class_="wide", hidden=True, disabled=False)
    assert made == '<input type="range" aria-label="a &quot;b&quot;" class="wide" hidden>'
    for name in ("style", "onclick"):
        with pytest.raises(ValueError, match=f"the attribute {name} of <p> is forbidden by the page's policy"):
            tag("p", **{name: "x"})


def test_json_cannot_end_its_script() -> None:
    text = json_text({"name": HOSTILE, "\u2028": "é"})
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text)["name"] == HOSTILE


def test_a_value_is_not_filled_again() -> None:
    assert fill("{{a}} {{b}}", a="{{b}}", b="{{a}}") == "{{b}} {{a}}"
    with pytest.raises(KeyError):
        fill("{{c}}", a="")


def test_the_policy_names_the_hashes() -> None:
    digest = base64.b64encode(hashlib.sha256(b"p{}").digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy("p{}", "")
    assert "img-src data:;" in policy("", "")
    assert policy("", "").startswith("default-src 'none'")


def test_in_a_browser_names_are_text_and_only_the_own_script_runs(browser: Any, tmp_path: Path) -> None:
    pixel = data_uri(base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="), ".png")  # fmt: skip
    body = joined(
        tag("h1", HOSTILE, id="name", title=HOSTILE),
        tag("img", src=pixel, alt=HOSTILE),
        Html("<script>window.foreign = 1</script>"),
    )
    path = tmp_path / "page.html"
    path.write_text(page(HOSTILE, body, "h1{color:rgb(1,2,3)}", "window.own = 1"), "utf-8")
    browser.open(path)
    assert browser.js("document.title") == HOSTILE
    assert browser.texts("#name") == [HOSTILE]
    assert browser.js("document.querySelector('#name').title") == HOSTILE
    assert browser.js("[window.own, window.foreign ?? 0]") == [1, 0]
    assert browser.js("getComputedStyle(document.querySelector('h1')).color") == "rgb(1, 2, 3)"
    assert browser.js("document.querySelector('img').naturalWidth") == 1
    browser.js("fetch('https://example.org/').catch(() => 0)")
    browser.told("script-src")
    browser.told("https://example.org/")
    assert all("Content Security Policy" in problem for problem in browser.problems), browser.problems
    assert any("script-src" in problem for problem in browser.problems)
    assert any("https://example.org/" in problem for problem in browser.problems)
    assert browser.dialogs == []
