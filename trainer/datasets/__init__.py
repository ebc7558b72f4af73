"""Images with captions and masks on disk: read, prepared, saved."""
