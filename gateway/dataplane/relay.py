"""Step 8 of a request: relay the answer's bytes as they arrive, except its end, which waits for the closing record."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from starlette.types import Send

from gateway.dataplane import evidence, upstream_errors
from gateway.dataplane.admission import holders_of
from gateway.dataplane.beside import beside
from gateway.dataplane.held_bytes import Holding
from gateway.dataplane.phases import Carried
from gateway.dataplane.produced import Produced
from gateway.dataplane.reading import LARGE_BODY
from gateway.errors import Denied
from gateway.identity.peers import RECEIPT_HEADER
from gateway.outbound.connection import Answer
from gateway.shares import Shares
from gateway.upstream import answer_headers, quoted_secrets, sse
from gateway.upstream.answer_headers import Headers
from gateway.upstream.guards import Sighting, WholeTap
from gateway.upstream.proposed import ProposalReader
from gateway.upstream.providers import rejections
from gateway.upstream.providers.base import AnswerHead
from gateway.upstream.taps import Tap
from gateway.usage.reservation import CallReservation

# A tap may hold this much of an answer without counting: every call needs some.
_FREE = 64 * 1024
# After its terminal event a stream may take this long to end its body; then it is closed.
_AFTER_THE_END = 0.5
_MAX_REST = 64 * 1024
# So long a stream whose client has left runs on under limits on tokens or money: where the provider stops when its
# connection is closed, until what is on its way has come and its pace is known; and elsewhere, where all of it will be
# charged in any case, until it says how much that is.
_FOR_THE_PACE = 1.0
_FOR_USAGE = 10.0
# A chunk may hold a hundred thousand events. The tap is fed pieces of it, and others get a turn after this time.
_PIECE = 2 * 1024
_TURN = 0.002


def _counted(reservation: CallReservation | None) -> Produced | None:
    """The counter of a stream, where what has come of it says what it can be charged at."""
    seen = reservation is not None and reservation.worst is not None and reservation.worst.seen
    return Produced() if seen else None


class Relay:
    """Relays one answer, but for the bytes that the tap holds back until step 9 is done.

    `holding` is for what the tap holds of the answer until `run` returns, `turns` those of long judgements, `note`
    for tools in a list that are not as they were approved.
    """

    def __init__(self, carried: Carried, holding: Holding, turns: Shares, send: Send, note: Sighting) -> None:
        self._carried, self._observed = carried, carried.admitted.observed
        match = carried.admitted.match
        self._turns = turns
        self._note = note
        self._holding = holding
        self._destination = match.destination
        self._provider = match.destination.provider
        self._send = send
        self._streaming = False
        self._head: Headers = []
        self._tail = b""
        self._runs = False
        self.begun = False

    async def run(self, answer: Answer) -> str:
        """Relay all but the end; returns how the answer ended. Raises `Denied` where the upstream breaks off."""
        carried, observed = self._carried, self._observed
        if answer.status >= 400:
            await self._without_key(answer)
        given = answer.header(b"content-type")
        kind = given.partition(b";")[0].strip().lower()
        tap = self._provider.tap(carried.sent, AnswerHead(answer.status, answer.headers, kind))
        guarded = carried.guarded if answer.status < 400 else None
        listed = None if guarded is None else guarded.tap(kind, self._note)
        tap = listed or tap
        observed.report = tap.report
        self._streaming = tap.streaming
        held = tap if isinstance(tap, WholeTap) else None
        self._head = self._response_head(answer, whole=not (tap.streaming or held))
        digest = evidence.BodyDigest(carried.admitted.salt, "response_body")
        said: list[bytes] | None = [] if upstream_errors.telling(answer.status) else None
        proposing = None
        if carried.offers_tools and answer.status < 400:
            proposing = ProposalReader(streaming=tap.streaming)
        if (keeping := carried.keeping) is not None:
            keeping.begin_answer(given.decode("latin-1"))
        if tap.streaming:
            await self._begin()
            if answer.status < 400:
                self._runs, carried.produced = True, _counted(carried.reservation)
        produced = carried.produced
        try:
            while chunk := await answer.read():
                if observed.first_byte_ns is None:
                    observed.first_byte_ns = time.monotonic_ns()
                carried.response_bytes += len(chunk)
                digest.update(chunk)
                if produced is not None:
                    produced.add(chunk)
                if said is not None:
                    said.append(chunk[: rejections.MAX_BYTES + 1])
                    if carried.response_bytes > rejections.MAX_BYTES:
                        said = None
                if keeping is not None:
                    keeping.add(chunk)
                if proposing is not None:
                    proposing.feed(chunk)
                await self._pass(tap, chunk, answer.complete)
                if tap.ended and not answer.complete:
                    await self._take_rest(answer, tap, digest)
                    break
        except sse.EventTooLargeError:
            raise Denied("upstream_error", "an unfinished event of the stream has too many bytes or lines") from None
        finally:
            carried.response_commitment = digest.hexdigest()
            try:
                slow = listed is not None or (held is not None and held.kept > LARGE_BODY)
                self._tail = await self._finish(tap) if slow else tap.finish()
            finally:  # all requests share what is held
                self._holding.release()
        if proposing is not None:
            carried.proposed = proposing.finish()
        if listed is not None:
            carried.detail = carried.detail or listed.remark
        if held is not None and len(self._tail) == carried.response_bytes:
            self._head = self._response_head(answer, whole=True)
        if answer.status >= 400:
            self._tell_apart(answer.status, b"".join(said or ()))
            return "provider_error"
        if tap.report.failed:
            return "upstream_error"
        if not tap.ended:
            carried.detail = "the answer ended before its terminal event or the end of its document"
            return "upstream_incomplete"
        return self._outcome()

    def leave(self) -> float:
        """The client has left; returns for how many seconds the stream shall run on, so that its usage comes."""
        carried, reservation = self._carried, self._carried.reservation
        if not self._runs or reservation is None or reservation.worst is None:
            return 0
        carried.left = True
        if carried.produced is None:
            return _FOR_USAGE
        carried.came_before = carried.produced.tokens
        return _FOR_THE_PACE

    async def _without_key(self, answer: Answer) -> None:
        """Read an error, and have what is passed on of it hold no key of the gateway, in its body and its headers."""
        keys, names = answer_headers.keys(self._destination), answer_headers.names(self._destination)
        if self._carried.bearer is not None:
            keys = [*keys, *self._carried.bearer.made]
        if not keys and not names:
            return
        pieces, size = [], 0
        while piece := await answer.read():
            size += len(piece)
            if size <= quoted_secrets.MAX_BYTES:
                pieces.append(piece)
        body = told = b"".join(pieces) if size <= quoted_secrets.MAX_BYTES else None
        if body is not None and len(body) > _PIECE:
            told = await asyncio.to_thread(quoted_secrets.without, body, keys, names)
        elif body is not None:
            told = quoted_secrets.without(body, keys, names)
        headers = [each for each in answer.headers if not quoted_secrets.holds(each[1], keys, names)]
        if told is None:
            why = (
                "the provider's error is not passed on: it may quote a key"
                if body is not None
                else (f"the provider's error has more than {quoted_secrets.MAX_BYTES} bytes and is not passed on")
            )
            told = self._provider.error(Denied("upstream_error", reasons=[why]))
            headers = [each for each in headers if each[0] != b"content-type"]
            headers.append((b"content-type", b"application/json"))
        if told != body:
            headers = [each for each in headers if each[0] not in answer_headers.OF_ALL_BYTES]
            headers.append((b"content-length", b"%d" % len(told)))
        answer.replace(told, headers)

    def _response_head(self, answer: Answer, *, whole: bool) -> Headers:
        """The headers that reach the client. The length is among them if the client gets all of the body."""
        headers = answer_headers.passing(answer.headers, self._destination, whole=whole)
        if self._carried.bearer is not None:
            headers = [each for each in headers if not any(made in each[1] for made in self._carried.bearer.made)]
        headers.append((b"x-decision-id", self._observed.decision_id.encode()))
        if self._observed.receipt:
            headers.append((RECEIPT_HEADER.encode(), self._observed.receipt.encode()))
        return headers

    def _tell_apart(self, status: int, said: bytes) -> None:
        """Note what the provider's error is about, if it says so."""
        found = upstream_errors.read(self._destination, status, said) if self._observed.rejected is None else None
        why = self._observed.rejected = found.why if found is not None else self._observed.rejected
        if why is not None:
            self._carried.detail = upstream_errors.detail(why, status)

    async def _finish(self, tap: Tap) -> bytes:
        """Policies are asked about each thing, like in a long judgement: beside the event loop, and in turn."""
        return await beside(self._turns, holders_of(self._carried.admitted.principal), tap.finish)

    async def _pass(self, tap: Tap, chunk: bytes, last: bool) -> None:
        """Send what the tap lets pass of this chunk."""
        if not tap.streaming or len(chunk) <= _PIECE:
            await self._send_some(self._feed(tap, chunk, last))
            return
        passed: list[bytes] = []
        began = time.monotonic()
        for at in range(0, len(chunk), _PIECE):
            end = at + _PIECE
            passed.append(self._feed(tap, chunk[at:end], last and end >= len(chunk)))
            if time.monotonic() - began > _TURN:
                await self._send_some(b"".join(passed))
                passed.clear()
                await asyncio.sleep(0)
                began = time.monotonic()
        await self._send_some(b"".join(passed))

    def _feed(self, tap: Tap, piece: bytes, last: bool) -> bytes:
        now = tap.feed(piece, last)
        if tap.kept > _FREE:
            self._count(tap)
        return now

    async def _send_some(self, data: bytes) -> None:
        if data:
            if not self.begun:
                await self._begin()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def _count(self, tap: Tap) -> None:
        """Count what the tap holds. With nothing left in the budget, a document is relayed without being read."""
        if self._holding.keep(tap.kept - _FREE):
            return
        if not tap.forget():
            raise Denied("upstream_error", "an event of the stream is larger than the memory that is left")
        self._holding.release()
        self._carried.detail = "nothing was read from the answer: no memory was left to hold it"

    def _outcome(self) -> str:
        """The outcome of a whole answer. A server that ignores its cap must be found out."""
        cap, report = self._carried.output_cap, self._observed.report
        if cap is None or report.usage is None or report.usage.output <= cap:
            return "ok"
        # The limit is one of the answer itself, not of what the provider has asked its models besides.
        output = report.usage.output - sum(each.output for _, each in report.further) - report.rejected
        if output <= cap:
            return "ok"
        self._carried.detail = f"the answer has {output} output tokens, its limit was {cap}"
        return "cap_exceeded"

    async def _take_rest(self, answer: Answer, tap: Tap, digest: evidence.BodyDigest) -> None:
        """Let a finished stream end by itself, so that the connection can be reused.

        Bytes that still come, such as a second end for other clients, are held back with the first.
        """
        taken = 0
        with suppress(TimeoutError, Denied):
            async with asyncio.timeout(_AFTER_THE_END):
                while taken < _MAX_REST and (chunk := await answer.read()):
                    taken += len(chunk)
                    digest.update(chunk)
                    tap.feed(chunk, answer.complete)
        self._carried.response_bytes += taken

    async def _begin(self) -> None:
        self.begun = True
        status = self._observed.status = self._observed.upstream_status
        await self._send({"type": "http.response.start", "status": status, "headers": self._head})

    async def break_off(self, denied: Denied) -> None:
        """Tell the client that the answer has failed, of which a part was sent.

        A stream gets the provider's error event; a document has no place for one. Neither gets an end: returning
        without one makes the server close the connection.
        """
        if self._streaming:
            denied.decision = self._observed.decision_id
            event = self._provider.error_event(self._carried.sent, denied)
            with suppress(TimeoutError):  # the client may have stopped reading
                async with asyncio.timeout(_AFTER_THE_END):
                    await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def end(self) -> None:
        """Send the bytes that were held back; the closing record is durable."""
        if not self.begun:
            await self._begin()
        await self._send({"type": "http.response.body", "body": self._tail, "more_body": False})
