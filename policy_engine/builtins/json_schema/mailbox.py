"""Whether text is one e-mail address as Go's `net/mail` takes it: RFC 5322 with names, comments, quotes and groups."""

from __future__ import annotations

import re
from typing import Final, NoReturn

from policy_engine.builtins import net
from policy_engine.builtins.octets import SURROGATES

_NOT_IN_ATOMS: Final = frozenset('<>":()[];@\\,')
_ENCODED: Final = re.compile(r"=\?([^?]+)\?[qQbB]\?[^?]*\?=")
_CHARSETS: Final = frozenset({"utf-8", "iso-8859-1", "us-ascii"})


class _NoMailbox(Exception):
    pass


def is_mailbox(text: str) -> bool:
    if SURROGATES.search(text):
        return False
    reader = _Reader(text)
    try:
        count = reader.address(group=True)
        reader.comments()
    except _NoMailbox:
        return False
    return count == 1 and reader.at == len(text)


def _visible(char: str) -> bool:
    return "!" <= char <= "~" or char >= "\x80"


class _Reader:
    """The text and how far it is read. Everything that does not fit raises `_NoMailbox`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self) -> NoReturn:
        raise _NoMailbox

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, char: str) -> bool:
        taken = self.peek() == char
        self.at += taken
        return taken

    def expect(self, char: str) -> None:
        if not self.take(char):
            self.fail()

    def space(self) -> None:
        while self.peek() in (" ", "\t"):
            self.at += 1

    def comments(self) -> None:
        """White space and comments, any number."""
        self.space()
        while self.take("("):
            self.comment()
            self.space()

    def comment(self) -> None:
        """What follows an opening parenthesis, up to the closing one."""
        depth = 1
        while depth:
            char = self.peek()
            if not char:
                self.fail()
            self.at += 1
            if char == "\\":
                self.at += 1
            depth += (char == "(") - (char == ")")

    def address(self, *, group: bool) -> int:
        """One address, or a group where one is allowed; returns how many addresses there were."""
        self.space()
        if not self.peek():
            self.fail()
        start = self.at
        try:
            self.specification()
        except _NoMailbox:
            self.at = start
        else:
            self.space()
            if self.take("("):
                self.comment()
            return 1
        if self.peek() != "<":
            self.phrase()
        self.space()
        if group and self.take(":"):
            return self.group()
        self.expect("<")
        self.specification()
        self.expect(">")
        return 1

    def group(self) -> int:
        count = 0
        self.space()
        if self.take(";"):
            self.comments()
            return count
        while True:
            self.space()
            count += self.address(group=False)
            self.comments()
            if self.take(";"):
                self.comments()
                return count
            self.expect(",")

    def specification(self) -> None:
        """local@domain"""
        self.space()
        if self.peek() == '"':
            if not self.quoted():
                self.fail()
        else:
            self.atom()
        self.expect("@")
        self.space()
        if self.peek() == "[":
            self.literal()
        else:
            self.atom()

    def quoted(self) -> bool:
        """A quoted string; says whether anything is in it."""
        self.expect('"')
        start = self.at
        while True:
            char = self.peek()
            if not char:
                self.fail()
            self.at += 1
            if char == '"':
                return self.at - start > 1
            if char == "\\":
                char = self.peek()
                self.at += 1
            if not char or not (_visible(char) or char in " \t"):
                self.fail()

    def atom(self, *, in_name: bool = False) -> None:
        """Characters and dots. Outside of names a dot may not begin or end it, nor follow another.

        In a name it may be an encoded word (RFC 2047), then in one of the character sets that Go knows.
        """
        start = self.at
        while (char := self.peek()) and _visible(char) and char not in _NOT_IN_ATOMS:
            self.at += 1
        found = self.text[start : self.at]
        if not found or (not in_name and (found[0] == "." or found[-1] == "." or ".." in found)):
            self.fail()
        if in_name and (encoded := _ENCODED.fullmatch(found)) and encoded.group(1).lower() not in _CHARSETS:
            self.fail()

    def phrase(self) -> None:
        """One word or more; where the next one does not fit, the phrase ends."""
        words = 0
        while True:
            if words:
                self.comments()
            self.space()
            start = self.at
            try:
                if self.peek() == '"':
                    self.quoted()
                else:
                    self.atom(in_name=True)
            except _NoMailbox:
                if not words:
                    raise
                self.at = start
                return
            words += 1

    def literal(self) -> None:
        """An IP address in brackets."""
        self.expect("[")
        address, _, _ = self.text[self.at :].partition("]")
        self.at += len(address)
        self.expect("]")
        if not net.is_address(address):
            self.fail()
