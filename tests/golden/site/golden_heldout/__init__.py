"""Small functions on mappings and dates. Read by the golden test as a corpus: do not edit."""
