"""A request in the words of its provider: the `Call` that a policy judges and the log records.

Only plain data lives here, parsed already and never changed. The provider's `read` makes a `Call` of bytes
(`gateway/upstream/providers/`); `gateway/policy/input.py` shows it to policies, and `gateway/dataplane/evidence.py`
to the log. Specification: architecture.md, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from gateway.body import Body
from gateway.frozen import frozen

WITHOUT_OUTPUT_LIMIT: Final = frozenset({"responses.compact"})
"""Actions whose answer is a text of any length: no member of the request limits it."""

AMOUNT: Final = "amount_microusd"
"""The parameter of a message to an agent that says what it is worth, such as the price of an order.

The client writes it into the message's `metadata`. Limits on money count it.
"""
MOST_AMOUNT: Final = 2**53 - 1


@frozen()
class Tool:
    """A tool offered to the model. Its type is kept, so that a hosted tool is not a function of that name.

    A hosted tool, which the provider runs itself, has the empty name. `server` says where an MCP server is.
    """

    type: str
    name: str
    server: str = ""


@frozen()
class Reference:
    """State on the provider's side that a call names or an answer creates: an uploaded file, a stored completion."""

    kind: str
    id: str


@frozen()
class CalledTool:
    """A tool of an MCP server that a call names. `untrusted` is what the server says of it, `digest` is over that.

    `state` is that of its pin (`mcp/pins.py`), and `approved` says that the gateway lets it be called. `arguments` are
    content; None if nobody knows them, as when a list of tools is judged.
    """

    server: str
    name: str
    digest: str
    state: str
    approved: bool
    untrusted: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] | None = None
    # The answer of a model that has proposed this call (`runtime/proposals.py`); None if nobody has.
    proposed_by: Mapping[str, Any] | None = None


@frozen()
class NamedPrompt:
    """A prompt of an MCP server that a call names. `arguments` are content."""

    name: str
    arguments: Mapping[str, Any] | None = None


@frozen()
class Call:
    """One request in the words of its provider. Immutable: an obligation makes a new one from the changed body.

    `body` is the parsed object and `raw` the bytes that say the same and will be forwarded; they are on disk if there
    are many. Both are shared with the
    policies and the log and must not be mutated. A request without a body has `body=None` and `raw=b""`.
    """

    action: str
    upstream: str
    provider: str
    method: str
    # Without the upstream's name, if the client wrote it.
    path: str
    raw: Body
    body: dict[str, Any] | None
    # The kind of `raw`. For a form, `body` has the fields, and of each file its name, type and size.
    content_type: str = "application/json"
    model: str | None = None
    # Every model that the provider may use, each once and `model` first: a call can name others to fall back on.
    models: tuple[str, ...] = ()
    # The parameters of the route; of a JSON API those of the query and the members of the body, too. Of images, audio
    # and uploads the short members by which calls differ, such as `size` and `purpose`.
    params: Mapping[str, Any] = field(default_factory=dict)
    # Other settings for the provider: the query and members of the body. Policies see them beside the parameters.
    settings: Mapping[str, Any] = field(default_factory=dict)
    # The query that goes upstream after the `?`.
    query: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    # The output limit that the call asks for and the upstream honours; None where there is none.
    max_output_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    # The role of each message, in order.
    roles: tuple[str, ...] = ()
    messages: int = 0
    # SHA-256 (hex) of every system, developer or instructions text, in order.
    system_prompts: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    # The provider keeps something of this call that a later call can refer to.
    stores: bool = False
    # Kinds of content besides text that go in or are asked for: `image`, `audio`, `file`, `video`; sorted, each once.
    modalities: tuple[str, ...] = ()
    # Features of the provider that the client switches on by a header, in order.
    betas: tuple[str, ...] = ()
    # The tier in which the provider shall serve it, as prices name it, such as `fast`; empty for the usual way, None
    # for any.
    service_tier: str | None = ""
    # Of a call to an MCP server: the tool, the prompt or the URI of the resource that it names, in its parts.
    tool: CalledTool | None = None
    prompt: NamedPrompt | None = None
    uri: Mapping[str, str] | None = None
    # The agent that is called, as policies see it: what the registry says of it; None in all other calls.
    agent: Mapping[str, Any] | None = None
    # The mandate under which its agent acts, as policies see it; None if it names none.
    mandate: Mapping[str, Any] | None = None
    # How such a call is asked: its method, the revision of the protocol, and what the client says of itself.
    protocol: Mapping[str, Any] | None = None
    # The id by which its client will know the answer, in protocols that have one; refusals repeat it.
    message_id: str | int | None = None
    # Its client takes the status of a refusal for a fault of the connection, and gives that up: it gets 200.
    as_answer: bool = False
    # Its upstream speaks another era of the protocol than the client, so it is sent, and answered, in other words.
    translated: bool = False


@frozen()
class Usage:
    """Tokens as the provider reported them. `input` holds all that is billed as input, `output` all as output.

    The input includes `cached`, read from the provider's cache, and `cache_write`, written to it, of which
    `cache_write_1h` are kept for an hour; of the output, `reasoning` are the model's thoughts. `audio_input` and
    `audio_output` are parts of theirs, as are those of images and videos.
    """

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    cache_write_1h: int = 0
    video_input: int = 0
    video_output: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(getattr(self, name) + getattr(other, name) for name in COUNTS))

    def less(self, other: Usage) -> Usage:
        """The rest of it without a part."""
        return Usage(*(max(0, getattr(self, name) - getattr(other, name)) for name in COUNTS))


COUNTS: Final = tuple(Usage.__annotations__)
"""The members of `Usage`."""
