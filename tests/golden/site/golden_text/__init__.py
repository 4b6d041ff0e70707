"""Small functions on texts. Read by the golden test as a corpus: do not edit."""


def count_vowels(text):
    """Count how many vowels a text has, capital ones included."""
    total = 0
    for letter in text.lower():
        if letter in "aeiou":
            total += 1
    return total


def reverse_words(sentence):
    """Return the words of a sentence in reverse order, one space between them."""
    words = sentence.split()
    words.reverse()
    return " ".join(words)


def longest_word(sentence):
    """Find the longest word of a sentence; the first of several wins."""
    best = ""
    for word in sentence.split():
        if len(word) > len(best):
            best = word
    return best


def is_palindrome(text):
    """Tell whether the letters of a text read the same from both ends."""
    letters = [letter for letter in text.lower() if letter.isalpha()]
    return letters == letters[::-1]


def caesar(text, shift):
    """Shift each small letter of a text along the alphabet, wrapping around."""
    shifted = []
    for letter in text:
        code = (ord(letter) - 97 + shift) % 26
        shifted.append(chr(code + 97))
    return "".join(shifted)


def initials(name):
    """Give the capital initials of a full name, each followed by a dot."""
    parts = name.split()
    return "".join(part[0].upper() + "." for part in parts if part)


def wrap(text, width):
    """Break a text into lines that are at most so many characters wide."""
    lines = []
    while len(text) > width:
        lines.append(text[:width])
        text = text[width:]
    lines.append(text)
    return lines


def common_prefix(first, second):
    """Return the longest beginning that two texts have in common."""
    length = min(len(first), len(second))
    for index in range(length):
        if first[index] != second[index]:
            return first[:index]
    return first[:length]


def word_counts(text):
    """Count the occurrences of each word, ignoring case."""
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def strip_comments(lines, marker="#"):
    """Drop everything after a marker on each line, and lines left empty."""
    kept = []
    for line in lines:
        code = line.partition(marker)[0].rstrip()
        if code:
            kept.append(code)
    return kept


def run_lengths(text):
    """Encode a text as pairs of a letter and how often it repeats."""
    pairs = []
    for letter in text:
        if pairs and pairs[-1][0] == letter:
            pairs[-1][1] += 1
        else:
            pairs.append([letter, 1])
    return pairs


def title_case(text, small=("and", "of", "the")):
    """Capitalise every word that is not one of the small ones."""
    words = []
    for word in text.split():
        words.append(word if word in small else word.capitalize())
    return " ".join(words)
