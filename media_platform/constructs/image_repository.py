"""Where a team keeps container images of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from media_platform.constructs._checks import check_range, reject

_PULL = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
]
_PUSH = [
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
]
_ACCOUNT = re.compile(r"\d{12}")
_ROLE = re.compile(r"arn:[^:]+:iam::\d{12}:role/.+")


class ImageRepository(Construct):
    """A repository for images that a team builds itself, e.g. that of the worker.

    Images are scanned when they are pushed, and a tag is never moved to another image. Any role of
    the repository's own account pulls if its policies say so, as that of a task does.

    Args:
        scope: Parent.
        construct_id: Id in it.
        pull_accounts: Other accounts that may pull, 12 digits each. Default: none.
        push_role_arns: The roles that may push; nobody else can, whatever the own policies say.
            They must exist when it is deployed. Default: whoever may by policies of the own
            account.
        keep: Images that are kept, the newest ones, 1 to 1000; what is deployed has to be among
            them. Default 10.
        encryption_key: KMS key of the images; it cannot be changed later. Default: one that AWS
            owns.
        removal_policy: What happens to the images when the repository goes. Default ``RETAIN``.

    Raises:
        ValueError: If an account or a role is none, or the number is out of range.

    Attributes:
        repository: The repository.

    Source: Amazon ECR User Guide, "Private repository policies" and "Pushing an image".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        pull_accounts: Sequence[str] = (),
        push_role_arns: Sequence[str] = (),
        keep: int = 10,
        encryption_key: kms.IKey | None = None,
        removal_policy: cdk.RemovalPolicy | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        check_range(self, "keep", keep, (1, 1000), "a task starts from an image that is kept")
        self._check("pull_accounts", pull_accounts, _ACCOUNT, "account ids of 12 digits")
        self._check("push_role_arns", push_role_arns, _ROLE, "ARNs of IAM roles")
        removal_policy = removal_policy or cdk.RemovalPolicy.RETAIN
        self.repository = ecr.Repository(
            self,
            "Repository",
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            encryption=(
                ecr.RepositoryEncryption.KMS if encryption_key else ecr.RepositoryEncryption.AES_256
            ),
            encryption_key=encryption_key,
            lifecycle_rules=[ecr.LifecycleRule(max_image_count=keep)],
            empty_on_delete=removal_policy == cdk.RemovalPolicy.DESTROY,
            removal_policy=removal_policy,
        )
        if pull_accounts:
            self._allow(_PULL, [iam.AccountPrincipal(account) for account in pull_accounts])
        if push_role_arns:
            self._allow([*_PULL, *_PUSH], [iam.ArnPrincipal(arn) for arn in push_role_arns])
            self._refuse_pushes_of_others(push_role_arns)

    def _check(self, name: str, values: Sequence[str], form: re.Pattern[str], allowed: str) -> None:
        for value in values:
            if not cdk.Token.is_unresolved(value) and not form.fullmatch(value):
                raise reject(self, f"{name} contains {value!r}, allowed are {allowed}; correct it")

    def _allow(self, actions: Sequence[str], principals: Sequence[iam.IPrincipal]) -> None:
        self.repository.add_to_resource_policy(
            iam.PolicyStatement(actions=list(actions), principals=list(principals))
        )

    def _refuse_pushes_of_others(self, roles: Sequence[str]) -> None:
        self.repository.add_to_resource_policy(
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                actions=list(_PUSH),
                principals=[iam.AnyPrincipal()],
                conditions={"ArnNotEquals": {"aws:PrincipalArn": list(roles)}},
            )
        )
