"""The texts of a release: the model card, the site's description, and the files that managers and web UIs read."""
