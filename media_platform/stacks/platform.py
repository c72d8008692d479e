"""All stacks of a stage, and which comes before which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import aws_cdk as cdk
from constructs import Construct

from media_platform.constructs import MediaOrigin, ReplicationTarget, TokenIssuer
from media_platform.constructs._distributions import CLOUDFRONT_REGION
from media_platform.constructs.monthly_budget import STAGE_TAG
from media_platform.contract.outputs import MediaOutput, StackPart, StoreOutput, stack_name
from media_platform.stacks.config import RegionConfig, StageConfig
from media_platform.stacks.edge_stack import EdgeStack, RegionApi
from media_platform.stacks.media_stack import MediaStack
from media_platform.stacks.store_stack import ReplicaStoreStack, StoreStack, store_names


@dataclass
class Platform:
    """The stacks of a stage.

    Attributes:
        stores: Store stacks by region.
        media: Media stacks by region; a region that is joining has none yet.
        edge: The Edge stack.
    """

    stores: dict[str, StoreStack | ReplicaStoreStack] = field(default_factory=dict)
    media: dict[str, MediaStack] = field(default_factory=dict)
    edge: EdgeStack | None = None


def build_platform(scope: Construct, config: StageConfig) -> Platform:
    """Add the stacks of a stage to an app.

    Ids of stacks carry the region, because a stage has the same stack in several; their names do
    not, because a region has each once.
    """
    platform = Platform()
    primary = StoreStack(
        scope, f"Store-{config.primary.name}", config=config, **_stack(config, StackPart.STORE)
    )
    platform.stores[config.primary.name] = primary
    for region in config.replicas:
        replica = ReplicaStoreStack(
            scope,
            f"Store-{region.name}",
            config=config,
            primary_key_arn=(
                _output(config, StackPart.STORE, StoreOutput.KEY_ARN)
                if config.customer_managed_key
                else None
            ),
            **_stack(config, StackPart.STORE, region),
        )
        replica.add_stack_dependency(primary)
        platform.stores[region.name] = replica
    _add_services(scope, config, platform)
    return platform


def _add_services(scope: Construct, config: StageConfig, platform: Platform) -> None:
    first: MediaStack | None = None
    for region in config.members:
        media = MediaStack(
            scope,
            f"Media-{region.name}",
            config=config,
            region_config=region,
            store=platform.stores[region.name].store,
            alarms=platform.stores[region.name].alarms,
            token_issuer=_primary_issuer(config) if first else None,
            **_stack(config, StackPart.MEDIA, region),
        )
        if first is not None:
            # The replica of the table is made by the primary store, the users by its API.
            media.add_stack_dependency(platform.stores[config.primary.name])
            media.add_stack_dependency(first)
        platform.media[region.name] = media
        first = first or media
    if first is None:
        return
    store_beside = platform.stores.get(config.edge_region)
    platform.edge = EdgeStack(
        scope,
        "Edge",
        config=config,
        media_origins=_media_origins(config),
        site_origin=_site_origin(config),
        load_balancer=None if config.domain else first.api.load_balancer,
        apis={region.name: _api(config, region) for region in config.members if config.domain},
        alarms=store_beside.alarms if store_beside is not None else None,
        access_logs=(
            store_beside.store.access_log_bucket
            if store_beside is not None and config.edge_region == CLOUDFRONT_REGION
            else None
        ),
        encryption_key=store_beside.store.encryption_key if store_beside is not None else None,
        stack_name=stack_name(config.name, StackPart.EDGE),
        tags={STAGE_TAG: config.name},
        env=cdk.Environment(account=config.account, region=config.edge_region),
    )
    if config.domain:
        for media in platform.media.values():
            # Its outputs are read by name, which tells the CDK nothing.
            platform.edge.add_stack_dependency(media)


def _primary_issuer(config: StageConfig) -> TokenIssuer:
    def output(name: MediaOutput) -> str:
        return _output(config, StackPart.MEDIA, name)

    return TokenIssuer(
        issuer=output(MediaOutput.TOKEN_ISSUER),
        jwks_url=output(MediaOutput.TOKEN_KEYS_URL),
        client_id=output(MediaOutput.USER_POOL_CLIENT_ID),
    )


def _output(
    config: StageConfig, part: StackPart, name: StrEnum, region: RegionConfig | None = None
) -> str:
    """Return an output of a stack of a region, by default the primary one.

    Exports would not carry it to another region.
    """
    where = region or config.primary
    return cdk.Fn.get_stack_output(stack_name(config.name, part), name.value, where.name)


def _api(config: StageConfig, region: RegionConfig) -> RegionApi:
    def output(name: MediaOutput) -> str:
        return _output(config, StackPart.MEDIA, name, region)

    return RegionApi(
        domain_name=output(MediaOutput.LOAD_BALANCER_DOMAIN),
        zone_id=output(MediaOutput.LOAD_BALANCER_ZONE),
        health_check_id=(
            output(MediaOutput.HEALTH_CHECK_ID) if region.health_check_prefix_list else None
        ),
    )


def _media_origins(config: StageConfig) -> list[MediaOrigin]:
    """Return the origin of every region; each falls back to the primary's copy, that to the next.

    Names are plain values, so that no reference crosses regions, and none has to be given up when
    a region joins.
    """
    return [
        _origin(config, region, lambda names: names.media_bucket_name) for region in config.members
    ]


def _site_origin(config: StageConfig) -> MediaOrigin | None:
    """Return the origin of the site, which is published in the primary region."""
    if config.site is None:
        return None
    return _origin(config, config.primary, lambda names: str(names.site_bucket_name))


def _origin(
    config: StageConfig, region: RegionConfig, bucket_of: Callable[[ReplicationTarget], str]
) -> MediaOrigin:
    others = [member for member in config.members if member != region]
    fallback = others[0] if others else None
    return MediaOrigin(
        region=region.name,
        bucket_name=bucket_of(store_names(config, region.name)),
        fallback_region=fallback.name if fallback else None,
        fallback_bucket_name=(bucket_of(store_names(config, fallback.name)) if fallback else None),
    )


def _stack(
    config: StageConfig, part: StackPart, region: RegionConfig | None = None
) -> dict[str, object]:
    return {
        "stack_name": stack_name(config.name, part),
        "tags": {STAGE_TAG: config.name},
        "env": cdk.Environment(account=config.account, region=(region or config.primary).name),
    }
