"""Whether a code is a unit of UCUM (https://ucum.org/ucum): its grammar, case-sensitive, over the units that medicine uses."""

import re
from functools import cache

MISREAD = {"K/uL": "10*3/uL", "M/uL": "10*6/uL", "pH": "[pH]", "F": "[degF]", "C": "Cel", "IU/L": "[iU]/L"}
"""What is written for a unit, but is another one in UCUM (K/uL: kelvin per microlitre) or none → what is meant."""

_PREFIXES = ("da", "Ki", "Mi", "Gi", "Ti", *"YZEPTGMkhdcmunpfazy")

_METRIC_SYMBOLS = (
    "m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc cal cal_[15] cal_[20] cal_m"
    " cal_IT cal_th st kat U [iU] [IU] osm eq B Np B[SPL] B[V] B[W] bit By Bd Ci R RAD REM dyn erg G Gb Mx P St Lmb ph sb Ky"
    " m[H2O] m[Hg] g% [g] [e] [m_e] [m_p] [k] [h] [c] [ly] gf tex mho"
)
"""Units that take a prefix."""

_PLAIN_SYMBOLS = (
    "% [ppth] [ppm] [ppb] [pptr] [pi] deg ' '' gon min h d a a_t a_j a_g wk mo mo_s mo_j mo_g AU atm att"
    " [in_i] [ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [sin_i] [sft_i] [syd_i] [cin_i] [cft_i] [cyd_i] [in_i'Hg] [in_i'H2O]"
    " [gal_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [min_us] [tbs_us] [tsp_us] [cup_us] [foz_m] [cup_m] [tbs_m] [tsp_m]"
    " [gal_br] [qt_br] [pt_br] [foz_br] [gr] [lb_av] [oz_av] [dr_av] [stone_av] [ston_av] [lb_tr] [oz_tr] [lb_ap] [oz_ap] [dr_ap] [sc_ap]"
    " [lbf_av] [psi] [degF] [degR] [degRe] [Cal] [Btu] [HP] [diop] [p'diop] [mesh_i] [Ch] [drp] [hnsf'U] [MET] [HPF] [LPF] [APL'U]"
    " [GPL'U] [MPL'U] [arb'U] [USP'U] [PFU] [CFU] [CCID_50] [TCID_50] [EID_50] [FFU] [LD_50] [pH] [ka'U] [knk'U] [mclg'U] [tb'U]"
    " [todd'U] [dye'U] [smgy'U] [bdsk'U] [Amb'a'1'U] [BAU] [AU] [Lf] [IR] [D'ag'U] [EU] [S] [PRU]"
    " [wood'U] [hp_X] [hp_C] [hp_M] [hp_Q] [hp'_X] [hp'_C] [hp'_M] [hp'_Q]"
)
"""Units that take none."""

_POWER = re.compile(r"10[*^]")
_METRIC = frozenset(_METRIC_SYMBOLS.split())
_PLAIN = frozenset(_PLAIN_SYMBOLS.split())
_ANNOTATED = "\0"
_OPERATOR = re.compile(r"([./()])")
_ANNOTATION = re.compile(r"\{[!-z|~]*\}")
_EXPONENT = re.compile(r"[+-]?[0-9]+$")
_INTEGER = re.compile(r"[0-9]+$")


@cache
def is_ucum(code: str) -> bool:
    """Whether `code` is a valid expression of units known here, such as `mg/dL`, `10*3/uL` or `mL/min/{1.73_m2}`."""
    if not code or any(character.isspace() for character in code):
        return False
    rest = _ANNOTATION.sub(_ANNOTATED, code)
    return "{" not in rest and "}" not in rest and _balanced(rest) and _alternates([part for part in _OPERATOR.split(rest) if part])


def _balanced(code: str) -> bool:
    nested = 0
    for character in code:
        nested += (character == "(") - (character == ")")
        if nested < 0:
            return False
    return nested == 0


def _alternates(pieces: list[str]) -> bool:
    """Units between operators, which only `/` may begin."""
    waiting = True  # for a unit
    for position, piece in enumerate(pieces):
        if piece == "/" and position == 0:
            continue
        if piece in "./":
            if waiting:
                return False
            waiting = True
        elif piece == "(":
            if not waiting:
                return False
        elif piece == ")":
            if waiting:
                return False
        elif not waiting or not _unit(piece):
            return False
        else:
            waiting = False
    return not waiting


def _unit(piece: str) -> bool:
    """One unit with its exponent and annotation, an annotation alone, or a whole number."""
    symbol = piece.removesuffix(_ANNOTATED)
    if not symbol or _INTEGER.match(symbol):
        return bool(piece)
    if found := _POWER.match(symbol):
        return symbol == found[0] or bool(_EXPONENT.match(symbol[found.end() :]))
    return _atom(symbol) or _atom(_without_exponent(symbol))


def _without_exponent(symbol: str) -> str:
    return re.sub(r"(?<=[^0-9+-])[+-]?[0-9]+$", "", symbol)


def _atom(symbol: str) -> bool:
    if symbol in _METRIC or symbol in _PLAIN:
        return True
    return any(symbol.startswith(prefix) and symbol[len(prefix) :] in _METRIC for prefix in _PREFIXES)
