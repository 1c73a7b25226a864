"""One commit of the policies repository: its files, what it changes, its check, and proposing a change of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.control.dashboard import sources
from gateway.control.dashboard.door import View
from gateway.control.dashboard.shown import Found, Redirect, Shown, ShownPage
from gateway.control.dashboard.tables import command_line, options
from gateway.control.problems import Problem

_LONGEST: Final = 64 * 1024
"""The longest texts that are edited in a form, together."""
_FORM_BYTES: Final = 256 * 1024
_MOST_FILES: Final = 50
_KINDS: Final = {"+": "more", "-": "less", "@": "place"}


async def _commit(view: View) -> Any:
    return await view.get_all("policies", "commits", view.path["commit"])


def _command(view: View, *words: str) -> str:
    return command_line(view, "policies", *words, of_organization=False)


async def one(view: View) -> Found:
    """A commit with its bundles and what it changes."""
    found = await _commit(view)
    values = {
        "found": found,
        "changed": await _differences(view, found["commit"], None),
        "command": _command(view, "show", found["commit"][:12]),
        "compare": _command(view, "diff", found["commit"][:12]),
        "retry": view.link("policies", "commits", found["commit"], "check"),
    }
    return Shown("commit.html", f"Commit {found['commit'][:12]}", values)


async def checked(view: View) -> Found:
    """The check, run now: it takes seconds."""
    found = await _commit(view)
    report = await view.get_all("policies", "commits", found["commit"], "check")
    values = {
        "found": found,
        "report": report,
        "problems": _placed(report["problems"]),
        "command": _command(view, "show", found["commit"][:12], "--check"),
    }
    return Shown("commit_check.html", "Check", values)


async def changes(view: View) -> Found:
    """Two commits compared."""
    found = await _commit(view)
    since = view.query.get("since", "").strip() or None
    known = await view.get_all("policies", "commits", limit=50)
    values = {
        "found": found,
        "since": since or "",
        "known": known,
        "changed": await _differences(view, found["commit"], since),
        "command": _command(view, "diff", found["commit"][:12], *options(since=since)),
    }
    return Shown("commit_changes.html", "Differences", values)


async def file(view: View) -> Found:
    """A file with its lines, as a commit has it."""
    found = await view.get_all("policies", "commits", view.path["commit"], "files", view.path["file"])
    text = found["text"]
    lines = [] if text is None else list(sources.lines(text, "l").values())
    values = {
        "found": found,
        "lines": lines,
        "may": view.may("policies", write=True),
        "command": _command(view, "show", found["commit"][:12], found["file"]),
    }
    return Shown("commit_file.html", found["file"], values)


async def edit(view: View) -> Found:
    """The form with the texts of a file and of the others of its bundle, which often change with it."""
    commit, before = await _texts(view)
    if commit != view.path["commit"]:  # a branch may move while somebody writes
        return Redirect(view.link("policies", "commits", commit, "edit", view.path["file"]))
    if view.path["file"] not in before:
        detail = f"`{view.path['file'][:200]}` is no text of this commit, or too long for a form"
        raise Problem(404, "not_editable", detail, hint="change it with git, or with gateway policies propose")
    return _form(view, before, before, None)


async def propose(view: View) -> Found:
    """Check what was written and, unless that was all, commit it on a branch of its own."""
    commit, before = await _texts(view)
    texts = _written(view.form, before)
    body = {
        "branch": view.form.get("branch", "").strip(),
        "base": commit,
        "files": {file: text for file, text in texts.items() if text != before.get(file)},
        "message": view.form.get("message", "").strip(),
        "check_only": view.form.get("act") == "check",
    }
    try:
        made = await view.send_all("POST", "policies", "proposals", body=body)
    except Problem as problem:
        if problem.status not in (409, 422):
            raise
        return _form(view, before, texts, None, problem)
    if made["commit"] is None:
        return _form(view, before, texts, made)
    values = {
        "made": made,
        "changed": shown_differences(made["differences"]),
        "merge": f"git merge {made['branch']}",
        "command": _command(view, "show", made["branch"], "--check"),
    }
    return Shown("proposal_made.html", "Proposed", values, status=201)


async def _texts(view: View) -> tuple[str, dict[str, str]]:
    """The commit, and the texts of the bundle that the page's file is of, that file first, as far as a form takes."""
    file = view.path["file"]
    found = await view.get_all("policies", "commits", view.path["commit"], "bundles", file.partition("/")[0])
    texts = {each["file"]: each["text"] for each in found["files"] if each["text"] is not None}
    kept: dict[str, str] = {}
    for name in sorted(texts, key=lambda each: (each != file, each)):
        if sum(map(len, kept.values())) + len(texts[name]) <= _LONGEST:
            kept[name] = texts[name]
    return found["commit"], kept


def _written(form: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """The texts of a form by their files. A browser sends lines with both ends, whatever ends they had."""
    found = dict(before)
    for number in range(_MOST_FILES):
        file, text = form.get(f"file.{number}", "").strip(), form.get(f"text.{number}")
        if file and text is not None and (text or file in before):
            found[file] = text if "\r\n" in before.get(file, "") else text.replace("\r\n", "\n")
    return found


def _form(
    view: View,
    before: Mapping[str, str],
    texts: Mapping[str, str],
    made: Mapping[str, Any] | None,
    problem: Problem | None = None,
) -> Shown:
    file, commit = view.path["file"], view.path["commit"]
    changed = [name for name, text in texts.items() if text != before.get(name)]
    branch = view.form.get("branch", "").strip()
    words = ["propose", *(changed or [file]), "--base", commit[:12], "--branch", branch or "NAME"]
    values = {
        "file": file,
        "commit": commit,
        "texts": texts,
        "open": {file, *changed},
        "given": {"branch": branch, "message": view.form.get("message", "")},
        "made": made,
        "problem": problem,
        "problems": [] if made is None else _placed(made["problems"]),
        "changed": [] if made is None else shown_differences(made["differences"]),
        "command": _command(view, *words),
    }
    status = 422 if problem or (made and made["problems"]) else 200
    return Shown("commit_edit.html", "Propose a change", values, status=status)


async def _differences(view: View, commit: str, since: str | None) -> Any:
    """The differences, or why they are not shown."""
    try:
        found = await view.get_all("policies", "commits", commit, "changes", since=since)
    except Problem as problem:
        if problem.code != "too_many_differences":
            raise
        return {"since": since, "files": [], "problem": problem.detail}
    return {**found, "files": shown_differences(found["files"]), "problem": ""}


def shown_differences(files: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Differences by lines, each with what it is."""
    shown = []
    for each in files:
        listed = each["text"].splitlines()[2:]
        lines = [(_KINDS.get(line[:1], "same"), line[:2000]) for line in listed]
        shown.append({**each, "lines": lines})
    return shown


def _placed(problems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Findings with their lines, the one that is meant marked."""
    shown = []
    for number, each in enumerate(problems, 1):
        found = sources.lines("\n".join(each["lines"]) + "\n", f"p{number}", each["first"]) if each["lines"] else {}
        if each["line"] in found:
            found[each["line"]].add("failed", each["values"])
        shown.append({**each, "shown": list(found.values())})
    return shown


PAGES = [
    ShownPage("policies/commits/{commit}", one),
    ShownPage("policies/commits/{commit}/check", checked),
    ShownPage("policies/commits/{commit}/changes", changes),
    ShownPage("policies/commits/{commit}/files/{file}", file),
    ShownPage("policies/commits/{commit}/edit/{file}", edit),
    ShownPage("policies/commits/{commit}/edit/{file}", propose, changes=True, most_bytes=_FORM_BYTES),
]
