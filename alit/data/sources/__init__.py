"""Image collections of every supported layout."""
