"""Looking inside a frozen tokenizer at each iteration: the ids that it writes, its features, where its latents look."""
