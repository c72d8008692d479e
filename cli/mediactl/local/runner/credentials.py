"""Role credentials and secrets, as ECS gets them for a task."""

from __future__ import annotations

import datetime as dt
import json
import threading
from dataclasses import dataclass
from typing import Any

from mediactl.local.aws import Emulator
from mediactl.local.runner.specs import SecretSource, TaskSpec

SESSION_SECONDS = 3600
RENEW_BEFORE = dt.timedelta(minutes=15)
"""Credentials are made anew this long before they expire; SDKs ask again at about that time."""


@dataclass(frozen=True)
class RoleCredentials:
    """Temporary credentials of a role, with their time of expiry."""

    role_arn: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: dt.datetime

    def to_agent_json(self) -> dict[str, str]:
        """Return them as the ECS agent serves them to SDKs."""
        return {
            "RoleArn": self.role_arn,
            "AccessKeyId": self.access_key_id,
            "SecretAccessKey": self.secret_access_key,
            "Token": self.session_token,
            "Expiration": self.expiration.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def to_client_arguments(self) -> dict[str, str]:
        """Return them as boto3 takes them."""
        return {
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
        }


class RoleSessions:
    """Sessions of roles, kept until they are about to expire."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str], RoleCredentials] = {}

    def get(self, role_arn: str, session_name: str, region: str) -> RoleCredentials:
        """Return credentials of a role that hold for a while."""
        with self._lock:
            known = self._sessions.get((role_arn, session_name))
            if known and known.expiration - dt.datetime.now(dt.UTC) > RENEW_BEFORE:
                return known
            answer = self._emulator.client("sts", region).assume_role(
                RoleArn=role_arn, RoleSessionName=session_name, DurationSeconds=SESSION_SECONDS
            )["Credentials"]
            fresh = RoleCredentials(
                role_arn=role_arn,
                access_key_id=answer["AccessKeyId"],
                secret_access_key=answer["SecretAccessKey"],
                session_token=answer["SessionToken"],
                expiration=answer["Expiration"],
            )
            self._sessions[(role_arn, session_name)] = fresh
            return fresh

    def forget(self, session_name: str) -> None:
        """Drop the sessions of a task that ended."""
        with self._lock:
            for key in [key for key in self._sessions if key[1] == session_name]:
                del self._sessions[key]


def read_secrets(
    emulator: Emulator, sessions: RoleSessions, spec: TaskSpec, task_id: str
) -> dict[str, str]:
    """Read the secrets of a task with its execution role, as ECS does before it starts one.

    Raises:
        ValueError: If a task with secrets has no execution role.
        botocore.exceptions.ClientError: If the role may not read one, or there is none.
    """
    if not spec.secrets:
        return {}
    if not spec.execution_role:
        raise ValueError(f"task definition {spec.arn} names secrets but no execution role")
    credentials = sessions.get(spec.execution_role, task_id, spec.region)
    arguments = credentials.to_client_arguments()
    return {secret.name: _read(emulator, spec.region, secret, arguments) for secret in spec.secrets}


def _read(
    emulator: Emulator, region: str, secret: SecretSource, credentials: dict[str, str]
) -> str:
    if ":secretsmanager:" not in secret.value_from:
        name = secret.value_from.partition(":parameter")[2] or secret.value_from
        ssm = emulator.client("ssm", region, **credentials)
        answer = ssm.get_parameters(Names=[name], WithDecryption=True)
        if answer.get("InvalidParameters"):
            raise ValueError(f"{secret.name}: there is no parameter {name}")
        return str(answer["Parameters"][0]["Value"])
    # arn:aws:secretsmanager:region:account:secret:name:json-key:version-stage:version-id
    parts = secret.value_from.split(":")
    arn, options = ":".join(parts[:7]), [*parts[7:], "", "", ""]
    request: dict[str, Any] = {"SecretId": arn}
    if options[1]:
        request["VersionStage"] = options[1]
    if options[2]:
        request["VersionId"] = options[2]
    text = emulator.client("secretsmanager", arn.split(":")[3], **credentials).get_secret_value(
        **request
    )["SecretString"]
    if options[0]:
        return str(json.loads(text)[options[0]])
    return str(text)
