"""AWS in several regions, of which one does not answer, or has nothing: for tests of commands."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from loopback_server import QuietHandler, serving

from media_platform.contract.outputs import MediaOutput, StackPart, StoreOutput

_SCOPE = re.compile(r"/\d{8}/([^/]+)/")
_NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"

_LOGS = (
    "<member><LogicalResourceId>TranscodeWorkersTaskLogsC6F0EC41</LogicalResourceId>"
    "<PhysicalResourceId>logs</PhysicalResourceId><ResourceType>AWS::Logs::LogGroup</ResourceType>"
    "</member>"
)
"""The one resource that all stacks have."""

_JSON: dict[str, dict[str, Any]] = {
    "BatchGetItem": {"Responses": {}},
    "DeleteMessageBatch": {"Successful": [], "Failed": []},
    "DescribeTable": {"Table": {"Replicas": [{"RegionName": "eu-west-1"}]}},
    "FilterLogEvents": {"events": []},
    "GetQueueAttributes": {
        "Attributes": {
            "ApproximateNumberOfMessages": "0",
            "ApproximateNumberOfMessagesNotVisible": "0",
        }
    },
    "Query": {"Items": [], "Count": 0},
    "ReceiveMessage": {},
    "Scan": {"Items": [], "Count": 0},
}
"""What operations answer where nothing is to be found."""


@contextmanager
def aws(
    *, lost: Collection[str] = (), failing: Collection[str] = (), empty: Collection[str] = ()
) -> Iterator[str]:
    """Serve AWS while the block runs, which gets the URL of all its endpoints.

    Args:
        lost: Regions that end connections, and never answer.
        failing: Regions that answer with errors of their own.
        empty: Regions without stacks.
    """

    class Aws(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802  the name that the server calls
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = _SCOPE.search(self.headers["Authorization"])
            region = found[1] if found else ""
            if region in lost:
                self.close_connection = True
            elif region in failing:
                self.answer(503, b"")
            elif target := self.headers.get("X-Amz-Target"):
                self.answer(200, json.dumps(_JSON[target.rpartition(".")[2]]).encode())
            else:
                self._cloudformation(parse_qs(body), region)

        def _cloudformation(self, asked: dict[str, list[str]], region: str) -> None:
            operation = asked["Action"][0]
            if operation == "ListStackResources":
                self._xml(operation, f"<StackResourceSummaries>{_LOGS}</StackResourceSummaries>")
            elif operation == "DescribeStacks" and region not in empty:
                self._xml(operation, f"<Stacks><member>{_stack(asked, region)}</member></Stacks>")
            else:
                self.answer(
                    400,
                    b"<ErrorResponse><Error><Code>ValidationError</Code><Message>there is none"
                    b"</Message></Error></ErrorResponse>",
                )

        def _xml(self, operation: str, result: str) -> None:
            text = (
                f'<{operation}Response xmlns="{_NAMESPACE}"><{operation}Result>{result}'
                f"</{operation}Result></{operation}Response>"
            )
            self.answer(200, text.encode(), Content_Type="text/xml")

    with serving(Aws) as url:
        yield url


def _stack(asked: dict[str, list[str]], region: str) -> str:
    name = asked["StackName"][0]
    queues = json.dumps({"jobs": f"http://queue/{region}/jobs"})
    outputs: dict[str, str] = {}
    if name.endswith(StackPart.STORE):
        outputs = {StoreOutput.TABLE_NAME: "table"}
    elif name.endswith(StackPart.MEDIA):
        outputs = {MediaOutput.QUEUE_URLS: queues, MediaOutput.DEAD_LETTER_QUEUE_URLS: queues}
    members = "".join(
        f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for key, value in outputs.items()
    )
    return (
        f"<StackName>{name}</StackName><StackStatus>CREATE_COMPLETE</StackStatus>"
        f"<CreationTime>2026-11-26T00:00:00Z</CreationTime><Outputs>{members}</Outputs>"
    )
