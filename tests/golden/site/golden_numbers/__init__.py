"""Small functions on numbers. Read by the golden test as a corpus: do not edit."""


def mean(values):
    """Compute the arithmetic mean of a list of numbers, zero for none."""
    if not values:
        return 0.0
    return sum(values) / len(values)


def variance(values):
    """Compute the mean squared distance of numbers from their mean."""
    center = sum(values) / len(values)
    return sum((value - center) ** 2 for value in values) / len(values)


def clamp(value, low, high):
    """Bring a value into the closed interval between two bounds."""
    if value < low:
        return low
    if value > high:
        return high
    return value


def gcd(first, second):
    """Find the greatest common divisor of two positive integers."""
    while second != 0:
        first, second = second, first % second
    return first


def is_prime(number):
    """Tell whether an integer above one has no divisors but itself."""
    divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 1
    return number > 1


def fibonacci(count):
    """List the first numbers of the Fibonacci sequence."""
    sequence = [0, 1]
    while len(sequence) < count:
        sequence.append(sequence[-1] + sequence[-2])
    return sequence[:count]


def moving_average(values, width):
    """Average each window of so many neighbouring values."""
    averages = []
    for start in range(len(values) - width + 1):
        window = values[start : start + width]
        averages.append(sum(window) / width)
    return averages


def digits(number, base=10):
    """Give the digits of a number, the most significant first."""
    found = []
    while number > 0:
        found.insert(0, number % base)
        number = number // base
    return found or [0]


def median(values):
    """Return the middle of the sorted values, or the mean of the two middle ones."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def dot(first, second):
    """Multiply two vectors element by element and add up the products."""
    total = 0
    for left, right in zip(first, second, strict=True):
        total += left * right
    return total


def cumulative(values):
    """Replace every value by the sum of all values up to it."""
    total = 0
    sums = []
    for value in values:
        total += value
        sums.append(total)
    return sums


def bisect_root(function, low, high, steps=50):
    """Halve an interval in which a rising function crosses zero."""
    for _ in range(steps):
        middle = (low + high) / 2
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return low


def triangle_area(base, height, scale=1):
    """Compute the area of a triangle, times the square of a scale."""
    area = base * height / 2
    return area * scale**2


def collatz_length(number):
    """Count the steps a number takes to reach one by halving and tripling."""
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps
