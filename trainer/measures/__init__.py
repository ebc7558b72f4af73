"""How images are measured: figures of their pixels, embeddings, likeness, style."""
