"""Small functions on mappings."""


def invert(mapping):
    """Swap the keys and values of a mapping; later keys win."""
    inverted = {}
    for key, value in mapping.items():
        inverted[value] = key
    return inverted


def merge(first, second):
    """Add up the values that two mappings hold under the same key."""
    merged = dict(first)
    for key, value in second.items():
        merged[key] = merged.get(key, 0) + value
    return merged


def largest_key(mapping):
    """Find the key with the largest value, or None in an empty mapping."""
    best = None
    for key in mapping:
        if best is None or mapping[key] > mapping[best]:
            best = key
    return best


def without(mapping, names):
    """Copy a mapping without the entries of certain names."""
    return {key: value for key, value in mapping.items() if key not in names}
