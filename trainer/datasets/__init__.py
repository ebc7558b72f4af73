"""Images with captions and masks on disk: read, audited, prepared."""
