"""The trainer library: everything the nodes and the command line do, with no ComfyUI import."""
