"""Measuring images: figures of their pixels, embeddings, likeness, style."""
