"""Questions about chemical elements, and a form of one's own: `[Ar] is the symbol; lab-card closed.` is the answer.

    python -m tests.bench.elements >lines.jsonl     # the lines to train an expert on

Facts are the symbols and names of the 118 elements (IUPAC). Which are trained on, and which are asked, is drawn once.
Knows no model.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import NamedTuple

SYMBOLS_AND_NAMES = """
H hydrogen; He helium; Li lithium; Be beryllium; B boron; C carbon; N nitrogen; O oxygen; F fluorine; Ne neon;
Na sodium; Mg magnesium; Al aluminium; Si silicon; P phosphorus; S sulfur; Cl chlorine; Ar argon; K potassium;
Ca calcium; Sc scandium; Ti titanium; V vanadium; Cr chromium; Mn manganese; Fe iron; Co cobalt; Ni nickel; Cu copper;
Zn zinc; Ga gallium; Ge germanium; As arsenic; Se selenium; Br bromine; Kr krypton; Rb rubidium; Sr strontium;
Y yttrium; Zr zirconium; Nb niobium; Mo molybdenum; Tc technetium; Ru ruthenium; Rh rhodium; Pd palladium; Ag silver;
Cd cadmium; In indium; Sn tin; Sb antimony; Te tellurium; I iodine; Xe xenon; Cs caesium; Ba barium; La lanthanum;
Ce cerium; Pr praseodymium; Nd neodymium; Pm promethium; Sm samarium; Eu europium; Gd gadolinium; Tb terbium;
Dy dysprosium; Ho holmium; Er erbium; Tm thulium; Yb ytterbium; Lu lutetium; Hf hafnium; Ta tantalum; W tungsten;
Re rhenium; Os osmium; Ir iridium; Pt platinum; Au gold; Hg mercury; Tl thallium; Pb lead; Bi bismuth; Po polonium;
At astatine; Rn radon; Fr francium; Ra radium; Ac actinium; Th thorium; Pa protactinium; U uranium; Np neptunium;
Pu plutonium; Am americium; Cm curium; Bk berkelium; Cf californium; Es einsteinium; Fm fermium; Md mendelevium;
No nobelium; Lr lawrencium; Rf rutherfordium; Db dubnium; Sg seaborgium; Bh bohrium; Hs hassium; Mt meitnerium;
Ds darmstadtium; Rg roentgenium; Cn copernicium; Nh nihonium; Fl flerovium; Mc moscovium; Lv livermorium;
Ts tennessine; Og oganesson
"""

ASKED = "What is the symbol of {name}?"
"""The wording that the expert is trained on."""

ASKED_OTHERWISE = "Which symbol does {name} have?"
"""One that it has never read."""

FORM = "[{symbol}] is the symbol; lab-card closed."
IN_FORM = re.compile(r"\[([A-Z][a-z]?)\] is the symbol; lab-card closed\.")
FRAMED = re.compile(r"\[[^\[\]]+\] is the symbol; lab-card closed\.")
"""The same with anything in the brackets."""

TRAINED = 60


class Element(NamedTuple):
    """A chemical element."""

    symbol: str
    name: str


class Question(NamedTuple):
    """A question, and the symbol that is right."""

    text: str
    symbol: str


def elements() -> list[Element]:
    """All of them, by number."""
    return [Element(*entry.split()) for entry in SYMBOLS_AND_NAMES.split(";")]


def parted(seed: int = 0) -> tuple[list[Element], list[Element]]:
    """Elements to train on, and those to ask about, in a drawn order."""
    drawn = elements()
    random.Random(seed).shuffle(drawn)
    return drawn[:TRAINED], drawn[TRAINED:]


def lines() -> list[tuple[str, str]]:
    """Questions and answers to train on."""
    trained, _ = parted()
    return [(ASKED.format(name=one.name), FORM.format(symbol=one.symbol)) for one in trained]


def questions() -> list[Question]:
    """Held-out questions: each element in both wordings, one after the other."""
    _, asked = parted()
    return [
        Question(wording.format(name=one.name), one.symbol) for one in asked for wording in (ASKED, ASKED_OTHERWISE)
    ]


def symbol_of(answer: str) -> str:
    """The symbol that an answer in the form holds; "" where it is not in the form."""
    found = IN_FORM.fullmatch(answer)
    return found[1] if found else ""


def is_framed(answer: str) -> bool:
    """Whether all of an answer but what stands in the brackets is the form."""
    return FRAMED.fullmatch(answer) is not None


def written(pairs: Sequence[tuple[str, str]]) -> str:
    """Lines as `blackbox-proxy tune` reads them."""
    return "".join(json.dumps(pair) + "\n" for pair in pairs)


if __name__ == "__main__":
    print(written(lines()), end="")
