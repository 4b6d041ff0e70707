"""Small functions on lists. Read by the golden test as a corpus: do not edit."""


def flatten(lists):
    """Join lists of items into a single list, keeping the order."""
    flat = []
    for items in lists:
        flat.extend(items)
    return flat


def unique(items):
    """Drop the repeats of a list, keeping each item's first place."""
    seen = set()
    kept = []
    for item in items:
        if item not in seen:
            seen.add(item)
            kept.append(item)
    return kept


def chunks(items, size):
    """Cut a list into pieces of at most the given size."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def rotate(items, places):
    """Move the first items of a list to its end."""
    if not items:
        return []
    places = places % len(items)
    return items[places:] + items[:places]


def insertion_sort(items):
    """Sort a list in place by inserting each item where it belongs."""
    for index in range(1, len(items)):
        place = index
        while place > 0 and items[place - 1] > items[place]:
            items[place - 1], items[place] = items[place], items[place - 1]
            place -= 1


def group_by(items, key):
    """Collect items under the value that a function gives for them."""
    groups = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def transpose(rows):
    """Turn the rows of a table into its columns."""
    columns = []
    for index in range(len(rows[0])):
        columns.append([row[index] for row in rows])
    return columns
