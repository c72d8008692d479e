"""Videos in an app of your own: your network, your image of the worker, and who hears of videos."""

from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_sqs as sqs

from media_platform.constructs import ImageRepository, TranscodePipeline, VideoStore
from media_platform.contract.events import EventType

app = App()
stack = Stack(app, "Video")
vpc = ec2.Vpc(stack, "Network", max_azs=2, nat_gateways=1)
images = ImageRepository(
    stack, "WorkerImages", push_role_arns=["arn:aws:iam::111111111111:role/ci"]
)
store = VideoStore(stack, "Store")
pipeline = TranscodePipeline(
    stack,
    "Transcode",
    store=store,
    vpc=vpc,
    worker_image=ecs.ContainerImage.from_ecr_repository(images.repository, "1.0.0"),
)
pipeline.subscribe_queue(sqs.Queue(stack, "Ready"), event_types=[EventType.VIDEO_READY])
app.synth()
