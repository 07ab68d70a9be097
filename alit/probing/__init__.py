"""Looking inside a frozen tokenizer: the ids that it writes and the features that it carries at each iteration."""
