"""Small functions on dates."""


def is_leap(year):
    """Tell whether a year of the Gregorian calendar has a leap day."""
    if year % 400 == 0:
        return True
    return year % 4 == 0 and year % 100 != 0


def to_seconds(hours, minutes, seconds):
    """Convert a time of day to seconds since midnight."""
    return hours * 3600 + minutes * 60 + seconds


def clock(seconds):
    """Write a number of seconds as hours, minutes and seconds."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def weeks_between(start, end, length=7):
    """Count the whole weeks between two days given as numbers."""
    days = abs(end - start)
    return days // length
