"""How the packaged `tiny-detector` was made: words, tokenizer, coloured shapes, training, export,
evaluation."""
