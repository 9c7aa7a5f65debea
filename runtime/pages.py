"""HTML pages that are one file: style, script and pictures inside, opened from disk, nothing from a network.

Text from outside (names of files and classes, reasons) becomes HTML through `tag`, which escapes it, or stands in a JSON block
(`json_text`) that a script puts on the page as text. The page's policy (CSP) allows its own style and script, by their hashes,
and no network; it forbids `style=` attributes too, so a colour that varies is a class in the style.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from typing import Any

_MIME = {".jpg": "image/jpeg", ".png": "image/png"}
_EMPTY = frozenset({"br", "hr", "img", "input", "meta", "col"})
"""Elements without content, which are not closed."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{title}}</title>
<style>{{style}}</style>
</head>
<body>
{{body}}
<script>{{script}}</script>
</body>
</html>
"""


class Html(str):
    """Text that is HTML already; any other text is escaped where it becomes part of a page."""


def escaped(text: str) -> Html:
    """Text as HTML, in an element or in a quoted attribute; bytes of a name that are no UTF-8 stand as `\\udcff`."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(text.encode("utf-8", "backslashreplace").decode(), quote=True))


def tag(name: str, *children: str, **attributes: str | bool) -> Html:
    """An element: `tag("td", "a < b", class_="name")` is `<td class="name">a &lt; b</td>`.

    Args:
        name: of the element.
        children: its content in order; what is not `Html` is escaped.
        attributes: `class_` is `class`, `aria_label` is `aria-label`; True is an attribute without a value, False is left out.

    Raises:
        ValueError: for `style` and handlers such as `onclick`, which the page's policy forbids.
    """
    words = [name]
    for given, value in attributes.items():
        key = given.rstrip("_").replace("_", "-")
        if key == "style" or key.startswith("on"):
            raise ValueError(
                f"the attribute {key} of <{name}> is forbidden by the page's policy; use its style or script"
            )
        if value is not False:
            words.append(key if value is True else f'{key}="{escaped(value)}"')
    opened = f"<{' '.join(words)}>"
    return Html(opened if name in _EMPTY else f"{opened}{joined(*children)}</{name}>")


def joined(*parts: str) -> Html:
    """Parts one after the other; what is not `Html` is escaped."""
    return Html("".join(map(escaped, parts)))


def json_text(value: Any) -> str:
    """JSON for a `<script type="application/json">`: ASCII, and no `<` that could end the script."""
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c")


def data_uri(data: bytes, suffix: str) -> str:
    """A picture as an address that holds it; `suffix` is `.png` or `.jpg`."""
    return f"data:{_MIME[suffix]};base64,{base64.b64encode(data).decode()}"


def policy(style: str, script: str, images: str = "data:") -> str:
    """The content security policy of a page with this style and this script, and images from `images` alone."""
    return (
        f"default-src 'none'; img-src {images}; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def fill(template: str, **values: str) -> str:
    """The template with each `{{name}}` replaced, in one pass: what a value holds is never replaced again.

    Raises:
        KeyError: for a name without a value.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def page(title: str, body: Html, style: str, script: str = "", *, images: str = "data:") -> str:
    """A whole page.

    Args:
        title: as text.
        body: what stands in `<body>`.
        style, script: as they are; neither may hold its own closing tag.
        images: where pictures may come from, see `policy`.
    """
    allowed = html.escape(policy(style, script, images), quote=True)
    return fill(TEMPLATE, policy=allowed, title=escaped(title), style=style, script=script, body=body)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
