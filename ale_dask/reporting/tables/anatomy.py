"""Write labels of AAL2 and the Talairach Daemon in words, without their side, for the table of a paper."""

from __future__ import annotations

import re

_AAL = {
    "Precentral": "Precentral gyrus",
    "Frontal Sup 2": "Superior frontal gyrus",
    "Frontal Mid 2": "Middle frontal gyrus",
    "Frontal Inf Oper": "Inferior frontal gyrus, opercular part",
    "Frontal Inf Tri": "Inferior frontal gyrus, triangular part",
    "Frontal Inf Orb 2": "Inferior frontal gyrus, orbital part",
    "Rolandic Oper": "Rolandic operculum",
    "Supp Motor Area": "Supplementary motor area",
    "Olfactory": "Olfactory cortex",
    "Frontal Sup Medial": "Superior frontal gyrus, medial",
    "Frontal Med Orb": "Medial frontal gyrus, orbital part",
    "Rectus": "Gyrus rectus",
    "OFCmed": "Medial orbital gyrus",
    "OFCant": "Anterior orbital gyrus",
    "OFCpost": "Posterior orbital gyrus",
    "OFClat": "Lateral orbital gyrus",
    "Cingulate Ant": "Anterior cingulate cortex",
    "Cingulate Mid": "Middle cingulate cortex",
    "Cingulate Post": "Posterior cingulate cortex",
    "ParaHippocampal": "Parahippocampal gyrus",
    "Calcarine": "Calcarine cortex",
    "Lingual": "Lingual gyrus",
    "Occipital Sup": "Superior occipital gyrus",
    "Occipital Mid": "Middle occipital gyrus",
    "Occipital Inf": "Inferior occipital gyrus",
    "Fusiform": "Fusiform gyrus",
    "Postcentral": "Postcentral gyrus",
    "Parietal Sup": "Superior parietal gyrus",
    "Parietal Inf": "Inferior parietal gyrus",
    "SupraMarginal": "Supramarginal gyrus",
    "Angular": "Angular gyrus",
    "Paracentral Lobule": "Paracentral lobule",
    "Heschl": "Heschl's gyrus",
    "Temporal Sup": "Superior temporal gyrus",
    "Temporal Pole Sup": "Temporal pole, superior",
    "Temporal Mid": "Middle temporal gyrus",
    "Temporal Pole Mid": "Temporal pole, middle",
    "Temporal Inf": "Inferior temporal gyrus",
}
_SIDES = (" L", " R")
_NEAR = re.compile(r"near (?P<name>.*?)(?P<distance> \(\d+ mm\))?")


def region_words(label: str) -> str:
    """Return an AAL label in words, without its side: "near Rectus L (2 mm)" is "near gyrus rectus (2 mm)"."""
    near = _NEAR.fullmatch(label)
    if near is None:
        return _region(label)
    words = _region(near["name"])
    small = words if words.startswith("Heschl") else words[:1].lower() + words[1:]
    return f"near {small}{near['distance'] or ''}"


def sided_words(label: str) -> str:
    """Return an AAL label in words with its side: "near Amygdala R (2 mm)" is "near right amygdala (2 mm)"."""
    near = _NEAR.fullmatch(label)
    name = label if near is None else near["name"]
    words = _region(name)
    if name.endswith(_SIDES):
        small = words if words.startswith("Heschl") else words[:1].lower() + words[1:]
        words = f"{'Left' if name.endswith(' L') else 'Right'} {small}"
    return words if near is None else f"near {words[:1].lower()}{words[1:]}{near['distance'] or ''}"


def _region(name: str) -> str:
    if name.endswith(_SIDES):
        name = name[:-2]
    if name.startswith(("Cerebelum ", "Vermis ")):
        where, lobule = name.split(" ", 1)
        part = "Cerebellar vermis" if where == "Vermis" else "Cerebellum"
        return f"{part}, {_lobule(lobule)}"
    return _AAL.get(name, name)


def _lobule(text: str) -> str:
    if text.startswith("Crus"):
        return f"crus {text[4:]}"
    return f"lobule{'s' if ' ' in text else ''} {text.replace(' ', '-')}"


def area_words(label: str) -> str:
    """Return a Brodmann area or a nucleus in words: "9", "near 9 (2 mm)" or "Lateral globus pallidus"."""
    near = _NEAR.fullmatch(label)
    name = (label if near is None else near["name"]).removeprefix("Brodmann area ").replace("Substania", "Substantia")
    if near is not None:
        return f"near {name.lower()}{near['distance'] or ''}"
    return name[:1] + name[1:].lower()
