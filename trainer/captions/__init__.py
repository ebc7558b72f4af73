"""Words only, no files: tags and their classes, aliases, views, what a set of captions covers."""
