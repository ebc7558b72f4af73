"""Many settings, one image each: planned, drawn, laid out, scored."""
