"""`gateway teams`, and what the register says of an agent besides what policies see."""

from __future__ import annotations

from tests.gateway.conftest import Home, Run


def test_teams(at: Run, home: Home) -> None:
    done = at("teams", "create", "support", "--owner", "dana@example.com", "--reason", "new")
    assert (done.code, done.out.startswith("created team support (tem_")) == (0, True)
    assert "team `support` exists already: to change it" in at("teams", "create", "support").complains()
    assert at("teams", "update", "support", "--description", "First level.").out.endswith("now version 2\n")
    assert at("teams", "update", "support", "--owner", "dana@example.com").out == "team support is like that already\n"
    assert "unknown team `suport`: did you mean `support`?" in at("teams", "show", "suport").complains()
    registered = at("agents", "register", "bot", "--team", "suport")
    assert "team suport is new (did you mean `support`?): say whose it is" in registered.err
    assert "team" not in at("agents", "register", "other", "--team", "support").err
    shown = at("teams", "show", "support", "--json").json
    assert (shown["owner"], shown["agents"], shown["status"]) == ("dana@example.com", ["other"], "active")
    assert "First level." in at("teams", "show", "support").out


def test_what_the_register_says_of_an_agent(at: Run, home: Home) -> None:
    at("agents", "register", "boss")
    at(
        *("agents", "register", "bot", "--purpose", "answers customers", "--description", "A bot.", "--parent", "boss"),
        *("--model-family", "gpt-4o", "--expires", "90d", "--reason", "asked for by dana"),
    )
    shown = at("agents", "show", "bot").out
    for text in ("answers customers", "A bot.", "boss (agt_", "gpt-4o", "expires"):
        assert text in shown
    assert at("agents", "update", "bot", "--expires", "never", "--parent", "", "--purpose", "").code == 0
    now = at("agents", "show", "bot", "--json").json
    assert (now["expires"], now["parent"], now["purpose"]) == (None, None, "")
    assert now["versions"][0]["reason"] == "asked for by dana"
    for text in ("soon", "2020-01-01", "0d"):
        line = at("agents", "update", "bot", "--expires", text).complains()
        assert "write 90d, 2027-06-30" in line or "must expire in the future" in line
    assert at("agents", "retire", "bot", "--reason", "replaced").out.startswith("retired agent bot (agt_")
    assert at("agents", "retire", "bot").out == "agent bot is retired already\n"
    assert "agent `bot` is retired: a retired agent cannot come back" in at("agents", "resume", "bot").complains()
    assert [each["status"] for each in at("agents", "list", "--json").json] == ["active", "retired"]
