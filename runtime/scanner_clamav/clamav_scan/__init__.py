"""The scanner that asks ClamAV whether an upload holds malware."""
