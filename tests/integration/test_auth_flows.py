"""Signing in and what belongs to it, as ``docs/auth.md`` tells it, on the deployed user pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from journey import Person, send, sign_in
from second_factor import totp

from media_platform.contract.identity import ADMIN_GROUP
from media_platform.contract.ids import new_id

PASSWORD = "Correct-Horse-7-Battery"
OTHER_PASSWORD = "Different-Horse-8-Staple"
RESET_CODE = "654321"
"""The code that the emulator, which sends no mail, issues for every password to be reset."""

NO_SESSION = "session-of-nobody" * 3


@dataclass(frozen=True)
class Visitor:
    """One who signs in by the pool's own interface.

    Attributes:
        cognito: A client of the pool, of whose rights none is used: these calls need no signature.
        client_id: The app client.
        base_url: The one origin.
        username: Name in the pool.
        email: Address, by which it signs in.
        first_password: The password of its invitation.
    """

    cognito: Any
    client_id: str
    base_url: str
    username: str
    email: str
    first_password: str

    def start(self, password: str) -> dict[str, Any]:
        """Begin to sign in."""
        return dict(
            self.cognito.initiate_auth(
                ClientId=self.client_id,
                AuthFlow="USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": self.email, "PASSWORD": password},
            )
        )

    def answer(self, challenge: dict[str, Any], **responses: str) -> dict[str, Any]:
        """Answer a challenge."""
        return dict(
            self.cognito.respond_to_auth_challenge(
                ClientId=self.client_id,
                ChallengeName=challenge["ChallengeName"],
                Session=challenge["Session"],
                ChallengeResponses={"USERNAME": self.email, **responses},
            )
        )

    def accept(self) -> dict[str, str]:
        """Take the invitation up, and return the tokens."""
        challenge = self.start(self.first_password)
        return tokens(self.answer(challenge, NEW_PASSWORD=PASSWORD))

    def refresh(self, refresh_token: str) -> dict[str, str]:
        """Return new tokens."""
        answer = self.cognito.initiate_auth(
            ClientId=self.client_id,
            AuthFlow="REFRESH_TOKEN_AUTH",
            AuthParameters={"REFRESH_TOKEN": refresh_token},
        )
        return tokens(answer)

    def status(self, access_token: str, path: str = "/api/videos") -> int:
        """Return what the platform answers to a token."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return send("GET", self.base_url + path, headers=headers).status


def tokens(answer: dict[str, Any]) -> dict[str, str]:
    """Return the tokens of an answer that must have them."""
    return dict(answer["AuthenticationResult"])


@pytest.fixture(scope="module")
def tenant() -> str:
    return f"tenant-{new_id()}"


@pytest.fixture(scope="module")
def root(platform: Any, tenant: str) -> Person:
    """An administrator of the tenant."""
    return sign_in(platform, f"root-{tenant[-12:]}", tenant=tenant, group=ADMIN_GROUP)


@pytest.fixture
def visitor(plane: Any, outputs: dict[str, str], root: Person) -> Visitor:
    """A user who was just invited."""
    email = f"{new_id()}@example.com"
    body = {"email": email, "groups": ["editor"], "invite": False}
    made = root.request("POST", "/api/admin/users", json=body)
    assert made.status == 201, made.data
    return Visitor(
        cognito=plane.client("cognito-idp"),
        client_id=outputs["UserPoolClientId"],
        base_url=root.base_url,
        username=made.json()["user"]["username"],
        email=email,
        first_password=made.json()["temporary_password"],
    )


def test_nobody_signs_up_himself(visitor: Visitor) -> None:
    with pytest.raises(visitor.cognito.exceptions.NotAuthorizedException):
        visitor.cognito.sign_up(ClientId=visitor.client_id, Username="eve", Password=PASSWORD)


def test_an_invited_user_chooses_a_password_and_is_in(visitor: Visitor) -> None:
    challenge = visitor.start(visitor.first_password)
    assert challenge["ChallengeName"] == "NEW_PASSWORD_REQUIRED"
    with pytest.raises(visitor.cognito.exceptions.InvalidPasswordException):
        visitor.answer(challenge, NEW_PASSWORD="short")
    assert (
        visitor.status(tokens(visitor.answer(challenge, NEW_PASSWORD=PASSWORD))["AccessToken"])
        == 200
    )
    assert "AuthenticationResult" in visitor.start(PASSWORD)
    with pytest.raises(visitor.cognito.exceptions.NotAuthorizedException):
        visitor.start(visitor.first_password)


def test_a_challenge_is_answered_with_its_own_session_once(visitor: Visitor) -> None:
    refused = visitor.cognito.exceptions.NotAuthorizedException
    challenge = visitor.start(visitor.first_password)
    with pytest.raises(refused):
        visitor.answer({**challenge, "Session": NO_SESSION}, NEW_PASSWORD=PASSWORD)
    with pytest.raises(refused):
        visitor.answer(
            {**challenge, "ChallengeName": "SOFTWARE_TOKEN_MFA"}, SOFTWARE_TOKEN_MFA_CODE="1"
        )
    visitor.answer(challenge, NEW_PASSWORD=PASSWORD)
    with pytest.raises(refused):
        visitor.answer(challenge, NEW_PASSWORD=OTHER_PASSWORD)


def test_a_refreshed_token_has_the_groups_of_now(visitor: Visitor, root: Person) -> None:
    first = visitor.accept()
    assert visitor.status(first["AccessToken"], "/api/admin/users") == 403
    path = f"/api/admin/users/{visitor.username}/groups"
    assert root.request("PUT", path, json={"groups": ["admin"]}).status == 200
    assert visitor.status(first["AccessToken"], "/api/admin/users") == 403
    again = visitor.refresh(first["RefreshToken"])
    assert visitor.status(again["AccessToken"], "/api/admin/users") == 200
    assert "RefreshToken" not in again


def test_id_and_refresh_tokens_open_nothing(visitor: Visitor) -> None:
    given = visitor.accept()
    assert [visitor.status(given[kind]) for kind in ("IdToken", "RefreshToken")] == [401, 401]


def test_a_forgotten_password_is_reset_by_mail(visitor: Visitor) -> None:
    visitor.accept()
    sent = visitor.cognito.forgot_password(ClientId=visitor.client_id, Username=visitor.email)
    assert sent["CodeDeliveryDetails"]["AttributeName"] == "email"
    assert visitor.email not in sent["CodeDeliveryDetails"]["Destination"]
    reset = {"ClientId": visitor.client_id, "Username": visitor.email, "Password": OTHER_PASSWORD}
    with pytest.raises(visitor.cognito.exceptions.CodeMismatchException):
        visitor.cognito.confirm_forgot_password(**reset, ConfirmationCode="000000")
    visitor.cognito.confirm_forgot_password(**reset, ConfirmationCode=RESET_CODE)
    assert "AuthenticationResult" in visitor.start(OTHER_PASSWORD)
    with pytest.raises(visitor.cognito.exceptions.NotAuthorizedException):
        visitor.start(PASSWORD)
    with pytest.raises(visitor.cognito.exceptions.ExpiredCodeException):
        visitor.cognito.confirm_forgot_password(**reset, ConfirmationCode=RESET_CODE)


def test_whether_a_user_exists_is_not_told(visitor: Visitor) -> None:
    nobody = f"{new_id()}@example.com"
    sent = visitor.cognito.forgot_password(ClientId=visitor.client_id, Username=nobody)
    assert sent["CodeDeliveryDetails"]["DeliveryMedium"] == "EMAIL"
    told = []
    for email in (nobody, visitor.email):
        with pytest.raises(visitor.cognito.exceptions.NotAuthorizedException) as refused:
            visitor.cognito.initiate_auth(
                ClientId=visitor.client_id,
                AuthFlow="USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": email, "PASSWORD": "Wrong-Horse-9-Battery"},
            )
        told.append(refused.value.response["Error"]["Message"])
    assert told[0] == told[1]


def test_a_second_factor_is_asked_for_once_it_is_set_up(visitor: Visitor) -> None:
    cognito, access = visitor.cognito, visitor.accept()["AccessToken"]
    secret = cognito.associate_software_token(AccessToken=access)["SecretCode"]
    with pytest.raises(cognito.exceptions.EnableSoftwareTokenMFAException):
        cognito.verify_software_token(AccessToken=access, UserCode=totp(secret, steps=1000))
    verified = cognito.verify_software_token(AccessToken=access, UserCode=totp(secret))
    assert verified["Status"] == "SUCCESS"
    cognito.set_user_mfa_preference(
        AccessToken=access, SoftwareTokenMfaSettings={"Enabled": True, "PreferredMfa": True}
    )

    challenge = visitor.start(PASSWORD)
    assert challenge["ChallengeName"] == "SOFTWARE_TOKEN_MFA"
    assert "AuthenticationResult" not in challenge
    with pytest.raises(cognito.exceptions.CodeMismatchException):
        visitor.answer(challenge, SOFTWARE_TOKEN_MFA_CODE=totp(secret, steps=1000))
    no_password = {**challenge, "Session": NO_SESSION}
    with pytest.raises(cognito.exceptions.NotAuthorizedException):
        visitor.answer(no_password, SOFTWARE_TOKEN_MFA_CODE=totp(secret))
    given = tokens(visitor.answer(challenge, SOFTWARE_TOKEN_MFA_CODE=totp(secret)))
    assert visitor.status(given["AccessToken"]) == 200


@pytest.mark.parametrize("by", ["the user", "the user, one session", "an administrator"])
def test_after_signing_out_nothing_is_refreshed(visitor: Visitor, root: Person, by: str) -> None:
    given = visitor.accept()
    if by == "the user":
        visitor.cognito.global_sign_out(AccessToken=given["AccessToken"])
    elif by == "an administrator":
        path = f"/api/admin/users/{visitor.username}/sign-out"
        assert root.request("POST", path).status == 200
    else:
        visitor.cognito.revoke_token(Token=given["RefreshToken"], ClientId=visitor.client_id)
    with pytest.raises(visitor.cognito.exceptions.NotAuthorizedException):
        visitor.refresh(given["RefreshToken"])
    # Checked without asking the pool, an access token holds until it ends: see docs/auth.md.
    assert visitor.status(given["AccessToken"]) == 200


def test_a_disabled_user_gets_no_more_tokens(visitor: Visitor, root: Person) -> None:
    given = visitor.accept()
    path = f"/api/admin/users/{visitor.username}"
    assert root.request("POST", f"{path}/disable").status == 200
    refused = visitor.cognito.exceptions.NotAuthorizedException
    with pytest.raises(refused):
        visitor.start(PASSWORD)
    with pytest.raises(refused):
        visitor.refresh(given["RefreshToken"])
    assert visitor.status(given["AccessToken"]) == 200
    assert root.request("POST", f"{path}/enable").status == 200
    assert "AuthenticationResult" in visitor.start(PASSWORD)
    with pytest.raises(refused):
        visitor.refresh(given["RefreshToken"])


def test_one_address_is_one_user_and_no_name(visitor: Visitor, outputs: dict[str, str]) -> None:
    pool, cognito = outputs["UserPoolId"], visitor.cognito
    with pytest.raises(cognito.exceptions.InvalidParameterException, match="email format"):
        cognito.admin_create_user(UserPoolId=pool, Username=f"{new_id()}@example.com")
    address = [
        {"Name": "email", "Value": visitor.email},
        {"Name": "email_verified", "Value": "true"},
    ]
    with pytest.raises(cognito.exceptions.AliasExistsException):
        cognito.admin_create_user(UserPoolId=pool, Username=new_id(), UserAttributes=address)
