"""Calls of every operation that the OpenAPI document names, valid and not, by every caller; what was a 5xx is told,
and what was answered otherwise than the document says.

Schemathesis makes the calls from the document. Half of them are aimed: their names are of things that there are, so
that more is tried than the look-up. What is answered is not read where it is a stream without end.
"""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi import checks

from tests.support.http_desk import HttpDesk

STREAM = "text/event-stream"
TIMEOUT_S = 20.0
DOCUMENTED = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
RUN = settings(
    derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@schemathesis.serializer("application/gzip")
def _as_it_is(_context: schemathesis.SerializationContext, value: Any) -> Any:
    """Bytes; where schemathesis sends something else on purpose, the text of that."""
    return value if isinstance(value, bytes) else str(value).encode(errors="backslashreplace")


@dataclass
class Storm:
    """`callers` are the headers of each caller, `names` what path parameters and fields of bodies are aimed at."""

    desk: HttpDesk
    callers: Mapping[str, Mapping[str, str]]
    names: Mapping[str, Any]
    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    succeeded: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)

    def blow(self, examples: int, only: str = "") -> None:
        """Each operation once by its example and by all callers, then by so many cases of schemathesis's, as many of
        them not valid as are; `only` those of a path."""
        document = self.desk.client.get("/openapi.json").json()
        with requests.Session() as session:
            for operation in _removals_last(schemathesis.openapi.from_dict(document), only):
                self.operations.add(operation.label)
                self._by_example(operation, session)
                self._try(operation, GenerationMode.POSITIVE, session, examples // 2)
                self._try(operation, GenerationMode.NEGATIVE, session, examples // 2)

    def _by_example(self, operation: APIOperation, session: requests.Session) -> None:
        media = operation.definition.raw.get("requestBody", {}).get("content", {})
        named: dict[str, Any] = {"path_parameters": {entry.name: "x" for entry in operation.path_parameters}}
        for media_type, content in media.items():
            named |= {"media_type": media_type, "body": content.get("example", b"bytes")}
        case = operation.Case(**named)
        self._aim(case)
        for caller in self.callers:
            self._call(case, session, caller)

    def _try(self, operation: APIOperation, mode: GenerationMode, session: requests.Session, examples: int) -> None:
        """Each case by one caller, in turn, and by the last, who may do everything."""
        *callers, last = self.callers
        turn = itertools.cycle(callers)

        @settings(RUN, max_examples=examples or 1)
        @given(case=operation.as_strategy(generation_mode=mode), aimed=st.booleans())
        def one(case: Case, aimed: bool) -> None:
            if aimed:
                self._aim(case)
            for caller in (next(turn), last):
                self._call(case, session, caller)

        if examples and (mode is GenerationMode.POSITIVE or _can_be_wrong(operation)):
            one()

    def _aim(self, case: Case) -> None:
        case.path_parameters = {key: self.names.get(key, value) for key, value in (case.path_parameters or {}).items()}
        case.body = self._aimed(case.body)

    def _aimed(self, body: Any) -> Any:
        if isinstance(body, dict):
            return {key: self.names.get(key, self._aimed(value)) for key, value in body.items()}
        return [*map(self._aimed, body)] if isinstance(body, list) else body

    def _call(self, case: Case, session: requests.Session, caller: str) -> None:
        headers = self.callers[caller]
        wanted = case.as_transport_kwargs(base_url=f"http://127.0.0.1:{self.desk.port}", headers=dict(headers))
        if not headers:
            wanted["headers"].pop("Authorization", None)
        try:
            with session.request(**wanted, stream=True, timeout=TIMEOUT_S, allow_redirects=False) as answer:
                if STREAM not in answer.headers.get("content-type", ""):
                    answer.content  # noqa: B018  # read, so that the connection can be used again
                    self._compare(case, answer)
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
            return  # no client of HTTP can send it
        self.statuses[answer.status_code] += 1
        if answer.ok:
            self.succeeded.add(case.operation.label)
        if answer.status_code >= 500:
            session.close()  # so does the server
            self.failed.append(f"{answer.status_code} for {caller}: {case.as_curl_command()}")

    def _compare(self, case: Case, answer: requests.Response) -> None:
        """A 5xx is told as such, and a server's own refusal of what is no HTTP is nobody's operation."""
        if answer.status_code >= 500 or case.operation.label.startswith("HEAD"):
            return
        try:
            case.validate_response(answer, checks=DOCUMENTED)
        except schemathesis.errors.SchemathesisError as error:
            raise AssertionError(f"{case.operation.label} cannot be compared") from error
        except BaseExceptionGroup as found:
            told = "; ".join(str(error).split("\n\n")[0] for error in found.exceptions)
            self.undocumented.append(f"{case.operation.label} {answer.status_code}: {told}: {answer.text[:300]}")

    @property
    def calls(self) -> int:
        return self.statuses.total()


def _can_be_wrong(operation: APIOperation) -> bool:
    """Where nothing is sent, nothing of it can be wrong."""
    return bool(list(operation.iter_parameters()) or list(operation.body))


def _removals_last(schema: schemathesis.BaseSchema, only: str) -> list[APIOperation]:
    """Nothing is called that was taken away before."""
    found = [entry.ok() for entry in schema.get_all_operations()]
    return sorted((entry for entry in found if entry.path.endswith(only)), key=lambda entry: entry.method == "delete")
