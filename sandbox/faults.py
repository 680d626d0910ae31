"""Rules that make a simulated vendor fail on purpose: which request, which time, and what goes wrong.

This file decides; `wire.py` carries it out. Nothing here knows an endpoint.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

Kind = Literal[
    "status",
    "delay",
    "hold",
    "cut_before",
    "cut_after",
    "cut_request",
    "truncate",
    "drip",
    "stall",
    "replace",
    "expire",
    "hide",
]
KINDS: frozenset[str] = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong. Build it with the functions below; only the fields of its kind are read."""

    kind: Kind
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    after_effect: bool = False
    seconds: float = 0.0
    after_bytes: int = 0
    chunk_bytes: int = 1
    fields: Mapping[str, object] = field(default_factory=dict)


def answer(
    status: int, body: object = None, *, headers: Mapping[str, str] | None = None, after_effect: bool = False
) -> Fault:
    """This status instead of the real answer; with `after_effect` the call still takes effect first."""
    return Fault("status", status=status, body=body, headers=dict(headers or {}), after_effect=after_effect)


def too_many(retry_after: str | int | None = None) -> Fault:
    """429, with `Retry-After` as seconds, a date, nonsense, or not at all."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return answer(429, {"message": "Too Many Attempts.", "detail": "Request was throttled."}, headers=headers)


def delay(seconds: float, *, after_effect: bool = False) -> Fault:
    """The answer comes `seconds` later."""
    return Fault("delay", seconds=seconds, after_effect=after_effect)


def hold(*, after_effect: bool = False) -> Fault:
    """The answer waits for `Rule.release()`; with `after_effect` the effect does not wait."""
    return Fault("hold", after_effect=after_effect)


def cut_before() -> Fault:
    """The connection breaks and nothing took effect."""
    return Fault("cut_before")


def cut_after() -> Fault:
    """The call takes effect, the connection breaks, the answer is lost."""
    return Fault("cut_after")


def cut_request(after_bytes: int) -> Fault:
    """The connection breaks once this many bytes of the request's body were read; shorter bodies pass."""
    return Fault("cut_request", after_bytes=after_bytes)


def truncate(after_bytes: int) -> Fault:
    """The body ends early, though `Content-Length` promised more, and the connection closes."""
    return Fault("truncate", after_bytes=after_bytes)


def drip(chunk_bytes: int, seconds: float) -> Fault:
    """The body comes in pieces of `chunk_bytes`, `seconds` apart."""
    return Fault("drip", chunk_bytes=chunk_bytes, seconds=seconds)


def stall(after_bytes: int) -> Fault:
    """The body stops after this many bytes and goes on at `Rule.release()`; shorter bodies pass."""
    return Fault("stall", after_bytes=after_bytes)


def replace(**fields: object) -> Fault:
    """The real JSON answer with these top-level fields replaced (a looping `next`, a foreign host)."""
    return Fault("replace", fields=fields)


def expire() -> Fault:
    """The presigned link that was asked for is dead from now on."""
    return Fault("expire")


def hide(seconds: float | None = None) -> Fault:
    """What this call creates is in no list until `seconds` have passed, or until `Rule.release()`."""
    return Fault("hide", seconds=-1.0 if seconds is None else seconds)


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a rule may look at. `text` is path, query and body (body only when a rule asked for it)."""

    server: str
    method: str
    path: str
    text: str
    team: str | None


@dataclass(eq=False, slots=True)
class Rule:
    """One armed fault: from the `nth` matching request on, `times` times (None: for ever)."""

    id: int
    fault: Fault
    server: str = "*"
    method: str = "*"
    path: str = "*"
    nth: int = 1
    times: int | None = 1
    contains: str | None = None
    team: str | None = None
    predicate: Callable[[RequestFacts], bool] | None = None
    seen: int = 0
    hits: int = 0
    released: bool = False
    _waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """How many requests are held by this rule at this moment."""
        return len(self._waiting)

    @property
    def spent(self) -> bool:
        """Whether it has acted as often as it should."""
        return self.times is not None and self.hits >= self.times

    def release(self) -> None:
        """Lets held requests go on and shows hidden records; safe from any thread."""
        self.released = True
        for loop, event in list(self._waiting):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def wait_released(self) -> None:
        """Returns once `release()` was called."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.append(entry)
        try:
            if not self.released:
                await entry[1].wait()
        finally:
            self._waiting.remove(entry)

    def could_match(self, *, server: str, method: str, path: str) -> bool:
        """Whether the parts that need no body match."""
        return (
            not self.spent
            and fnmatchcase(server, self.server)
            and fnmatchcase(method, self.method)
            and fnmatchcase(path, self.path)
        )

    def matches(self, facts: RequestFacts) -> bool:
        """Whether it applies to this request, body and all."""
        return (
            self.could_match(server=facts.server, method=facts.method, path=facts.path)
            and (self.contains is None or self.contains in facts.text)
            and (self.team is None or self.team == facts.team)
            and (self.predicate is None or self.predicate(facts))
        )

    def as_json(self) -> dict[str, Any]:
        """The rule as plain values, for the control API."""
        return {
            "id": self.id,
            "kind": self.fault.kind,
            "server": self.server,
            "method": self.method,
            "path": self.path,
            "nth": self.nth,
            "times": self.times,
            "seen": self.seen,
            "hits": self.hits,
            "waiting": self.waiting,
            "released": self.released,
        }


class Faults:
    """The armed rules. At most one rule acts on a request: the first armed that matches and is due."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._retired: list[Rule] = []
        self._ids = itertools.count(1)

    def arm(  # noqa: PLR0913 -- every one narrows the match, all are named
        self,
        fault: Fault,
        *,
        server: str = "*",
        method: str = "*",
        path: str = "*",
        nth: int = 1,
        times: int | None = 1,
        contains: str | None = None,
        team: str | None = None,
        predicate: Callable[[RequestFacts], bool] | None = None,
    ) -> Rule:
        """Arms a fault. `server` is clarius, media, aurabox or lift; these and `path` are globs.

        `contains` is looked for in path, query and body; `team` is an Aurabox team's name.
        """
        rule = Rule(
            id=next(self._ids),
            fault=fault,
            server=server,
            method=method,
            path=path,
            nth=nth,
            times=times,
            contains=contains,
            team=team,
            predicate=predicate,
        )
        self.rules.append(rule)
        return rule

    def arm_json(self, values: Mapping[str, Any]) -> Rule:
        """The same from plain JSON: the arguments of `arm`, with `fault` an object that has a `kind`."""
        rest = dict(values)
        described = dict(rest.pop("fault"))
        if described.get("kind") not in KINDS:
            raise ValueError(
                f"unknown fault kind {described.get('kind')!r}; known: {', '.join(sorted(KINDS))}"
            )
        if described["kind"] == "hide":
            described.setdefault("seconds", -1.0)
        return self.arm(Fault(**described), **rest)

    def needs_body(self, *, server: str, method: str, path: str) -> bool:
        """Whether a rule must see this request's body before it can tell."""
        return any(
            (r.contains is not None or r.predicate is not None)
            and r.could_match(server=server, method=method, path=path)
            for r in self.rules
        )

    def take(self, facts: RequestFacts) -> Rule | None:
        """Counts this request against every matching rule and returns the one that acts on it."""
        acting: Rule | None = None
        for rule in self.rules:
            if rule.matches(facts):
                rule.seen += 1
                if acting is None and rule.seen >= rule.nth:
                    rule.hits += 1
                    acting = rule
        return acting

    def get(self, rule_id: int) -> Rule:
        """The rule with this id, also after `clear()`; KeyError when there is none."""
        for rule in itertools.chain(self.rules, self._retired):
            if rule.id == rule_id:
                return rule
        raise KeyError(rule_id)

    def hits(self) -> int:
        """How often any rule has acted."""
        return sum(r.hits for r in itertools.chain(self.rules, self._retired))

    def clear(self) -> None:
        """Disarms every rule and lets go of whatever they hold or hide."""
        retired, self.rules = self.rules, []
        self._retired.extend(retired)
        for rule in retired:
            rule.release()
