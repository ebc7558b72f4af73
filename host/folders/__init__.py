"""Folders of images in input/ and output/: what is shown of one before a run, and what a browser puts into one."""
