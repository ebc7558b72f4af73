"""What the verbs share: their options, lines and progress bars, TensorBoard."""
