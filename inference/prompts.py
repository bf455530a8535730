"""What a prompt asks for, as far as a model of digits can draw it: one digit, as a numeral or as a word. Pure.

A model of digits gives this reader to its engine. What cannot be drawn is a typed error that says so; nothing is
guessed.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

from inference.engine.errors import UnsupportedPromptError
from inference.engine.requests import Conditioning


class PromptProblem(StrEnum):
    """Why a prompt cannot be drawn."""

    EMPTY = "prompt_empty"
    NO_DIGIT = "prompt_no_digit"
    TWO_DIGITS = "prompt_two_digits"


_MESSAGES = {
    PromptProblem.EMPTY: "the prompt is empty; name one digit from 0 to 9",
    PromptProblem.NO_DIGIT: "the prompt names no digit; this model draws the digits 0 to 9, one an image",
    PromptProblem.TWO_DIGITS: "the prompt names more than one digit; this model draws one digit an image",
}


class DigitPromptError(UnsupportedPromptError):
    """The prompt asks for something that a model of digits cannot draw.

    Attributes:
        problem: Which case it is; the API words it in the user's language.
    """

    def __init__(self, problem: PromptProblem) -> None:
        """Keep the case."""
        super().__init__(_MESSAGES[problem])
        self.problem = problem


_WORDS = {
    "en": "zero one two three four five six seven eight nine",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
}
DIGIT_OF_WORD: dict[str, int] = {word: digit for words in _WORDS.values() for digit, word in enumerate(words.split())}
"""Every word that names a digit, lower case and without accents. Articles ("un", "una", "a") name none."""

_TOKEN = re.compile(r"\d+|[^\W\d_]+")
MANY = -1


def digit_of_prompt(prompt: str) -> int:
    """Return the digit that a prompt asks for.

    Words are those of English, Spanish and Italian, in any case, with or without accents. The same digit may be named
    several times; ``10`` is two digits, not one.

    Args:
        prompt: What the user wrote.

    Returns:
        The digit, 0..9.

    Raises:
        DigitPromptError: If it names no digit, or several.
    """
    if not prompt.strip():
        raise DigitPromptError(PromptProblem.EMPTY)
    found: set[int] = set()
    for token in _TOKEN.findall(_plain(prompt)):
        if token.isdecimal():
            found.add(int(token) if len(token) == 1 else MANY)
        elif token in DIGIT_OF_WORD:
            found.add(DIGIT_OF_WORD[token])
    if not found:
        raise DigitPromptError(PromptProblem.NO_DIGIT)
    if len(found) > 1 or MANY in found:
        raise DigitPromptError(PromptProblem.TWO_DIGITS)
    return found.pop()


class DigitPrompts:
    """Reads prompts for a model whose classes are the ten digits."""

    def __init__(self, first_class_token: int = 0) -> None:
        """Let the token of digit ``d`` be ``first_class_token + d``."""
        self._first_class_token = first_class_token

    def read(self, prompt: str) -> Conditioning:
        """Return the class token of the digit that ``prompt`` names."""
        return Conditioning(tokens=(self._first_class_token + digit_of_prompt(prompt),), text=prompt)


def _plain(text: str) -> str:
    """Return text in lower case without accents, other decimal digits (Arabic, full-width) as ASCII ones."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    kept = (character for character in decomposed if not unicodedata.combining(character))
    return "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in kept)
