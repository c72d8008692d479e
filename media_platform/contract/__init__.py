"""Every name that infrastructure, runtime and tools share, written once.

Standard library only: the same files go into Lambda zips, container images and the CDK app.
Import the leaf modules (``from media_platform.contract import table``); this package re-exports
nothing, so that a Lambda loads only what it uses.
"""
