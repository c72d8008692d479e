"""Nothing of one tenant opens anything of another, and nothing of the few is told to the many.

Every route of both services is asked by those who may not know of a thing, with all that names it:
ids, cursors, upload ids, tenants, users. The answer has to be the one that they get of a
thing that does not exist. What is signed is taken apart and put together anew, and has to open
nothing but what it was signed for. A new route is asked as soon as it has its row in the table of
roles. To look for more::

    EXAMPLES=500 .venv/bin/pytest tests/integration/test_api_isolation.py
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

import pytest
import requests
import schemathesis
from admin_stage import OPERATORS, AdminStage, running_admin_stage
from api_stage import BASE_URL, Person, Stage, send
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from waiting import eventually

from media_platform.contract import table
from media_platform.contract.ids import is_id, new_id
from media_platform.contract.items import from_item
from media_platform.contract.jobs import TranscodeJob
from media_platform.contract.times import timestamp
from media_platform.contract.upload import SINGLE_PUT_MAX_BYTES
from mediactl.local.edge.signatures import DeniedError, Viewer, authorize, load_public_key
from tests.unit.api import role_matrix
from tests.unit.api.api_keys import new_pair

EXAMPLES = int(os.environ.get("EXAMPLES", "2"))
"""Requests a route that are drawn; each is sent by everyone, and twice."""

asking = settings(
    max_examples=EXAMPLES,
    derandomize="EXAMPLES" not in os.environ,
    database=None,
    # What fails says what was asked; a smaller example would take minutes to find.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
mixing = settings(asking, max_examples=30 * EXAMPLES)

OURS = "acme"
THEIRS = "acme-two"
NOBODYS = "acme-three"
"""Names that begin with each other, so that a prefix that is taken for a name shows."""

PAIR = new_pair()
FILE = b"seventeen bytes!!"
PART = 8 * 1024**2
LONG = (SINGLE_PUT_MAX_BYTES // PART + 1) * PART + len(FILE)
"""Size of a file whose last part is as long as all other files here."""

LAST_PART = {"number": LONG // PART + 1, "sha256": hashlib.sha256(FILE).hexdigest()}
MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=3000000\nv720/playlist.m3u8\n"
PLAYLIST = "master.m3u8"

Named = dict[str, list[str]]
"""What names something, by the name that a request gives it."""


@dataclass(frozen=True)
class Hidden:
    """Things that some may not know of.

    Attributes:
        named: What names them.
        marks: What an answer must not hold, beside their ids.
    """

    named: Named = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)

    def ids(self) -> list[str]:
        """Return all ids of things; those of users stand at what they made."""
        names = (name for name in self.named if name.endswith("_id") and name != "user_id")
        return [value for name in names for value in self.named[name]]


@dataclass(frozen=True)
class Asker:
    """One who asks for what it may not know of."""

    token: str | None
    hidden: Hidden
    services: tuple[str, ...] = ("api", "admin")


@dataclass(frozen=True)
class Tenancy:
    """A tenant with one of everything.

    Attributes:
        owner: An editor, who has the videos.
        admin: An administrator.
        shared: What its members may know of.
        private: What nobody but the owner may know of.
        for_admins: What only administrators may know of.
        playback: The grant of each video that can be played, by its run.
        uploads: Where files are to be sent: URL, and headers.
    """

    owner: Person
    admin: Person
    shared: Hidden = field(default_factory=Hidden)
    private: Hidden = field(default_factory=Hidden)
    for_admins: Hidden = field(default_factory=Hidden)
    playback: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: list[tuple[str, dict[str, str]]] = field(default_factory=list)


def together(*parts: Hidden) -> Hidden:
    named: Named = {}
    for part in parts:
        for name, values in part.named.items():
            named.setdefault(name, []).extend(values)
    return Hidden(named, [mark for part in parts for mark in part.marks])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminStage]:
    folder = tmp_path_factory.mktemp("isolation")
    with running_admin_stage(folder, upload_max_bytes=2 * LONG) as stage:
        stage.stage.deliver(PAIR)
        yield stage
        assert stage.emulator.denied() == []


@pytest.fixture(scope="module")
def tenants(stage: AdminStage) -> dict[str, Tenancy]:
    return {tenant: settle(stage, tenant) for tenant in (OURS, THEIRS)}


def settle(stage: AdminStage, tenant: str) -> Tenancy:
    """Make a tenant that has one of everything."""
    api = stage.stage
    owner = api.person(f"{tenant}:ada", tenant)
    account = stage.account(tenant)
    admin = Person(api.api, account.user, tenant, account.token)
    made = Tenancy(owner, admin)
    for hidden, visibility in ((made.shared, "TENANT"), (made.private, "PRIVATE")):
        fill(api, made, hidden, visibility)
    hook = admin.call("POST", "/api/webhooks", body={"url": f"https://{tenant}.example.com/"}).json
    webhook_id = hook["webhook"]["webhook_id"]
    events = [
        admin.call("POST", f"/api/webhooks/{webhook_id}/test").json["event_id"] for _ in range(2)
    ]
    deliveries = admin.call("GET", f"/api/webhooks/{webhook_id}/deliveries?limit=1").json
    made.for_admins.named.update(
        webhook_id=[webhook_id],
        event_id=events,
        username=[account.username],
        user_id=[account.user],
        actor=[account.user],
        email=[account.email],
        message_id=[stage.dead_letter(a_job(tenant))],
        cursor=[deliveries["next_cursor"]],
    )
    made.for_admins.marks.extend([account.email, hook["secret"], f"{tenant}.example.com"])
    for listed in ("videos?", f"audit?day={timestamp()[:10]}&", "users?"):
        page = stage.admin.call("GET", f"/api/admin/{listed}limit=1", token=admin.token).json
        if page["next_cursor"]:
            made.for_admins.named["cursor"].append(page["next_cursor"])
    made.shared.named.update(tenant=[tenant])
    return made


def fill(api: Stage, made: Tenancy, hidden: Hidden, visibility: str) -> None:
    """Add videos of a visibility: one that plays, one in parts, one that waits, one deleted."""
    owner, title = made.owner, f"{made.owner.tenant}: {visibility}"
    says = {"visibility": visibility, "title": title}
    plays = owner.new_video(**says)
    keys = api.start_run(plays, playable_at=timestamp())
    api.publish(keys.master_playlist, MASTER)
    answer = eventually(
        lambda: found if (found := owner.call("GET", f"{path(plays)}/playback")).json else None,
        "playback is answered",
    )
    made.playback[keys.prefix.rstrip("/")] = answer.json
    parted = owner.new_video(**says, size_bytes=LONG)
    wanted = {"parts": [LAST_PART]}
    part = owner.call("POST", f"{path(parted)}/upload/parts", body=wanted).json["parts"][0]
    waiting = owner.create(**says, size_bytes=len(FILE))
    picture = owner.call(
        "POST",
        f"{path(plays)}/thumbnail/upload",
        body={"content_type": "image/png", "size_bytes": len(FILE)},
    ).json
    made.uploads.extend((to["url"], to["headers"]) for to in (part, waiting["upload"], picture))
    deleted = owner.new_video(**says)
    assert owner.call("DELETE", path(deleted)).status == 204
    cursor = owner.call("GET", "/api/videos?owner=me&limit=1").json["next_cursor"]
    ids = [plays, parted, waiting["video"]["video_id"], deleted]
    hidden.named.update(
        video_id=ids,
        video=ids,
        run_id=[keys.run_id],
        upload_id=[picture["upload_id"]],
        cursor=[cursor],
        owner=[owner.user],
    )
    hidden.marks.append(title)


def path(video_id: str) -> str:
    return f"/api/videos/{video_id}"


def a_job(tenant: str) -> str:
    return TranscodeJob(
        video_id=new_id(),
        run_id=new_id(),
        tenant=tenant,
        bucket="raw",
        key=f"raw/{tenant}/ada/x.mp4",
        version_id="v1",
        size_bytes=1,
        queued_at=timestamp(),
    ).to_json()


@pytest.fixture(scope="module")
def askers(stage: AdminStage, tenants: dict[str, Tenancy]) -> dict[str, Asker]:
    """Everyone by a name, with what is not for him."""
    issuer, made = stage.stage.issuer, tenants[OURS]
    everything = together(made.shared, made.private, made.for_admins)
    not_for_members = together(made.private, made.for_admins)
    return {
        "nobody": Asker(None, everything),
        **{
            f"{group} of another tenant": Asker(issuer.user("eve", THEIRS, group), everything)
            for group in ("viewer", "editor")
        },
        "administrator of another tenant": Asker(tenants[THEIRS].admin.token, everything),
        "operator": Asker(issuer.user("opal", OPERATORS, "admin"), everything, ("api",)),
        "member": Asker(issuer.user("mia", OURS), not_for_members),
        "viewer": Asker(issuer.user("vera", OURS, "viewer"), not_for_members),
        "editor": Asker(issuer.user("ed", OURS, "editor"), not_for_members),
        "administrator": Asker(made.admin.token, made.private, ("api",)),
    }


@pytest.fixture(scope="module", autouse=True)
def nothing_is_changed(
    stage: AdminStage, tenants: dict[str, Tenancy], askers: dict[str, Asker]
) -> Iterator[None]:
    """Videos, webhooks and users are at the end what they were."""
    before = belongings(stage)
    yield
    after = belongings(stage)
    assert {key: after.get(key) for key in before} == before


def belongings(stage: AdminStage) -> dict[Any, Any]:
    pages = stage.emulator.client("dynamodb").get_paginator("scan")
    items = [
        from_item(item)
        for page in pages.paginate(TableName=stage.stage.environment.table_name)
        for item in page["Items"]
    ]
    kept = {(item[table.PARTITION_KEY], item[table.SORT_KEY]): item for item in items}
    users = stage.emulator.client("cognito-idp").get_paginator("list_users")
    return {
        **{key: item for key, item in kept.items() if is_thing(*key)},
        **{
            user["Username"]: user
            for page in users.paginate(UserPoolId=stage.environment.user_pool_id)
            for user in page["Users"]
        },
    }


def is_thing(pk: str, sk: str) -> bool:
    return pk.startswith("VIDEO#") or table.WEBHOOK_PREFIX in pk + sk


# --- every route, everyone, everything that is named ---------------------------------------------


@pytest.fixture(scope="module")
def described(stage: AdminStage) -> dict[str, Any]:
    return {
        "api": schemathesis.openapi.from_url(f"{stage.stage.api.url}/api/openapi.json"),
        "admin": schemathesis.openapi.from_url(f"{stage.admin.url}/api/admin/openapi.json"),
    }


@pytest.fixture(scope="module")
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


ROUTES = [
    (service, method, route)
    for service, matrix in (("api", role_matrix.API), ("admin", role_matrix.ADMIN))
    for method, route in matrix
    if not route.endswith("openapi.json")
]


@pytest.mark.parametrize(("service", "method", "route"), ROUTES)
def test_what_may_not_be_known_is_answered_as_what_does_not_exist(
    described: dict[str, Any],
    http: requests.Session,
    askers: dict[str, Asker],
    tenants: dict[str, Tenancy],
    service: str,
    method: str,
    route: str,
) -> None:
    operation = described[service][route.replace(":path", "")][method]
    own_grant = next(iter(tenants[THEIRS].playback.values()))

    @asking
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        drawn = data.draw(operation.as_strategy())
        for who, asker in askers.items():
            if service not in asker.services:
                continue
            theirs, nothing = alike(drawn), alike(drawn)
            swapped = name_hidden(data, theirs, nothing, asker.hidden, own_grant)
            sent = {"Authorization": f"Bearer {asker.token}"} if asker.token else {}
            told, expected = (case.call(session=http, headers=sent) for case in (theirs, nothing))
            where = f"{who}: {told.request.method} {told.request.url}"
            assert told.status_code == expected.status_code, (where, told.text, expected.text)
            # What is one's own differs from answer to answer: what was made, and when.
            if told.status_code >= 400:
                assert as_told(told, swapped) == as_told(expected, swapped), where
            for mark in {*asker.hidden.marks, *asker.hidden.ids()} - swapped.keys():
                assert mark not in told.text, (where, mark)

    ask()


def alike(case: schemathesis.Case) -> schemathesis.Case:
    """Return the same request once more, but for its Idempotency-Key: keys are of one request."""
    headers = case.headers or {}
    return case.operation.Case(
        path_parameters=dict(case.path_parameters or {}),
        query=dict(case.query or {}),
        headers={name: headers[name] for name in headers if name.lower() != "idempotency-key"},
        body=dict(case.body) if isinstance(case.body, dict) else case.body,
        media_type=case.media_type,
    )


def name_hidden(
    data: st.DataObject,
    theirs: schemathesis.Case,
    nothing: schemathesis.Case,
    hidden: Hidden,
    grant: Mapping[str, Any],
) -> dict[str, str]:
    """Let one request name what is hidden, and the other in its place what does not exist.

    Returns:
        The values of both, and the name of the place at which they stand.
    """
    swapped: dict[str, str] = {}
    others: dict[str, str] = {}

    def put(container: str, name: str, *values: list[str]) -> None:
        value = data.draw(st.one_of(map(st.sampled_from, values)), label=f"{container} {name}")
        other = others.setdefault(value, like(name, value))
        getattr(theirs, container)[name] = value
        getattr(nothing, container)[name] = other
        swapped[value] = swapped[other] = f"<{name}>"

    for name in list(theirs.path_parameters):
        if name == "path":
            theirs.path_parameters[name] = nothing.path_parameters[name] = PLAYLIST
        else:
            ids = hidden.ids()
            put("path_parameters", name, *[hidden.named.get(name, ids)] * 3, ids)
    known = {parameter.name for parameter in theirs.operation.query}
    for name in sorted(known & hidden.named.keys()):
        if data.draw(st.booleans(), label=f"with {name}"):
            put("query", name, hidden.named[name])
    if "Policy" in known:
        signed = dict(parse_qsl(urlsplit(grant["signed_playlist_url"]).query))
        theirs.query, nothing.query = dict(signed), dict(signed)
    if isinstance(theirs.body, dict):
        for name in sorted(theirs.body.keys() & hidden.named.keys() - {"email"}):
            put("body", name, hidden.named[name])
        take_new_addresses(theirs.body, nothing.body)
    return swapped


def take_new_addresses(*bodies: dict[str, Any]) -> None:
    """An address belongs to one user of all tenants, which who wants to take it has to be told."""
    for body in bodies:
        if "email" in body:
            body["email"] = f"{new_id()}@example.com"


def like(name: str, value: str) -> str:
    """Return what looks the same and names nothing."""
    if name == "cursor":
        return value
    if name == "email":
        return f"{new_id()}@example.com"
    if name == "tenant":
        return NOBODYS
    return new_id() if is_id(value) else str(uuid.uuid4())


def as_told(answer: schemathesis.Response, swapped: Mapping[str, str]) -> tuple[str, Any]:
    """Return what an answer tells, without what differs from request to request."""
    text = answer.text.replace(*answer.headers["x-request-id"], "<request>")
    for value in sorted(swapped, key=len, reverse=True):
        text = text.replace(value, swapped[value])
    return text, answer.headers.get("www-authenticate")


# --- what is signed ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uploads(tenants: dict[str, Tenancy]) -> list[tuple[str, dict[str, str]]]:
    return [upload for made in tenants.values() for upload in made.uploads]


def query_of(url: SplitResult) -> dict[str, str]:
    return dict(parse_qsl(url.query))


def test_of_two_upload_urls_none_is_made_that_takes_anything(
    stage: AdminStage, uploads: list[tuple[str, dict[str, str]]]
) -> None:
    @mixing
    @given(st.data())
    def mix(data: st.DataObject) -> None:
        pair = data.draw(st.permutations(uploads))[:2]
        chosen = st.sampled_from([0, 1])
        parts = [urlsplit(url) for url, _ in pair]
        queries = [query_of(part) for part in parts]
        place = parts[data.draw(chosen, label="place")]
        query = {
            name: value
            for name in sorted(queries[0].keys() | queries[1].keys())
            if (value := queries[data.draw(chosen, label=name)].get(name)) is not None
        }
        headers = pair[data.draw(chosen, label="headers")][1]
        if (place.path, query, headers) not in [
            (part.path, query_of(part), of_it) for part, (_, of_it) in zip(parts, pair, strict=True)
        ]:
            url = place._replace(query=urlencode(query)).geturl()
            assert send("PUT", url, body=FILE, headers=headers) >= 400

    mix()
    s3 = stage.emulator.client("s3")
    assert "Contents" not in s3.list_objects_v2(Bucket=stage.stage.environment.raw_bucket)
    for url, headers in uploads:
        assert send("PUT", url, body=FILE, headers=headers) == 200


@pytest.fixture(scope="module")
def grants(tenants: dict[str, Tenancy]) -> dict[str, dict[str, str]]:
    """The signature of every run, by the prefix of its objects."""
    return {
        prefix: dict(parse_qsl(urlsplit(grant["signed_playlist_url"]).query))
        for made in tenants.values()
        for prefix, grant in made.playback.items()
    }


WAYS: list[Callable[[str, str], str]] = [
    lambda _here, there: there,
    lambda here, there: f"{here}/{up(here)}{there}",
    lambda here, there: f"{here}/{up(here).replace('.', '%2e')}{there}",
    lambda here, there: f"{here}//{up(here)}../{there}",
]
"""Ways to ask for what lies at another place. To S3, ``..%2F`` and ``..%5C`` are parts of a key."""


def up(prefix: str) -> str:
    return "../" * (prefix.count("/") + 1)


def test_a_signature_of_a_run_opens_that_run_alone(
    stage: AdminStage, grants: dict[str, dict[str, str]]
) -> None:
    keys = {"KA": load_public_key(PAIR.public_key)}
    prefixes = st.sampled_from(sorted(grants))

    def opens(url: str, signature: Mapping[str, str], *, cookies: bool) -> bool:
        named = {f"CloudFront-{name}": value for name, value in signature.items()}
        query = "" if cookies else urlencode(signature)
        viewer = Viewer(url, "192.0.2.1", query, named if cookies else {})
        try:
            authorize(viewer, keys, now=time.time())
        except DeniedError:
            return False
        return True

    @mixing
    @given(prefixes, prefixes, prefixes, st.sampled_from(WAYS), st.booleans())
    def ask(
        policy: str, signed: str, asked: str, way: Callable[[str, str], str], cookies: bool
    ) -> None:
        signature = {**grants[policy], "Signature": grants[signed]["Signature"]}
        url = f"{BASE_URL}/{way(policy, f'{asked}/v720/1/000000.m4s')}"
        admitted = policy == signed == asked
        if asked != policy or way is WAYS[0]:
            assert opens(url, signature, cookies=cookies) == admitted
        video_id, run_id = asked.split("/")[-2:]
        playlist = f"{path(video_id)}/runs/{run_id}/hls/{PLAYLIST}"
        answer = stage.stage.api.call("GET", f"{playlist}?{urlencode(signature)}")
        assert answer.status == (200 if admitted else 403)

    ask()
