"""Whatever writes the captions of a dataset: taggers, captioners, edits by rule and by hand."""
