"""Accepts connections: bounds the handshakes in number and time, and lets only members through."""

from __future__ import annotations

import asyncio

from cluster.net import handshake
from cluster.net.frames import FrameError
from cluster.net.greeting import Admit, Greeted, Refused, receive
from cluster.net.handshake import Card
from cluster.net.links import TransportLimits
from cluster.net.rate_limit import RateLimitedLog
from cluster.ports import Random, Stream


class Reception:
    """Conducts the handshakes of accepted connections, and logs each kind of stranger once in a while."""

    def __init__(self, random: Random, me: Card, limits: TransportLimits, log: RateLimitedLog, admit: Admit) -> None:
        self._random = random
        self._me = me
        self._limits = limits
        self._log = log
        self._admit = admit
        self._strangers: dict[Stream, None] = {}
        """Those whose handshake is going on, the oldest first."""

    async def greet(self, stream: Stream) -> Greeted | None:
        """The member behind `stream`; None, and it is closed, when it proved to be none."""
        if len(self._strangers) >= self._limits.handshakes:
            # The oldest goes: a member needs milliseconds, so that silent ones can't keep it out by their number.
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.close()
        self._strangers[stream] = None
        greeted: Greeted | None = None
        try:
            async with asyncio.timeout(self._limits.handshake_timeout):
                nonce = self._random.randbytes(handshake.NONCE_BYTES)
                greeted = await receive(stream, self._me, nonce, self._admit)
        except Refused as refused:
            event = "refused_by_stranger" if refused.by_peer else "stranger_refused"
            self._warn(stream, event, refused.cause, refused.reason)
        except FrameError as error:
            self._warn(stream, "stranger_refused", "not_a_member", str(error))
        except TimeoutError:
            self._warn(stream, "stranger_refused", "silent", f"no hello within {self._limits.handshake_timeout} s")
        except OSError as error:
            reason = str(error) if stream in self._strangers else "too many handshakes at once: the oldest has to go"
            self._warn(stream, "stranger_refused", "lost", reason)
        finally:
            self._strangers.pop(stream, None)
            if greeted is None:
                stream.close()
        return greeted

    def _warn(self, stream: Stream, event: str, cause: str, reason: str) -> None:
        now, host = asyncio.get_running_loop().time(), stream.peer().rpartition(":")[0]
        self._log.warning(now, (cause, host), event, peer_address=stream.peer(), cause=cause, reason=reason)
