"""Draw the pictures of the documentation: `python docs/pictures/make.py` writes an SVG file for each beside this file.

Only the standard library is needed. A test compares the files with what this script draws.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-weight: 600 }
  .small { font-size: 12px; fill: #52606d }
  .mono { font: 12px ui-monospace, monospace }
  .box { fill: #f5f7fa; stroke: #9aa5b1; rx: 6px }
  .ours { fill: #e6f0ff; stroke: #3b6fb6 }
  .store { fill: #fff6e0; stroke: #c08a1e }
  .good { fill: #e5f6ea; stroke: #3d8b57 }
  .bad { fill: #fdeaea; stroke: #b64242 }
  .frame { fill: none; stroke: #3b6fb6; stroke-dasharray: 5 4; rx: 8px }
  .line { fill: none; stroke: #52606d; stroke-width: 1.5 }
  .proof { fill: #e6f0ff; stroke: #3b6fb6; stroke-width: 2 }
  .limit { stroke: #b64242; stroke-dasharray: 6 4; stroke-width: 1.5 }
  .life { stroke: #cbd2d9; stroke-width: 1.5 }
"""


class Picture:
    def __init__(self, width: int, height: int, title: str) -> None:
        self.size = (width, height)
        self.title = title
        self.parts: list[str] = []

    def box(self, x: int, y: int, width: int, height: int, title: str, *lines: str, kind: str = "") -> None:
        """A box with a title and lines of text below it, all in the middle."""
        self.parts.append(f'<rect class="box {kind}" x="{x}" y="{y}" width="{width}" height="{height}"/>')
        top = y + height // 2 - 9 * len(lines) + 5
        self.text(x + width // 2, top, title, "title")
        for number, line in enumerate(lines, 1):
            self.text(x + width // 2, top + 18 * number, line, "small")

    def frame(self, x: int, y: int, width: int, height: int, title: str) -> None:
        self.parts.append(f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}"/>')
        self.text(x + 12, y + 20, title, "title", "start")

    def text(self, x: int, y: int, text: str, kind: str = "small", anchor: str = "middle") -> None:
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def arrow(self, *points: tuple[int, int], label: str = "", at: tuple[int, int] | None = None) -> None:
        """A line through these points with a head at the last one. The label stands above its middle, or at `at`."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(f'<polyline class="line" points="{path}" marker-end="url(#head)"/>')
        if label:
            (left, top), (right, bottom) = points[0], points[-1]
            self.text(*(at or ((left + right) // 2, (top + bottom) // 2 - 7)), label)

    def life(self, x: int, top: int, bottom: int) -> None:
        self.parts.append(f'<line class="life" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>')

    def svg(self) -> str:
        width, height = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' role="img">\n<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n'
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#52606d"/></marker></defs>\n'
            f'<rect width="{width}" height="{height}" fill="#fff" rx="8"/>\n'
        )
        return head + "\n".join(self.parts) + "\n</svg>\n"


def overview() -> Picture:
    it = Picture(880, 330, "An agent, the gateway and a provider")
    it.box(20, 90, 170, 120, "agent", "any OpenAI SDK", "base_url = gateway", "api_key = its own")
    it.frame(270, 20, 340, 210, "gateway")
    steps = (
        ("1  who is it?", "key, signature, certificate → agent"),
        ("2  may it?", "agent + call → Rego policies"),
        ("3  prove it", "decision → log, durable"),
        ("4  forward", "exactly the bytes that were judged"),
        ("5  prove it", "outcome → log, durable"),
    )
    for number, (name, what) in enumerate(steps):
        it.text(290, 72 + 34 * number, name, "title", "start")
        it.text(382, 72 + 34 * number, what, "small", "start")
    it.box(690, 90, 170, 120, "provider", "OpenAI, Anthropic,", "Gemini, Azure, or any", "JSON API")
    it.arrow((190, 120), (270, 120), label="request")
    it.arrow((610, 120), (690, 120), label="with its key")
    it.arrow((690, 180), (610, 180), label="answer")
    it.arrow((270, 180), (190, 180), label="streamed")
    it.box(270, 260, 160, 54, "policies in git", "tested before they count", kind="store")
    it.box(450, 260, 160, 54, "audit log", "signed Merkle tree", kind="store")
    it.arrow((350, 260), (350, 232))
    it.arrow((530, 230), (530, 258))
    return it


def processes() -> Picture:
    it = Picture(900, 560, "Processes, ports and files of one gateway")
    it.box(20, 66, 150, 56, "agents", "any SDK")
    it.box(20, 166, 150, 56, "operators", "gateway --server …")
    it.box(20, 240, 150, 46, "Prometheus")
    it.box(20, 314, 150, 56, "commands", "on this machine")
    it.frame(240, 20, 420, 350, "gateway up: one machine, one user")
    it.box(270, 54, 230, 80, "data workers", "port 8080 (host, port)", "as many as `workers`", kind="ours")
    it.box(
        270,
        176,
        230,
        150,
        "control process",
        "port 8081 (control_host, …)",
        "API, metrics, and duties:",
        "signing, recovery, policies,",
        "webhooks",
        kind="ours",
    )
    it.box(540, 110, 104, 110, "supervisor", "holds sockets,", "starts and", "replaces both", kind="ours")
    it.arrow((540, 140), (502, 110))
    it.arrow((540, 190), (502, 220))
    it.box(730, 54, 150, 46, "providers")
    it.box(730, 112, 150, 46, "issuers of tokens")
    it.box(730, 190, 150, 46, "webhooks")
    it.box(730, 248, 150, 46, "git remote, if set")
    it.box(730, 306, 150, 46, "login provider")
    it.arrow((170, 94), (270, 94), label="HTTP(S)", at=(206, 86))
    it.arrow((170, 194), (270, 194), label="/api/v1", at=(206, 186))
    it.arrow((170, 263), (270, 263), label="/metrics", at=(206, 255))
    it.arrow((500, 77), (730, 77), label="each call", at=(695, 69))
    it.arrow((690, 77), (690, 135), (730, 135))
    it.arrow((500, 271), (730, 271))
    it.arrow((690, 271), (690, 213), (730, 213))
    it.arrow((690, 271), (690, 329), (730, 329))
    it.frame(20, 410, 860, 130, "data directory (.gateway, mode 0700)")
    files = (
        ("registry.db", "agents, keys, bindings,", "upstreams (sealed)"),
        ("audit.db", "the log: each decision", "and each change"),
        ("runtime.db", "nonces, references;", "may be lost"),
        ("keys/", "signing, pepper, vault:", "back them up apart"),
        ("bundles/, policies/", "revisions; the git", "repository"),
    )
    for number, (name, *lines) in enumerate(files):
        it.box(36 + 168 * number, 442, 156, 82, name, *lines, kind="store")
    it.arrow((95, 370), (95, 408))
    it.arrow((450, 370), (450, 408), label="all processes read and write here", at=(562, 396))
    return it


def request() -> Picture:
    it = Picture(880, 610, "One request with its two durable records")
    places = {"agent": 90, "worker": 340, "log": 590, "provider": 790}
    for name, title in (
        ("agent", "agent"),
        ("worker", "data worker"),
        ("log", "audit log (disk)"),
        ("provider", "provider"),
    ):
        it.box(places[name] - 70, 16, 140, 40, title, kind={"worker": "ours", "log": "store"}.get(name, ""))
        it.life(places[name], 56, 550)

    def message(y: int, start: str, end: str, label: str) -> None:
        left, right = places[start], places[end]
        gap = 4 if left < right else -4
        it.arrow((left + gap, y), (right - gap, y), label=label)

    def step(y: int, title: str, line: str) -> None:
        it.box(places["worker"] - 130, y, 260, 44, title, line, kind="ours")

    message(85, "agent", "worker", "request")
    step(96, "1–3  route, credential → agent", "refused here: counted in the log")
    step(154, "4  read the body once", "JSON is parsed strictly")
    step(212, "5  judge", "bindings, policies, limits")
    message(290, "worker", "log", "6  decided: who, what, verdict")
    message(316, "log", "worker", "durable")
    message(346, "worker", "agent", "if denied: the reason and an id; the end")
    message(376, "worker", "provider", "7  exactly the judged bytes, with the provider's key")
    message(410, "provider", "worker", "answer, piece by piece")
    message(440, "worker", "agent", "8  relayed at once, all but its end")
    message(480, "worker", "log", "9  completed: tokens, cost, outcome")
    message(506, "log", "worker", "durable")
    message(536, "worker", "agent", "the end of the answer")
    it.text(
        20,
        578,
        "If step 6 fails, nothing is forwarded. If step 9 fails, the agent does not see the end.",
        "title",
        "start",
    )
    it.text(20, 598, "After a crash between 6 and 9, recovery closes the decision in the log.", "small", "start")
    return it


def activation() -> Picture:
    it = Picture(900, 360, "From a commit into force")
    first = (
        ("commit", "in the repository", "of policies", ""),
        ("read", "objects only, each", "after its size is known", "ours"),
        ("signature", "only if signers", "are set", "ours"),
        ("check", "compile, test, types;", "in a child process", "ours"),
    )
    second = (
        ("publish", "files synced under", "bundles/<digest>/", "ours"),
        ("hand over", "every live worker has", "loaded the bundles", "ours"),
        ("activate", "one row, one epoch;", "an entry in the log", "ours"),
        ("in force", "from each worker's", "next request on", "good"),
    )
    for number, (title, *lines, kind) in enumerate(first):
        it.box(20 + 215 * number, 24, 180, 76, title, *lines, kind=kind)
        if number:
            it.arrow((215 * number - 15, 62), (20 + 215 * number, 62))
            it.arrow((110 + 215 * number, 100), (110 + 215 * number, 140))
    it.box(
        235,
        140,
        610,
        76,
        "refused: the old activation stays in force",
        "an entry in the log says why, once; `gateway status` shows it",
        "wrong in itself: until the next commit; anything else is tried again",
        kind="bad",
    )
    it.arrow((845, 62), (875, 62), (875, 294), (845, 294))
    for number, (title, *lines, kind) in enumerate(second):
        it.box(665 - 215 * number, 256, 180, 76, title, *lines, kind=kind)
        if number:
            it.arrow((880 - 215 * number, 294), (845 - 215 * number, 294))
        if number < 3:
            it.arrow((755 - 215 * number, 256), (755 - 215 * number, 216))
    it.text(110, 170, "a request keeps one")
    it.text(110, 188, "activation to its end")
    return it


def credentials() -> Picture:
    it = Picture(900, 470, "Which credential for which agent")
    questions = (
        (
            "Does the platform give the program a token?",
            "GitHub Actions, Kubernetes, any OpenID issuer",
            "exchange it for a token",
            "no stored secret; minutes long",
            "tokens.md",
        ),
        (
            "Does it have a SPIFFE certificate?",
            "a mesh, SPIRE, an authority of yours",
            "present the certificate",
            "TLS to the gateway itself",
            "mtls.md",
        ),
        (
            "Can you add code or a proxy beside it?",
            "Python: AgentAuth; else gateway sign-proxy",
            "sign each request",
            "nothing secret is sent; each good once",
            "signatures.md",
        ),
        (
            "Does it share a provider's key today?",
            "many programs, one key, no time to change all",
            "adopt the old key for a while",
            "until a date; each then gets its own",
            "moving.md",
        ),
        (
            "None of these",
            "any SDK: a base URL and a key",
            "an API key",
            "narrow it to actions, models, networks",
            "keys.md",
        ),
    )
    for number, (question, example, answer, why, page) in enumerate(questions):
        y = 20 + 88 * number
        it.box(20, y, 370, 60, question, example)
        it.box(500, y, 380, 60, f"{answer}  ({page})", why, kind="good")
        it.arrow((390, y + 30), (500, y + 30), label="yes" if number < 4 else "then")
        if number < 4:
            it.arrow((205, y + 60), (205, y + 88), label="no", at=(222, y + 78))
    return it


def tree() -> Picture:
    it = Picture(900, 430, "The tree of a log, its checkpoints, and the proofs")
    leaves = ("decided", "completed", "change", "decided")
    for number, kind in enumerate(leaves):
        it.box(30 + 130 * number, 300, 110, 50, f"leaf {number}", kind, kind="proof" if number == 2 else "store")
    for number in range(2):
        it.box(
            95 + 260 * number, 200, 110, 44, f"hash {2 * number}–{2 * number + 1}", kind="good" if number == 0 else ""
        )
    it.box(225, 100, 110, 44, "root, size 4", kind="ours")
    for left in (85, 215, 345, 475):
        parent = 150 if left < 280 else 410
        it.arrow((left, 300), (parent + (-25 if left in (85, 345) else 25), 246))
    it.arrow((150, 200), (255, 146))
    it.arrow((410, 200), (305, 146))
    it.box(30, 20, 240, 44, "checkpoint: signed root", kind="ours")
    it.box(300, 20, 240, 44, "an older one, kept elsewhere")
    it.arrow((265, 100), (190, 66))
    it.text(290, 380, "Each leaf is one entry. Inner hashes cover the two below; the root covers all.")
    it.text(290, 400, "To prove leaf 2 it is enough to give leaf 3's hash and hash 0–1.")
    for number, (title, *lines) in enumerate(
        (
            ("whole log + public key", "every entry is whole, in order, closed,", "and under a signature"),
            ("proof of an entry", "this entry is in the signed log,", "unchanged; no copy is needed"),
            ("proof of growth", "the log of then is the beginning", "of the log of now: nothing was rewritten"),
            ("none of them shows", "that this head is the newest one:", "keep checkpoints elsewhere"),
        )
    ):
        it.box(590, 20 + 92 * number, 290, 78, title, *lines, kind="bad" if number == 3 else "good")
    return it


def reservation() -> Picture:
    it = Picture(880, 330, "A reservation of one call, over time")
    base = 230
    it.arrow((40, base), (850, base))
    it.text(840, base + 20, "time")
    it.parts.append('<line class="limit" x1="40" y1="60" x2="850" y2="60"/>')
    it.text(850, 52, "the limit: spent and reserved together never exceed it", anchor="end")
    it.box(70, 170, 130, 60, "spent before", kind="store")
    for left, title, line, height, kind in (
        (230, "reserved", "input + output limit", 90, "ours"),
        (430, "reserved", "while the call runs", 90, "ours"),
        (650, "settled", "what was used", 40, "good"),
    ):
        it.box(left, 170, 170, 60, "spent before", kind="store")
        it.box(left, 170 - height, 170, height, title, line, kind=kind)
    for x, text in (
        (135, "before"),
        (315, "decided: durable"),
        (515, "forwarded, relayed"),
        (735, "completed: durable"),
    ):
        it.text(x, base + 20, text)
    it.text(40, 284, "A second call that does not fit above is refused with 429 limit_exceeded.", "title", "start")
    it.text(
        40,
        306,
        "If the process dies, recovery settles at all that was reserved: counted too much, never too little.",
        anchor="start",
    )
    return it


def attempts() -> Picture:
    it = Picture(900, 380, "A route, its attempts and their breakers")
    it.box(20, 40, 160, 70, "request", "/chat/v1/…", "a route's name")
    it.box(240, 40, 190, 70, "first tier", "openai:3, groq:1", "drawn by weight", kind="ours")
    it.box(490, 40, 170, 70, "breaker of it", "closed, or the probe", "after the pause", kind="ours")
    it.box(720, 40, 160, 70, "attempt", "judged and recorded", "by itself", kind="ours")
    it.arrow((180, 75), (240, 75))
    it.arrow((430, 75), (490, 75))
    it.arrow((660, 75), (720, 75))
    it.box(720, 180, 160, 60, "answer", "relayed as it comes", kind="good")
    it.arrow((800, 110), (800, 180), label="bytes", at=(822, 150))
    it.box(490, 180, 170, 60, "no byte came", "and it may be repeated", kind="bad")
    it.arrow((720, 100), (575, 180), label="failed", at=(668, 150))
    it.box(240, 180, 190, 60, "next upstream", "same tier, then the next", kind="ours")
    it.arrow((490, 210), (430, 210))
    it.arrow((335, 180), (335, 112), label="again", at=(356, 150))
    it.arrow((540, 110), (430, 185), label="open", at=(470, 138))
    it.box(240, 290, 190, 60, "none is left", "502, or 504 if time is up", kind="bad")
    it.arrow((335, 240), (335, 290))
    it.box(
        490,
        290,
        390,
        60,
        "a breaker opens after failures in a row",
        "of two agents, or of connections; else for one agent alone",
    )
    it.arrow((575, 240), (575, 290), label="counted", at=(604, 270))
    it.text(20, 150, "upstream_total_timeout", "mono", "start")
    it.text(20, 168, "bounds all attempts", anchor="start")
    return it


def bindings() -> Picture:
    it = Picture(900, 380, "Organization, team, agent, and the bundles that are bound to them")
    it.frame(20, 20, 520, 340, "organization: its own log, upstreams, limits")
    it.frame(50, 100, 460, 240, "team: owner, state, limits")
    it.box(
        80,
        150,
        400,
        60,
        "agent: owner, purpose, expiry, capabilities, labels",
        "its version is in each decision",
        kind="ours",
    )
    for number, (name, line) in enumerate((("key", "narrowed"), ("public key", "signs"), ("SPIFFE ID", "certificate"))):
        it.box(80 + 138 * number, 260, 124, 50, name, line)
        it.arrow((142 + 138 * number, 260), (142 + 138 * number, 212))
    it.box(620, 40, 260, 56, "guard: baseline", "can only deny and limit", kind="bad")
    it.box(620, 130, 260, 56, "grant: research", "may allow", kind="good")
    it.box(620, 220, 260, 56, "shadow: research-next", "recorded, decides nothing")
    it.arrow((620, 68), (542, 68), label="bound to", at=(582, 60))
    it.arrow((620, 150), (600, 150), (600, 125), (512, 125), label="bound to", at=(560, 118))
    it.arrow((620, 248), (570, 248), (570, 190), (482, 190))
    it.text(620, 312, "Every grant must allow, none may", "title", "start")
    it.text(620, 332, "deny, and one must be bound.", "title", "start")
    it.text(620, 354, "Of several caps the smallest holds.", anchor="start")
    return it


def pipeline() -> Picture:
    it = Picture(900, 460, "One rule on its way through the engine")
    steps = (
        (
            "text",
            "allow if { some grant in data.grants; grant.user == input.user; grant.action == lower(input.action) }",
        ),
        ("syntax/: lexer, parser", "a tree of one rule with a body of three expressions"),
        (
            "compiler/: names, calls",
            "data.authz.allow; `grant` is a variable, `lower` a builtin, input and data documents",
        ),
        ("compiler/: expand", "x := lower(input.action); grant.action == x"),
        ("compiler/: safety", "`grant` and `x` are bound before the comparisons need them"),
        ("compiler/: dynamic, types", "the normal form; each operand has a type, and one that cannot fit is an error"),
        ("codegen/: index, joins", "`grant.user == input.user` becomes a look-up in a table of grants by user"),
        ("codegen/: Python", "for v5 in joined(q, v2, j1, 0, (v4, )): …"),
        ("decision", "true, false or undefined, with its work charged and the clock looked at"),
    )
    for number, (stage, form) in enumerate(steps):
        y = 16 + 48 * number
        it.box(20, y, 220, 36, stage, kind="good" if number in (0, 8) else "ours")
        it.text(256, y + 23, form, "mono" if number in (0, 3, 7) else "small", "start")
        if number:
            it.arrow((130, y - 12), (130, y))
    return it


PICTURES: tuple[Callable[[], Picture], ...] = (
    overview,
    processes,
    request,
    activation,
    credentials,
    tree,
    reservation,
    attempts,
    bindings,
    pipeline,
)


def draw() -> dict[Path, str]:
    """Each file with what it must hold."""
    return {HERE / f"{each.__name__}.svg": each().svg() for each in PICTURES}


if __name__ == "__main__":
    for path, text in draw().items():
        path.write_text(text, "utf-8")
        print(path)
