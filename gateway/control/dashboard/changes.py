"""Changes as pages, described by data: an operation, the members of its body that are asked for, and the consequence.

    Form("teams/{team}/suspend", "POST /teams/{team}/suspend", title="Suspend team {name}", verb="Suspend", …)

A form and what it does have one address. Its inputs follow from the operation's body, so there is no rule about them
here: the operation refuses what is wrong, and the form is shown again with what was typed. A form that shows a thing
sends the version that the person has seen.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

from gateway.control import operations
from gateway.control.dashboard import forms
from gateway.control.dashboard.door import OperationReply, View
from gateway.control.dashboard.forms import Act, Field
from gateway.control.dashboard.shown import Found, Redirect, Shown, ShownPage
from gateway.control.dashboard.tables import command_line
from gateway.control.operation import Operation
from gateway.control.problems import Problem

_SHOWN_AGAIN: Final = (400, 409, 412, 422)
"""Refusals that the person can do something about in the form."""
REASON: Final = "It stays in the audit log."

Known: TypeAlias = Mapping[str, Any]
"""The members of the thing that a form is about, or none, with the names in the page's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A member of the body that a form asks for, as far as it does not follow from the body's type."""

    name: str
    title: str = ""
    hint: str | None = None
    type: str = ""
    value: str = ""
    required: bool | None = None
    choices: Sequence[str] = ()
    times: int = 1
    """A number is written in a unit that has so many of the operation's."""
    null: bool = False
    """The body must have it, so nothing that was written is null."""
    read: Callable[[str], Any] | None = None
    show: Callable[[Any], str] | None = None


@dataclass(frozen=True)
class Form:
    """A change: its page, the operation that makes it, and what the person is told and asked before.

    Texts and commands name members of the thing in braces. `reads` is the path of the thing, `kept` are members that a
    replaced thing keeps, and `after` makes a page of the answer; otherwise the browser goes `back`. A form that is
    `everywhere` is about the whole gateway.
    """

    page: str
    operation: str
    title: str = field(kw_only=True)
    verb: str = field(kw_only=True)
    section: str = field(kw_only=True)
    back: str = field(kw_only=True)
    command: Sequence[str] | Callable[[Known], Sequence[str]] = field(kw_only=True)
    says: Sequence[str] = field(kw_only=True, default=())
    reads: str = field(kw_only=True, default="")
    asks: Sequence[str | Input] = field(kw_only=True, default=())
    fixed: Mapping[str, Any] = field(kw_only=True, default_factory=dict)
    kept: Sequence[str] = field(kw_only=True, default=())
    after: Callable[[View, Known, Any], Awaitable[Found]] | None = field(kw_only=True, default=None)
    danger: bool = field(kw_only=True, default=False)
    everywhere: bool = field(kw_only=True, default=False)

    @cached_property
    def _operation(self) -> Operation:
        return _operation(self.operation)

    @cached_property
    def _inputs(self) -> list[Input]:
        return [_completed(self._operation, each) for each in self.asks]

    async def ask(self, view: View) -> Found:
        """The page that says the consequence and asks."""
        thing = await self._thing(view)
        given = {} if self.reads else {each.name: view.query.get(each.name) for each in self._inputs}
        values = {each.name: given.get(each.name) or self._current(each, thing) for each in self._inputs}
        return self._page(view, thing, values)

    async def make(self, view: View) -> Found:
        """What the page's button does."""
        thing = await self._thing(view)
        body = dict(self.fixed)
        for name in self.kept:
            body[name] = (thing.document if thing else {}).get(name)
        query: dict[str, Any] = {} if self._operation.of_an_organization else {"organization": None}
        if self._operation.about == "home" or self.everywhere:
            query["organization"] = view.home
        replaces = self._operation.method in ("PATCH", "PUT")
        for each in self._inputs:
            if each.name in (self._operation.body.model_fields if self._operation.body else {}):
                body |= _read(each, view.form.get(each.name, ""), clears=replaces)
            else:
                query[each.name] = view.form.get(each.name) or None
        parts = _filled(self._operation.path, self._path(view))
        sent = body if self._operation.body else None
        match = view.form.get("seen", "") if self._operation.if_match else ""
        try:
            made = await view.send(self._operation.method, *parts, body=sent, match=match, **query)
        except Problem as problem:
            if problem.status not in _SHOWN_AGAIN:
                raise
            thing = await self._thing(view)
            changed = problem.status == 412
            typed = {each.name: view.form.get(each.name, "") for each in self._inputs if each.type != "password"}
            values = {each.name: self._current(each, thing) for each in self._inputs} if changed else typed
            return self._page(view, thing, values, problem)
        known = self._known(view, thing)
        if self.after is not None:
            return await self.after(view, known, made)
        return Redirect(self._back(view, known))

    @property
    def pages(self) -> list[ShownPage]:
        return [
            ShownPage(self.page, self.ask, everywhere=self.everywhere),
            ShownPage(self.page, self.make, changes=True, everywhere=self.everywhere),
        ]

    async def _thing(self, view: View) -> OperationReply | None:
        where = self.reads or self._operation.path.removeprefix("/")
        read = _operation(f"GET /{where}")
        organization = view.home if read.of_an_organization else None
        query = {} if self.reads else {"limit": 1}  # whoever may not read such things is told so before typing
        found = await view.read(*_filled(where, self._path(view)), organization=organization, **query)
        return found if self.reads else None

    def _path(self, view: View) -> dict[str, str]:
        return {"organization": view.organization, **view.path}

    def _known(self, view: View, thing: OperationReply | None) -> dict[str, Any]:
        found = {**self._path(view), **(thing.document if thing else {})}
        return {name: "none" if value in (None, "", []) else value for name, value in found.items()}

    def _current(self, asked: Input, thing: OperationReply | None) -> str:
        """The value that the thing has, as it is written in the form."""
        value = (thing.document if thing else {}).get(asked.name)
        if value is None or asked.type == "password" or asked.name == "reason":
            return asked.value
        if asked.show is not None:
            return asked.show(value)
        if isinstance(value, bool):
            return "true" if value else ""
        if isinstance(value, dict):
            return "\n".join(f"{name}={each}" for name, each in value.items())
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return str(value // asked.times if isinstance(value, int) else value)

    def _page(
        self, view: View, thing: OperationReply | None, values: Mapping[str, str], problem: Problem | None = None
    ) -> Shown:
        known = self._known(view, thing)
        said = self.command(known) if callable(self.command) else [each.format_map(known) for each in self.command]
        operation = self._operation
        if operation.about == "home" and view.home is not None and "--all" not in said:
            said = [*said, "--org", view.home]
        fields = [
            Field(
                name=each.name,
                title=each.title,
                value=values.get(each.name, ""),
                hint=each.hint or "",
                type=each.type,
                required=bool(each.required),
                choices=each.choices,
            )
            for each in self._inputs
        ]
        act = Act(
            title=self.title.format_map(known),
            verb=self.verb,
            consequence=[each.format_map(known) for each in self.says],
            command=command_line(view, *said, of_organization=operation.about == "tenant" and not self.everywhere),
            back=self._back(view, known),
            section=self.section,
            danger=self.danger,
            fields=fields,
            seen=thing.tag if thing and operation.if_match else "",
            problem=problem.document() if problem else None,
        )
        return act.page(problem.status if problem else 200)

    def _back(self, view: View, known: Known) -> str:
        return view.place(*_filled(self.back, known))


def verbs(page: str, forms_by_verb: Mapping[str, Form]) -> list[ShownPage]:
    """The pages of several forms that have one path but for its `{verb}`."""

    def chosen(view: View) -> Form:
        if (found := forms_by_verb.get(view.path["verb"])) is None:
            raise Problem(404, "unknown_page", "there is no such page", hint="go on from the page before")
        return found

    async def ask(view: View) -> Found:
        return await chosen(view).ask(view)

    async def make(view: View) -> Found:
        return await chosen(view).make(view)

    everywhere = any(each.everywhere for each in forms_by_verb.values())
    return [ShownPage(page, ask, everywhere=everywhere), ShownPage(page, make, changes=True, everywhere=everywhere)]


def pages_of(all_forms: Sequence[Form]) -> list[ShownPage]:
    return [page for each in all_forms for page in each.pages]


def _operation(where: str) -> Operation:
    noun = where.split("/")[1]
    return next(each for _, each in operations.table(noun) if each.where == where)


def _filled(path: str, names: Known) -> list[str]:
    """The parts of a path, with the names in braces."""
    return [str(names[each[1:-1]]) if each[0] == "{" else each for each in path.split("/") if each]


def _completed(operation: Operation, asked: str | Input) -> Input:
    """An input with what the body of the operation says of it."""
    given = Input(name=asked) if isinstance(asked, str) else asked
    found = (operation.body or operation.query).model_fields.get(given.name) or operation.query.model_fields.get(
        given.name
    )
    assert found is not None, (operation.where, given.name)
    kind = _bare(found.annotation)
    choices: Sequence[str] = given.choices
    if not choices and get_origin(kind) is Literal:
        choices = get_args(kind)
    value = given.value or (choices[0] if choices else "")
    required = found.is_required() and kind is not bool and not choices
    return Input(
        name=given.name,
        title=given.title or given.name.replace("_", " ").capitalize(),
        hint=REASON if given.name == "reason" and given.hint is None else _hint(given, found.description),
        type=given.type or _type(kind),
        value=value,
        required=required if given.required is None else given.required,
        choices=choices,
        times=given.times,
        null=found.is_required() and given.required is False,
        read=given.read,
        show=given.show,
    )


def _hint(given: Input, description: str | None) -> str:
    return (description or "") if given.hint is None else given.hint


def _bare(annotation: Any) -> Any:
    """The type without `Annotated` and without None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        (kind, *_) = [each for each in get_args(annotation) if each is not type(None)]
        return _bare(kind)
    return annotation


def _type(kind: Any) -> str:
    if kind is bool:
        return "checkbox"
    if kind is int:
        return "number"
    if get_origin(kind) is list:
        return "words"
    return "lines" if get_origin(kind) is dict else "text"


def _read(asked: Input, text: str, *, clears: bool) -> dict[str, Any]:
    """The member of the body; none if nothing was written, unless an empty one `clears` what there is."""
    text = text.strip() if asked.type != "password" else text
    name = asked.name
    if asked.type == "checkbox":
        return {name: text == "true"}
    if name == "reason":
        return {name: text}
    if not text:
        if asked.read is not None:
            return {name: []}
        if asked.type == "words":
            return {name: []} if clears else {}
        if asked.type == "lines":
            return {name: {}}
        if asked.required:
            return {name: None if asked.type == "number" else ""}
        return {name: None} if clears or asked.null else {}
    if asked.read is not None:
        return {name: asked.read(text)}
    if asked.type == "number":
        return {name: int(text) * asked.times if re.fullmatch(r"\d{1,15}", text) else text}
    if asked.type == "words":
        return {name: forms.words(text)}
    if asked.type == "lines":
        pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
        return {name: {key.strip(): value.strip() for key, _, value in pairs}}
    return {name: text}


def once(member: str, what: str, back: str) -> Callable[[View, Known, Any], Awaitable[Found]]:
    """The page of a secret that is shown once, if the answer has one."""

    async def shown(view: View, known: Known, made: Any) -> Found:
        values = {"secret": made.get(member), "what": what, "back": view.place(*_filled(back, known))}
        return Shown("secret.html", f"A new {what}", values, 201)

    return shown
