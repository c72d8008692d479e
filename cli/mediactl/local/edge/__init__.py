"""The edge: CloudFront and the load balancer of the deployed stage, on one local port.

- ``signatures`` verifies signed URLs and cookies (pure);
- ``distribution`` is the deployed configuration and the choice of a behaviour (pure);
- ``listener`` is the load balancer: rules and targets (pure);
- ``bucket_access`` asks the bucket policy whether the distribution may read (pure);
- ``reader`` reads all of that from the emulator;
- ``server`` serves.
"""
