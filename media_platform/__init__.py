"""A private video platform in your own AWS account: CDK constructs with the runtime inside."""

__version__ = "0.1.0"
