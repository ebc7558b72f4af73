"""Images, captions and settings as one plain zip, for trainers on the web and other people's tools."""
