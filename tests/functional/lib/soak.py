"""`./dev soak K/N` plays the K-th of N parts of what takes hours: CAIRN_SOAK=K/N says so to the tests.

    PART.of(cases)      those of this part; every part gets its share of each stretch
    PART.share(400)     so much of an amount that is not a list

Whoever plays all N parts has played the whole; 1/1 is the whole at once.
"""

import os
import re


class Part:
    def __init__(self, text):
        words = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text)
        self.number, self.parts = (int(word) for word in words.groups()) if words else (0, 0)
        if not 1 <= self.number <= self.parts:
            raise ValueError(f"CAIRN_SOAK={text!r} is no part of the soak such as 1/1 or 3/20")

    def of(self, cases):
        return list(cases)[self.number - 1 :: self.parts]

    def share(self, amount):
        return -(-amount // self.parts)


PART = Part(os.environ["CAIRN_SOAK"]) if "CAIRN_SOAK" in os.environ else None
