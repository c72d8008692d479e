"""Takes finished uploads in: from an S3 event to a transcode job."""
