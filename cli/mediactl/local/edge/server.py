"""Serves the one origin that clients know, as CloudFront and the load balancer would.

Nothing is cached: every answer is the origin's present one.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol
from xml.sax.saxutils import escape

import aiohttp
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict
from yarl import URL

from mediactl.local.aws import ROOT_ACCESS_KEY, ROOT_SECRET_KEY, Emulator
from mediactl.local.edge import bucket_access
from mediactl.local.edge.distribution import Behavior, Cors, Distribution, Origin
from mediactl.local.edge.listener import LoadBalancerRequest, action_for, forward_target
from mediactl.local.edge.reader import Deployed, region_of
from mediactl.local.edge.signatures import SIGNATURE_PARAMETERS, DeniedError, Viewer, authorize

MAX_BODY_BYTES = 20 * 1024 * 1024
"""Largest request body that is passed on; uploads go to S3, never through the edge."""

MAX_HEADER_BYTES = 20_480
MAX_URL_BYTES = 8_192
BLOCK_BYTES = 256 * 1024

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
S3_REQUEST_HEADERS = frozenset(
    {"range", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"}
)
ALWAYS_FORWARDED = S3_REQUEST_HEADERS | {"content-length", "content-type", "content-encoding"}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

VIEWER_REGION = "x-mediactl-viewer-region"
"""Header by which a viewer of this machine says near which region it is; no origin sees it."""

logger = logging.getLogger("mediactl.edge")


class Target(Protocol):
    """A task that takes requests.

    Attributes:
        port: Its port on 127.0.0.1.
        requests: Requests that it is answering now.
    """

    port: int | None
    requests: int


FindTargets = Callable[[str], "list[Target]"]
"""Returns the healthy targets of a target group by its ARN."""


class Edge:
    """The edge.

    Args:
        emulator: The emulator, which plays S3.
        find_targets: Returns the healthy tasks of a target group.
    """

    def __init__(self, emulator: Emulator, find_targets: FindTargets) -> None:
        self.deployed = Deployed()
        self._emulator = emulator
        self._find_targets = find_targets
        self._session: aiohttp.ClientSession | None = None
        self._credentials = Credentials(ROOT_ACCESS_KEY, ROOT_SECRET_KEY)

    async def start(self) -> web.ServerRunner:
        """Listen on the port that the emulator gives distributions as their domain."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=10),
            trust_env=False,
        )
        server = web.Server(
            self._handle,
            max_line_size=MAX_URL_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            access_log=None,
        )
        runner = web.ServerRunner(server)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._emulator.edge_port).start()
        return runner

    async def close(self) -> None:
        """Close connections to origins."""
        if self._session:
            await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        distribution = self.deployed.distribution
        if distribution is None:
            return _error(503, "ServiceUnavailable", "no distribution is deployed yet")
        if request.host not in distribution.hosts:
            hosts = ", ".join(sorted(distribution.hosts))
            return _error(403, "AccessDenied", f"this distribution answers to {hosts} only")
        if not path.startswith("/"):
            return _error(400, "BadRequest", "Bad request")
        behavior = distribution.behavior_for(path)
        if request.method not in behavior.methods:
            return _error(
                403,
                "MethodNotAllowed",
                "this distribution is not configured to allow the HTTP request method",
            )
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return _error(413, "EntityTooLarge", f"a request has at most {MAX_BODY_BYTES} bytes")
        origin_header = request.headers.get("Origin")
        try:
            if behavior.keys is not None:
                viewer = _viewer(request, path, query)
                authorize(viewer, behavior.keys, now=time.time())
            response = await self._fetch(request, distribution, behavior, path, query)
        except DeniedError as denied:
            response = _Answer.of(_error(403, denied.code, str(denied)))
        return await response.send(request, behavior, origin_header)

    async def _fetch(
        self,
        request: web.BaseRequest,
        distribution: Distribution,
        behavior: Behavior,
        path: str,
        query: str,
    ) -> _Answer:
        path = behavior.path_for_origin(path)
        if path == "/" and distribution.root_object:
            path = f"/{distribution.root_object}"
        query = behavior.forwarded_query(query)
        resource = f"{path}?{query}" if query else path
        origins = behavior.origins if request.method in SAFE_METHODS else behavior.origins[:1]
        answer = await self._ask(request, distribution, behavior, origins[0], resource)
        for fallback in origins[1:]:
            if answer.status not in behavior.failover_statuses:
                break
            answer.release()
            answer = await self._ask(request, distribution, behavior, fallback, resource)
        return answer

    async def _ask(
        self,
        request: web.BaseRequest,
        distribution: Distribution,
        behavior: Behavior,
        origin: Origin,
        resource: str,
    ) -> _Answer:
        target = f"{origin.path}{resource}"
        try:
            if origin.bucket is not None:
                return await self._ask_bucket(request, distribution, origin, origin.bucket, target)
            if origin.load_balancers:
                balancer = await self._nearest(request, origin)
                return await self._ask_balancer(request, behavior, origin, balancer, target)
        except TimeoutError:
            return _Answer.of(_error(504, "GatewayTimeout", "the origin did not answer in time"))
        except aiohttp.ClientError as error:
            logger.warning("%s does not answer: %s", origin.origin_id, error)
            return _Answer.of(_error(502, "BadGateway", "the origin cannot be reached"))
        return _Answer.of(
            _error(502, "BadGateway", f"the origin {origin.domain} does not exist on this machine")
        )

    async def _ask_bucket(
        self,
        request: web.BaseRequest,
        distribution: Distribution,
        origin: Origin,
        bucket: str,
        target: str,
    ) -> _Answer:
        policy = self.deployed.bucket_policies.get(bucket)
        key = target.partition("?")[0].lstrip("/")
        arn = f"arn:aws:s3:::{bucket}"
        if request.method not in {"GET", "HEAD"} or not bucket_access.may(
            policy, "s3:GetObject", f"{arn}/{key}", distribution=distribution.arn
        ):
            return _Answer.of(_error(403, "AccessDenied", "Access Denied"))
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in S3_REQUEST_HEADERS
        }
        headers.update(origin.headers)
        url = f"{self._emulator.url}/{bucket}{target}"
        signed = AWSRequest(request.method, url, headers=dict(headers))
        S3SigV4Auth(self._credentials, "s3", origin.bucket_region).add_auth(signed)
        response = await self._request(
            request.method,
            url,
            dict(signed.headers.items()),
            origin.read_seconds,
            region=origin.bucket_region,
        )
        if response.status == 404 and not bucket_access.may(  # noqa: PLR2004
            policy, "s3:ListBucket", arn, distribution=distribution.arn
        ):
            # Without the right to list, S3 does not tell what exists.
            response.release()
            return _Answer.of(_error(403, "AccessDenied", "Access Denied"))
        return _Answer.streaming(response)

    async def _nearest(self, request: web.BaseRequest, origin: Origin) -> str:
        """Return the load balancer whose region answers, as Route 53 chooses by latency and health.

        Viewers are near the region that they name in :data:`VIEWER_REGION`, else near the first.
        Health checks would take half a minute to see that a region is gone; here it shows at once.
        """
        wanted = request.headers.get(VIEWER_REGION)
        away = self.deployed.led_away
        nearest = sorted(
            origin.load_balancers, key=lambda arn: (arn in away, region_of(arn) != wanted)
        )
        for balancer in nearest[:-1]:
            if await self._answers(region_of(balancer)) and self._has_targets(balancer):
                return balancer
        return nearest[-1]

    async def _answers(self, region: str) -> bool:
        port = self.deployed.gateways.get(region)
        if port is None:
            return True
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    def _has_targets(self, balancer: str) -> bool:
        """Tell whether every target group of a load balancer has a healthy target."""
        groups = [
            group
            for (arn, _), rules in self.deployed.rules.items()
            if arn == balancer
            for rule in rules
            if (group := forward_target(rule.actions[-1])) is not None
        ]
        return all(self._find_targets(group) for group in groups)

    async def _ask_balancer(
        self,
        request: web.BaseRequest,
        behavior: Behavior,
        origin: Origin,
        balancer: str,
        target: str,
    ) -> _Answer:
        path, _, query = target.partition("?")
        headers = _origin_headers(request, behavior, origin)
        rules = self.deployed.rules.get((balancer, origin.port))
        if rules is None:
            return _Answer.of(_error(504, "GatewayTimeout", "the load balancer does not listen"))
        seen = LoadBalancerRequest(
            method=request.method,
            host=headers["Host"].partition(":")[0],
            path=path,
            query=query,
            headers={name.lower(): value for name, value in headers.items()},
            address=request.remote or "127.0.0.1",
        )
        action = action_for(rules, seen)
        if action is None:
            return _Answer.of(_error(503, "ServiceUnavailable", "no listener rule applies"))
        group = forward_target(action)
        if group is None:
            return _Answer.of(_fixed(action))
        targets = sorted(self._find_targets(group), key=lambda target: target.requests)
        if not targets:
            return _Answer.of(_error(503, "ServiceUnavailable", "no healthy target"))
        chosen = targets[0]
        chosen.requests += 1
        try:
            response = await self._request(
                request.method,
                f"http://127.0.0.1:{chosen.port}{target}",
                headers,
                origin.read_seconds,
                body=_body(request) if request.can_read_body else None,
                region=region_of(balancer),
            )
        except BaseException:
            chosen.requests -= 1
            raise
        return _Answer.streaming(response, lambda: _release(chosen))

    async def _request(
        self,
        method: str,
        url: str,
        headers: CIMultiDict[str] | dict[str, str],
        read_seconds: int,
        *,
        region: str,
        body: AsyncIterator[bytes] | None = None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the edge was not started")
        gateway = self.deployed.gateways.get(region)
        # The URL is passed on as it came: a normalised one could mean another object.
        async with asyncio.timeout(read_seconds):
            return await self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                proxy=f"http://127.0.0.1:{gateway}" if gateway else None,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )


class _Answer:
    """An answer of an origin, or one of our own, not yet sent."""

    def __init__(
        self,
        *,
        whole: web.Response | None = None,
        response: aiohttp.ClientResponse | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        self._whole = whole
        self._response = response
        self._done = done

    @classmethod
    def of(cls, whole: web.Response) -> _Answer:
        return cls(whole=whole)

    @classmethod
    def streaming(
        cls, response: aiohttp.ClientResponse, done: Callable[[], None] = lambda: None
    ) -> _Answer:
        return cls(response=response, done=done)

    @property
    def status(self) -> int:
        found = self._whole or self._response
        return found.status if found else 0

    def release(self) -> None:
        if self._response is not None:
            self._response.release()
        self._done()

    async def send(
        self, request: web.BaseRequest, behavior: Behavior, origin: str | None
    ) -> web.StreamResponse:
        if self._response is None:
            whole = self._whole or web.Response(status=500)
            _finish(whole.headers, behavior, origin, request.method)
            return whole
        sent = web.StreamResponse(status=self._response.status, reason=self._response.reason)
        try:
            for name, value in self._response.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    sent.headers.add(name, value)
            _finish(sent.headers, behavior, origin, request.method)
            await sent.prepare(request)
            if request.method != "HEAD":
                async for block in self._response.content.iter_chunked(BLOCK_BYTES):
                    await sent.write(block)
            await sent.write_eof()
        except (ConnectionResetError, aiohttp.ClientConnectionResetError):
            # The viewer went away.
            self._response.close()
        except aiohttp.ClientError:
            # The origin broke off: so must we, or a part would look whole.
            self._response.close()
            if request.transport is not None:
                request.transport.abort()
        finally:
            self.release()
        return sent


def _release(target: Target) -> None:
    target.requests -= 1


def _viewer(request: web.BaseRequest, path: str, query: str) -> Viewer:
    rest = "&".join(
        part for part in query.split("&") if part.partition("=")[0] not in SIGNATURE_PARAMETERS
    )
    return Viewer(
        url=f"http://{request.host}{path}{'?' if rest else ''}{rest}",
        address=request.remote or "",
        query=query,
        cookies=_cookies(request),
    )


def _cookies(request: web.BaseRequest) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in request.headers.getall("Cookie", ()):
        for part in header.split(";"):
            name, equals, value = part.strip().partition("=")
            if equals:
                # Of cookies with one name browsers send that of the longest path first.
                found.setdefault(name, value)
    return found


def _origin_headers(
    request: web.BaseRequest, behavior: Behavior, origin: Origin
) -> CIMultiDict[str]:
    """Return the headers that the target sees, after CloudFront and the load balancer."""
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers.items():
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in {"host", "cookie", "expect", VIEWER_REGION}:
            continue
        if lower in ALWAYS_FORWARDED or behavior.forwards_header(lower):
            headers.add(name, value)
    cookies = [
        f"{name}={value}"
        for name, value in _cookies(request).items()
        if behavior.forwards_cookie(name)
    ]
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    headers["Host"] = request.host if behavior.forwards_header("host") else origin.domain
    client = request.remote or "127.0.0.1"
    before = request.headers.getall("X-Forwarded-For", [])
    headers["X-Forwarded-For"] = ", ".join([*before, client, "127.0.0.1"])
    headers["X-Forwarded-Proto"] = "http"
    headers["X-Forwarded-Port"] = str(origin.port)
    headers["Via"] = "1.1 local.cloudfront.net (CloudFront)"
    headers["X-Amz-Cf-Id"] = uuid.uuid4().hex
    headers["X-Amzn-Trace-Id"] = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    for name, value in origin.headers:
        headers[name] = value
    return headers


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    sent = 0
    async for block in request.content.iter_chunked(BLOCK_BYTES):
        sent += len(block)
        if sent > MAX_BODY_BYTES:
            raise aiohttp.ClientPayloadError("the request body is too large")
        yield block


def _fixed(action: Mapping[str, Any]) -> web.Response:
    if action["Type"] != "fixed-response":
        kind = action["Type"]
        return _error(502, "BadGateway", f"listener actions of type {kind} are not known here")
    config = action["FixedResponseConfig"]
    return web.Response(
        status=int(config["StatusCode"]),
        text=config.get("MessageBody") or "",
        content_type=config.get("ContentType") or "text/plain",
    )


def _finish(headers: CIMultiDict[str], behavior: Behavior, origin: str | None, method: str) -> None:
    """Apply the response headers policy and what CloudFront adds."""
    policy = behavior.response
    for name in policy.removed:
        headers.popall(name, None)
    for name, value, override in policy.fixed:
        if override or name not in headers:
            headers[name] = value
    if policy.cors is not None and origin is not None:
        for name, value in _cors_headers(policy.cors, origin, method):
            if policy.cors.override or name not in headers:
                headers[name] = value
    headers["X-Cache"] = "Miss from cloudfront"
    headers["Via"] = "1.1 local.cloudfront.net (CloudFront)"


def _cors_headers(cors: Cors, origin: str, method: str) -> Iterable[tuple[str, str]]:
    if "*" in cors.origins and not cors.credentials:
        yield "Access-Control-Allow-Origin", "*"
    elif "*" in cors.origins or origin in cors.origins:
        yield "Access-Control-Allow-Origin", origin
        yield "Vary", "Origin"
    else:
        return
    if cors.credentials:
        yield "Access-Control-Allow-Credentials", "true"
    if cors.exposed:
        yield "Access-Control-Expose-Headers", ", ".join(cors.exposed)
    if method == "OPTIONS":
        if cors.methods:
            yield "Access-Control-Allow-Methods", ", ".join(cors.methods)
        if cors.headers:
            yield "Access-Control-Allow-Headers", ", ".join(cors.headers)
        if cors.max_age is not None:
            yield "Access-Control-Max-Age", str(cors.max_age)


def _error(status: int, code: str, message: str) -> web.Response:
    """Return an error as CloudFront writes it."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    )
    return web.Response(status=status, text=text, content_type="text/xml")
