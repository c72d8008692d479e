"""Who may use the platform: the user pool, its groups, its one client, its token trigger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import aws_cdk as cdk
from aws_cdk import aws_cognito as cognito
from constructs import Construct

from media_platform.assets import Service
from media_platform.constructs._accepted import Accepted, accept
from media_platform.constructs._durations import duration
from media_platform.constructs._python_function import python_function
from media_platform.contract import identity

_PASSWORD_LENGTH = 12

_INVITATION = timedelta(days=3)
"""Life of the first password, which lies in a mailbox."""


@dataclass(frozen=True, kw_only=True)
class TokenIssuer:
    """Whose access tokens an API accepts, as plain values.

    Attributes:
        issuer: ``iss`` of the tokens.
        jwks_url: Where the keys of the issuer are read.
        client_id: ``client_id`` that the tokens carry.
    """

    issuer: str
    jwks_url: str
    client_id: str


class UserDirectory(Construct):
    """A Cognito user pool on the Essentials plan, which puts the tenant into access tokens.

    Users are made by administrators. No client may write the tenant of a user.

    Args:
        scope: Parent.
        construct_id: Id in it.
        removal_policy: What happens to users when the pool leaves the template.
        deletion_protection: Whether the pool refuses to be deleted.

    Attributes:
        user_pool: The user pool.
        client: Its one client, for user name and password and for SRP, without a secret.
        token_issuer: What an API needs to know to accept its tokens.

    Source: Amazon Cognito Developer Guide, "Pre token generation Lambda trigger".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        removal_policy: cdk.RemovalPolicy,
        deletion_protection: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        self.user_pool = cognito.UserPool(
            self,
            "UserPool",
            feature_plan=cognito.FeaturePlan.ESSENTIALS,
            self_sign_up_enabled=False,
            sign_in_aliases=cognito.SignInAliases(username=True, email=True),
            account_recovery=cognito.AccountRecovery.EMAIL_ONLY,
            password_policy=cognito.PasswordPolicy(
                min_length=_PASSWORD_LENGTH,
                require_digits=True,
                require_lowercase=True,
                require_uppercase=True,
                require_symbols=True,
                temp_password_validity=duration(_INVITATION),
            ),
            # An address that signs in and recovers passwords is proven before it counts.
            keep_original=cognito.KeepOriginalAttrs(email=True),
            mfa=cognito.Mfa.OPTIONAL,
            mfa_second_factor=cognito.MfaSecondFactor(otp=True, sms=False),
            custom_attributes={
                identity.TENANT_ATTRIBUTE: cognito.StringAttribute(
                    min_len=1, max_len=identity.TENANT_CHARACTERS, mutable=True
                )
            },
            removal_policy=removal_policy,
            deletion_protection=deletion_protection,
        )
        accept(self.user_pool, Accepted.OPTIONAL_SECOND_FACTOR, Accepted.THREAT_PROTECTION)
        for name, description in identity.GROUPS.items():
            cognito.CfnUserPoolGroup(
                self,
                name.capitalize(),
                user_pool_id=self.user_pool.user_pool_id,
                group_name=name,
                description=description,
            )
        trigger = python_function(
            self,
            "AccessToken",
            service=Service.ACCESS_TOKEN,
            handler="access_token.handler.handle",
            description="Puts the tenant into access tokens",
            # Cognito gives a trigger five seconds and calls it up to three times.
            timeout=cdk.Duration.seconds(5),
            failures=Accepted.FAILURES_TO_CALLER,
        )
        self.user_pool.add_trigger(
            cognito.UserPoolOperation.PRE_TOKEN_GENERATION_CONFIG,
            trigger,
            cognito.LambdaVersion.V2_0,
        )
        self.client = self.user_pool.add_client(
            "Client",
            auth_flows=cognito.AuthFlow(user_password=True, user_srp=True),
            disable_o_auth=True,
            generate_secret=False,
            prevent_user_existence_errors=True,
            enable_token_revocation=True,
            auth_session_validity=cdk.Duration.minutes(3),
            access_token_validity=cdk.Duration.hours(1),
            id_token_validity=cdk.Duration.hours(1),
            refresh_token_validity=cdk.Duration.days(30),
            read_attributes=cognito.ClientAttributes()
            .with_standard_attributes(email=True, fullname=True)
            .with_custom_attributes(identity.TENANT_ATTRIBUTE),
            write_attributes=cognito.ClientAttributes().with_standard_attributes(
                email=True, fullname=True
            ),
        )
        pool_id, region = self.user_pool.user_pool_id, cdk.Stack.of(self).region
        self.token_issuer = TokenIssuer(
            issuer=f"https://cognito-idp.{region}.amazonaws.com/{pool_id}",
            jwks_url=f"{self.user_pool.user_pool_provider_url}/.well-known/jwks.json",
            client_id=self.client.user_pool_client_id,
        )
