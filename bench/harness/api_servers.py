"""The API and its peers as processes, each on one processor, and what stands for AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from harness import ROOT
from harness.api_peers import CANNED
from harness.api_signers import BASE_URL, key_pair
from harness.stage import REGION, TABLE, held_on, wait_for
from media_api.models import video_body
from media_platform.contract.delivery import DeliveryDocument, delivery_parameter_name
from media_platform.contract.environment import ApiEnvironment
from media_platform.contract.ids import new_id
from media_platform.contract.run import Rendition, Run, RunStatus
from media_platform.contract.times import timestamp
from media_platform.contract.video import Video, VideoStatus
from mediactl.local.ports import free_ports

STAGE = "bench"
ISSUER = "https://issuer.example"
CLIENT = "bench-client"
TENANT = "acme"
LADDER = ((1080, 1920, 4_500_000), (720, 1280, 2_600_000), (480, 854, 1_200_000), (360, 640, 7e5))


def stored_video() -> tuple[Video, Run]:
    """Return a READY video with its run, as workers leave them."""
    video_id, run_id, now = new_id(), new_id(), timestamp()
    video = Video(
        video_id=video_id,
        tenant=TENANT,
        owner="user-0",
        home_region=REGION,
        title="Harbour at dawn",
        file_name="harbour.mp4",
        content_type="video/mp4",
        size_bytes=104_857_600,
        raw_key=f"raw/{TENANT}/user-0/{video_id}.mp4",
        created_at=now,
        updated_at=now,
        status=VideoStatus.READY,
        version=5,
        raw_version_id="3sL4kqtJlcpXroDTDmJ",
        current_run=run_id,
        duration_seconds=596.5,
        width=1920,
        height=1080,
        uploaded_at=now,
        ready_at=now,
        description="Boats, and the light on the water",
        tags=("boats", "harbour", "morning"),
    )
    run = Run(
        video_id=video_id,
        run_id=run_id,
        status=RunStatus.COMPLETE,
        started_at=now,
        chunks=38,
        progress=100,
        duration_seconds=596.5,
        frame_rate="30",
        has_audio=True,
        renditions=tuple(
            Rendition(
                height=height,
                width=width,
                frames=17_895,
                bandwidth=int(bandwidth),
                codecs="avc1.640028",
            )
            for height, width, bandwidth in LADDER
        ),
        playable_at=now,
        finished_at=now,
    )
    return video, run


class Tokens:
    """Access tokens, no two alike, and the key set that verifies them."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._number = 0

    @cached_property
    def key_set(self) -> dict[str, Any]:
        """The key set of their issuer."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "bench", "use": "sig", "alg": "RS256"}
        return {"keys": [{**key, "n": _number(numbers.n), "e": _number(numbers.e)}]}

    def make(self, count: int) -> list[str]:
        """Return new tokens."""
        return [self._one() for _ in range(count)]

    def _one(self) -> str:
        self._number += 1
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "client_id": CLIENT,
            "token_use": "access",
            "sub": f"user-{self._number}",
            "tenant": TENANT,
            "cognito:groups": ["viewer"],
            "jti": new_id(),
            "iat": now,
            "exp": now + 24 * 3600,
        }
        head = _encoded(json.dumps({"alg": "RS256", "kid": "bench"}).encode())
        text = f"{head}.{_encoded(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), SHA256())
        return f"{text}.{_encoded(signature)}"


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass(frozen=True)
class Server:
    """A server that is being measured.

    Attributes:
        port: Its port.
        process: Its process.
    """

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the processor time that it has spent."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        """Return the memory that it has in use."""
        return int(self.process.memory_info().rss)


@dataclass(frozen=True)
class Bench:
    """What all servers share.

    Attributes:
        folder: Where their logs are.
        server_core: Processor of the servers.
        load_core: Processor of the load and of what stands for AWS.
        tokens: Makes tokens.
        video: The video that every id stands for.
        variables: Environment of the servers.
    """

    folder: Path
    server_core: int
    load_core: int
    tokens: Tokens
    video: Video
    variables: Mapping[str, str]

    @contextmanager
    def server(self, mode: str) -> Iterator[Server]:
        """Start a server: ``api``, or a mode of ``api_peers.py``."""
        with self._process(mode, self.server_core) as server:
            yield server

    @contextmanager
    def _process(self, mode: str, core: int) -> Iterator[Server]:
        (port,) = free_ports(1)
        module = ["media_api"] if mode == "api" else ["harness.api_peers", mode, str(port)]
        command = [sys.executable, "-m", *module]
        log_file = self.folder / f"{mode}-{port}.log"
        with log_file.open("wb") as log, held_on([core]):
            process = subprocess.Popen(
                command,
                env={**self.variables, "LISTEN_ADDRESS": f"127.0.0.1:{port}"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:

            def answers() -> bool:
                if process.poll() is not None:
                    raise SystemExit(f"{mode} ended:\n{log_file.read_text()[-2000:]}")
                try:
                    urlopen(f"http://127.0.0.1:{port}/health/live", timeout=1).close()
                except OSError as error:
                    return hasattr(error, "code")
                return True

            wait_for(answers, f"{mode} answers", seconds=60)
            yield Server(port, psutil.Process(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def running_bench(server_core: int, load_core: int) -> Iterator[Bench]:
    """Start what stands for AWS and for the issuer, on the processor of the load."""
    video, run = stored_video()
    tokens = Tokens()
    document = DeliveryDocument(base_url=BASE_URL, key_pair_id="KA", signing_secret=f"{STAGE}/a")
    answers = {
        # Both are looked for in the whole request, and the run is the rarer word.
        '#STATE"': {"Item": run.to_item()},
        '"META"': {"Item": video.to_item()},
        "AmazonSSM.GetParameter": {"Parameter": {"Value": document.to_json()}},
        "secretsmanager.GetSecretValue": {"SecretString": key_pair().to_json()},
        "GET /jwks.json": tokens.key_set,
    }
    folders = [str(ROOT / folder) for folder in ("", "bench", "runtime/api")]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        canned = Path(name, "canned.json")
        body = video_body(video, run, with_rules=False).model_dump(mode="json")
        canned.write_text(json.dumps({"answers": answers, "body": body}))
        environment = {
            CANNED: str(canned),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": os.pathsep.join(folders),
            "PATH": os.environ["PATH"],
        }
        bench = Bench(Path(name), server_core, load_core, tokens, video, environment)
        with bench._process("aws", load_core) as aws:  # noqa: SLF001 - it is its own
            url = f"http://127.0.0.1:{aws.port}"
            api = ApiEnvironment(
                stage=STAGE,
                home_region=REGION,
                table_name=TABLE,
                raw_bucket="raw-uploads",
                media_bucket="media-files",
                token_issuer=ISSUER,
                token_jwks_url=f"{url}/jwks.json",
                token_client_id=CLIENT,
                delivery_parameter=delivery_parameter_name(STAGE),
                upload_max_bytes=5 * 1024**3,
                upload_expiry_seconds=3600,
                playback_expiry_seconds=4 * 3600,
                quota_videos=10**6,
                quota_bytes=10**15,
                quota_uploads=1000,
                regions=REGION,
                restore_days=30,
                webhook_allowed_networks="none",
                cache_url="none",
            )
            variables = {**environment, **api.to_variables(), "AWS_ENDPOINT_URL": url}
            yield replace(bench, variables=variables)
