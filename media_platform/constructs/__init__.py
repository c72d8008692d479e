"""The constructs of a private video platform, to deploy as they are or in an app of your own."""

from media_platform.constructs._api_cluster_base import ApiClusterBase
from media_platform.constructs._cdn_distribution_base import CdnDistributionBase
from media_platform.constructs._checks import RejectedError
from media_platform.constructs._clamav_scanner import ClamAvScanner
from media_platform.constructs._replication import ReplicationTarget
from media_platform.constructs._scanning import Scanner
from media_platform.constructs._tracing import Tracing
from media_platform.constructs._transcode_pipeline_base import TranscodePipelineBase
from media_platform.constructs._user_directory import TokenIssuer
from media_platform.constructs._video_store_base import VideoStoreBase
from media_platform.constructs.alarm_topic import AlarmTopic
from media_platform.constructs.api_cluster import ApiCluster
from media_platform.constructs.cdn_distribution import CdnDistribution, MediaOrigin
from media_platform.constructs.image_repository import ImageRepository
from media_platform.constructs.monthly_budget import MonthlyBudget
from media_platform.constructs.multi_region_replica import (
    MultiRegionReplica,
    MultiRegionReplicaBase,
)
from media_platform.constructs.operations_dashboard import OperationsDashboard
from media_platform.constructs.region_health import RegionHealth
from media_platform.constructs.transcode_pipeline import TranscodePipeline
from media_platform.constructs.video_store import VideoStore

__all__ = [
    "AlarmTopic",
    "ApiCluster",
    "ApiClusterBase",
    "CdnDistribution",
    "CdnDistributionBase",
    "ClamAvScanner",
    "ImageRepository",
    "MediaOrigin",
    "MonthlyBudget",
    "MultiRegionReplica",
    "MultiRegionReplicaBase",
    "OperationsDashboard",
    "RegionHealth",
    "RejectedError",
    "ReplicationTarget",
    "Scanner",
    "TokenIssuer",
    "Tracing",
    "TranscodePipeline",
    "TranscodePipelineBase",
    "VideoStore",
    "VideoStoreBase",
]
