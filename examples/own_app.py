"""Videos in an app of your own: a store, the pipeline, and a queue that hears of ready videos."""

from aws_cdk import App, Stack
from aws_cdk import aws_sqs as sqs

from media_platform.constructs import TranscodePipeline, VideoStore
from media_platform.contract.events import EventType

app = App()
stack = Stack(app, "Video")
store = VideoStore(stack, "Store")
pipeline = TranscodePipeline(stack, "Transcode", store=store)
pipeline.subscribe_queue(sqs.Queue(stack, "Ready"), event_types=[EventType.VIDEO_READY])
app.synth()
