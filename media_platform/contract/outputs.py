"""Outputs and parameters of stacks: what planes, ``mediactl`` and other teams look up by name."""

from __future__ import annotations

from enum import StrEnum


class StackPart(StrEnum):
    """What a stack holds; a region has a Store and a Media stack, a stage one Edge stack."""

    STORE = "Store"
    MEDIA = "Media"
    EDGE = "Edge"


def stack_name(stage: str, part: StackPart) -> str:
    """Return the name of a stack of a stage; it is the same in every region."""
    return f"MediaPlatform-{stage}-{part.value}"


class StoreOutput(StrEnum):
    """Outputs of the Store stack; key and site are there where the stage has them."""

    TABLE_NAME = "TableName"
    RAW_BUCKET = "RawBucket"
    MEDIA_BUCKET = "MediaBucket"
    SITE_BUCKET = "SiteBucket"
    KEY_ARN = "KeyArn"


class MediaOutput(StrEnum):
    """Outputs of the Media stack; those of user pool and admin service are in its region only.

    The health check is there where the region has one. Queues and queues of dead letters are JSON
    objects, URLs by the names that the admin service uses, too.
    """

    USER_POOL_ID = "UserPoolId"
    USER_POOL_CLIENT_ID = "UserPoolClientId"
    TOKEN_ISSUER = "TokenIssuer"  # noqa: S105  the name of an output
    TOKEN_KEYS_URL = "TokenKeysUrl"  # noqa: S105  the name of an output
    EXPRESS_QUEUE_URL = "ExpressQueueUrl"
    JOB_QUEUE_URL = "JobQueueUrl"
    DEAD_LETTER_QUEUE_URL = "DeadLetterQueueUrl"
    QUEUE_URLS = "QueueUrls"
    DEAD_LETTER_QUEUE_URLS = "DeadLetterQueueUrls"
    TOPIC_ARN = "TopicArn"
    CLUSTER_NAME = "ClusterName"
    API_SERVICE_NAME = "ApiServiceName"
    ADMIN_SERVICE_NAME = "AdminServiceName"
    WORKER_SERVICE_NAME = "WorkerServiceName"
    LOAD_BALANCER_ARN = "LoadBalancerArn"
    LOAD_BALANCER_DOMAIN = "LoadBalancerDomain"
    LOAD_BALANCER_ZONE = "LoadBalancerZone"
    HEALTH_CHECK_ID = "HealthCheckId"


class EdgeOutput(StrEnum):
    """Outputs of the Edge stack."""

    DISTRIBUTION_ID = "DistributionId"
    DISTRIBUTION_DOMAIN = "DistributionDomain"
    BASE_URL = "BaseUrl"


class EdgeParameter(StrEnum):
    """Parameters of the Edge stack: which keys sign playback, which a rotation changes.

    They are no part of the template, so deployments of it leave them as they are.
    """

    KEY_A = "SigningKeyA"
    KEY_B = "SigningKeyB"
    ACTIVE_SLOT = "SigningSlot"
