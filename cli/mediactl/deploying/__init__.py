"""Deploying the CDK app of an environment, and what surrounds the CDK CLI for that."""
