"""The transcode worker: takes jobs from the queue, and publishes videos as it encodes them."""
