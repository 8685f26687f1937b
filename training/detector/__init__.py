"""The making of the packaged `tiny-detector`: words, tokenizer, coloured shapes, training, export,
evaluation."""
