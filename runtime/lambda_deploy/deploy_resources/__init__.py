"""Custom resources: what CloudFormation needs at deploy time and has no resource type for."""
