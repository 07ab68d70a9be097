"""The explorer: a page to try selection criteria on pictures, from disk, without a server."""
