"""Numbers as pages spell them."""

NUMBERS = (
    "no one two three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
).split()
